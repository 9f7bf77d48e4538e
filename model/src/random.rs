//! Random streams derived from what they are for, never from where they stand in a batch.

/// Domain of every stream.
const STREAM_CONTEXT: &str = "retmask 2026-11 random stream v1";

/// A stream of random numbers: the extendable output of blake3 over a length-framed name.
/// The same name gives the same numbers on every machine, in every batch, on any thread.
#[derive(Debug, Clone)]
pub struct Stream {
    reader: blake3::OutputReader,
}

impl Stream {
    /// A stream named by a seed and the parts that tell it from others (role, content digest, index, …).
    pub fn derive(seed: u64, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(STREAM_CONTEXT);
        hasher.update(&seed.to_le_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self { reader: hasher.finalize_xof() }
    }

    /// The next 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.reader.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A uniform number in `[0, 1)` with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform integer in `0..bound`, without modulo bias (Lemire 2019).
    ///
    /// # Panics
    /// If `bound` is 0: callers choose from something.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "cannot choose from nothing");
        let bound = bound as u64;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            // The low half is uniform only above 2^64 mod bound.
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as usize;
            }
        }
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A standard normal number (Box-Muller, one of the pair), from our own logarithm and cosine (`libm`).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_its_whole_name() {
        let first = Stream::derive(1, &[b"a", b"bc"]).next_u64();
        assert_eq!(first, Stream::derive(1, &[b"a", b"bc"]).next_u64());
        assert_ne!(first, Stream::derive(1, &[b"ab", b"c"]).next_u64());
        assert_ne!(first, Stream::derive(2, &[b"a", b"bc"]).next_u64());
    }

    #[test]
    fn moments_are_those_of_the_named_distributions() {
        let mut stream = Stream::derive(7, &[b"moments"]);
        let count = 20_000;
        let uniform: f64 = (0..count).map(|_| stream.uniform()).sum::<f64>() / f64::from(count);
        // Standard error of the mean: 0.289 / sqrt(20000) = 0.002; five of them.
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        let square: f64 = (0..count).map(|_| stream.normal().powi(2)).sum::<f64>() / f64::from(count);
        assert!((square - 1.0).abs() < 0.05, "{square}");
        let mut seen = [0u32; 7];
        (0..7_000).for_each(|_| seen[stream.below(7)] += 1);
        assert!(seen.iter().all(|&count| (850..1150).contains(&count)), "{seen:?}");
    }
}
