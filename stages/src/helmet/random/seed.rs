//! Seeds that belong to a text, so that a row draws the same whatever stands around it.

use sha2::{Digest, Sha256};

/// `(SHA-256(text) + offset) mod 2^31`, the digest read as a big-endian integer.
pub fn text_seed(text: &str, offset: u64) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    // 2^31 divides 2^64, so the last eight bytes decide.
    let low = digest.iter().rev().take(8).rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    low.wrapping_add(offset) % (1 << 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_the_digest_modulo_a_power_of_two() {
        // SHA-256("abc") ends in 0xf20015ad (FIPS 180-2, B.1); the top bit of it falls away.
        assert_eq!(text_seed("abc", 0), 0x7200_15ad);
        assert_eq!(text_seed("abc", 42), 0x7200_15ad + 42);
        // The offset is added before the modulus.
        assert_eq!(text_seed("abc", (1 << 31) - 0x7200_15ad), 0);
    }
}
