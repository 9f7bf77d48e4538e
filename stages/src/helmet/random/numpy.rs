//! `numpy.random.default_rng(seed).permutation(n)`: SeedSequence and PCG64 (O'Neill 2014, XSL-RR 128/64), with
//! the masked rejection of numpy's shuffle. Hugging Face `Dataset.shuffle(seed)` orders rows by it.

const POOL: usize = 4;

/// A permutation of `0..count`.
///
/// # Panics
/// If `count` exceeds 2^32: 32-bit draws choose the places.
pub fn permutation(seed: u64, count: usize) -> Vec<usize> {
    assert!(count as u64 <= 1 << 32, "{count} rows cannot be permuted by 32-bit draws");
    let mut generator = Pcg64::new(seed);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let mask = u32::MAX >> (last as u32).leading_zeros();
        let place = loop {
            let drawn = (generator.next_u32() & mask) as usize;
            if drawn <= last {
                break drawn;
            }
        };
        order.swap(last, place);
    }
    order
}

/// The eight 32-bit words SeedSequence makes of an integer.
fn seed_words(seed: u64) -> [u32; 8] {
    let mut constant = 0x43b0_d7e5u32;
    let mut hash = |value: u32| {
        let mixed = value ^ constant;
        constant = constant.wrapping_mul(0x931e_8875);
        let mixed = mixed.wrapping_mul(constant);
        mixed ^ (mixed >> 16)
    };
    let entropy = [seed as u32, (seed >> 32) as u32, 0, 0];
    let mut pool = entropy.map(&mut hash);
    for source in 0..POOL {
        for target in (0..POOL).filter(|&target| target != source) {
            let hashed = hash(pool[source]);
            let mixed = pool[target].wrapping_mul(0xca01_f9dd).wrapping_sub(hashed.wrapping_mul(0x4973_f715));
            pool[target] = mixed ^ (mixed >> 16);
        }
    }
    let mut constant = 0x8b51_f9ddu32;
    std::array::from_fn(|index| {
        let mixed = pool[index % POOL] ^ constant;
        constant = constant.wrapping_mul(0x58f3_8ded);
        let mixed = mixed.wrapping_mul(constant);
        mixed ^ (mixed >> 16)
    })
}

struct Pcg64 {
    state: u128,
    increment: u128,
    /// The high half of a 64-bit output, waiting to be the next 32-bit draw.
    half: Option<u32>,
}

impl Pcg64 {
    fn new(seed: u64) -> Self {
        let words = seed_words(seed);
        let pair = |index: usize| u128::from(words[2 * index]) | u128::from(words[2 * index + 1]) << 32;
        let increment = (pair(2) << 64 | pair(3)) << 1 | 1;
        let mut generator = Self { state: 0, increment, half: None };
        generator.step();
        generator.state = generator.state.wrapping_add(pair(0) << 64 | pair(1));
        generator.step();
        generator
    }

    fn step(&mut self) {
        const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    fn next_u64(&mut self) -> u64 {
        self.step();
        ((self.state >> 64) as u64 ^ self.state as u64).rotate_right((self.state >> 122) as u32)
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(half) = self.half.take() {
            return half;
        }
        let whole = self.next_u64();
        self.half = Some((whole >> 32) as u32);
        whole as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_outputs_of_seed_42() {
        // numpy: `np.random.PCG64(42).random_raw(3)`.
        let mut generator = Pcg64::new(42);
        let outputs = [(); 3].map(|()| generator.next_u64());
        assert_eq!(outputs, [0xc621_fbcd_16d9_2688, 0x705a_5661_a791_ffc1, 0xdbcd_12c2_6eda_1624]);
    }

    proptest! {
        #[test]
        fn a_permutation_holds_every_place_once(seed: u64, count in 0usize..300) {
            let mut order = permutation(seed, count);
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }
}
