//! Python's `random.Random`: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998) with CPython's seeding,
//! `shuffle` and `sample`.

use std::collections::BTreeSet;

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// A generator as `random.Random(seed)` makes it.
pub struct PythonRandom {
    state: [u32; WORDS],
    next: usize,
}

impl PythonRandom {
    /// Seeds with an integer, which CPython splits into 32-bit words for `init_by_array`.
    pub fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        let key = if words[1] == 0 { &words[..1] } else { &words[..] };
        let mut state = [0u32; WORDS];
        state[0] = 19_650_218;
        for index in 1..WORDS {
            let previous = state[index - 1] ^ (state[index - 1] >> 30);
            state[index] = previous.wrapping_mul(1_812_433_253).wrapping_add(index as u32);
        }
        // `init_by_array`: one pass that mixes the key in, one that stirs the result.
        let mut index = 1;
        let mut mix = |step: Option<usize>, multiplier: u32| {
            let previous = state[index - 1] ^ (state[index - 1] >> 30);
            let mixed = state[index] ^ previous.wrapping_mul(multiplier);
            state[index] = match step {
                Some(place) => mixed.wrapping_add(key[place]).wrapping_add(place as u32),
                None => mixed.wrapping_sub(index as u32),
            };
            index += 1;
            if index == WORDS {
                state[0] = state[WORDS - 1];
                index = 1;
            }
        };
        (0..WORDS).for_each(|step| mix(Some(step % key.len()), 1_664_525));
        (1..WORDS).for_each(|_| mix(None, 1_566_083_941));
        state[0] = 0x8000_0000;
        Self { state, next: WORDS }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for index in 0..WORDS {
            let joined = (self.state[index] & 0x8000_0000) | (self.state[(index + 1) % WORDS] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + SHIFT) % WORDS] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// A uniform integer in `0..bound`: as many top bits as `bound` has, until they lie below it.
    ///
    /// # Panics
    /// If `bound` is 0 or above 2^32 - 1: no list here is that long.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!((1..=u32::MAX as usize).contains(&bound), "cannot choose one of {bound}");
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let drawn = (self.next_u32() >> (32 - bits)) as usize;
            if drawn < bound {
                return drawn;
            }
        }
    }

    /// `random.shuffle`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// `random.sample(range(population), count)`.
    ///
    /// # Panics
    /// If `count` exceeds the population.
    pub fn sample(&mut self, population: usize, count: usize) -> Vec<usize> {
        assert!(count <= population, "cannot sample {count} of {population}");
        // CPython copies small populations and remembers draws of large ones; the border decides the result.
        let mut border = 21usize;
        if count > 5 {
            let mut power = 1usize;
            while power < 3 * count {
                power *= 4;
            }
            border += power;
        }
        if population <= border {
            let mut pool: Vec<usize> = (0..population).collect();
            let draw = |drawn: usize| {
                let place = self.below(population - drawn);
                let chosen = pool[place];
                pool[place] = pool[population - drawn - 1];
                chosen
            };
            return (0..count).map(draw).collect();
        }
        let mut taken = BTreeSet::new();
        let draw = |_| loop {
            let place = self.below(population);
            if taken.insert(place) {
                return place;
            }
        };
        (0..count).map(draw).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_draws_of_the_published_generator() {
        // Matsumoto's mt19937ar.out for init_by_array({0x123, 0x234, 0x345, 0x456}) is not reachable from one
        // integer of 64 bits; CPython's `random.Random(0).getrandbits(32)` is.
        assert_eq!(PythonRandom::new(0).next_u32(), 3_626_764_237);
    }

    #[test]
    fn seeds_of_more_than_32_bits_use_both_words() {
        let mut low = PythonRandom::new(1);
        let mut high = PythonRandom::new(1 | 1 << 40);
        assert_ne!(low.next_u32(), high.next_u32());
    }

    proptest! {
        #[test]
        fn samples_are_distinct_and_in_range(seed: u64, population in 0usize..400, share in 0.0..=1.0f64) {
            let count = (population as f64 * share) as usize;
            let sample = PythonRandom::new(seed).sample(population, count);
            prop_assert_eq!(sample.len(), count);
            prop_assert!(sample.iter().all(|&place| place < population));
            prop_assert_eq!(sample.iter().collect::<BTreeSet<_>>().len(), count);
        }

        #[test]
        fn shuffling_keeps_the_items(seed: u64, length in 0usize..60) {
            let mut items: Vec<usize> = (0..length).collect();
            PythonRandom::new(seed).shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..length).collect::<Vec<_>>());
        }
    }
}
