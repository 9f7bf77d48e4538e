//! Random keys and values that no model has seen.

use retmask_model::random::Stream;

/// A random UUID of version 4 (RFC 9562), lower case.
pub fn uuid(stream: &mut Stream) -> String {
    let (high, low) = (stream.next_u64(), stream.next_u64());
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let (first, second, third) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{first:08x}-{second:04x}-{third:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

/// A number of seven digits.
pub fn seven_digits(stream: &mut Stream) -> String {
    (1_000_000 + stream.below(9_000_000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_their_published_form() {
        let mut stream = Stream::derive(1, &[b"identifiers"]);
        for _ in 0..200 {
            let uuid = uuid(&mut stream);
            let groups: Vec<&str> = uuid.split('-').collect();
            assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{uuid}");
            assert!(groups.concat().chars().all(|digit| matches!(digit, '0'..='9' | 'a'..='f')), "{uuid}");
            assert!(groups[2].starts_with('4') && groups[3].starts_with(['8', '9', 'a', 'b']), "{uuid}");
            let number = seven_digits(&mut stream);
            assert!(number.len() == 7 && !number.starts_with('0'), "{number}");
        }
    }
}
