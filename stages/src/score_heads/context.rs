//! Hiding a needle: which tokens the context is made of.

/// The tokens of a context: the haystack cut to fit, the needle in it.
///
/// - The haystack is cut to `length` tokens; if with the needle it is longer than `length - buffer`, to
///   `length - buffer - needle` tokens, and to nothing when that is not positive: the context is then the
///   needle alone.
/// - At depth 100 the needle is appended. Else it is put at `haystack * depth / 100` (rounded down), moved back
///   until the token before it is one of `full_stops` or the start is reached.
pub fn hide(
    haystack: &[u32],
    needle: &[u32],
    length: usize,
    depth: u32,
    buffer: usize,
    full_stops: &[u32],
) -> Vec<u32> {
    let mut haystack = &haystack[..haystack.len().min(length)];
    if haystack.len() + needle.len() + buffer > length {
        haystack = &haystack[..haystack.len().min(length.saturating_sub(buffer + needle.len()))];
    }
    let place = if depth >= 100 {
        haystack.len()
    } else {
        // The product as the authors' script rounds it: the percentage first, in f64.
        let mut place = (haystack.len() as f64 * (f64::from(depth) / 100.0)) as usize;
        while place > 0 && !full_stops.contains(&haystack[place - 1]) {
            place -= 1;
        }
        place
    };
    [&haystack[..place], needle, &haystack[place..]].concat()
}

#[cfg(test)]
mod tests {
    use super::hide;

    const STOP: u32 = 9;
    /// Full stops after 3, 6 and 10 tokens.
    const HAYSTACK: [u32; 12] = [1, 1, STOP, 2, 2, STOP, 3, 3, 3, STOP, 4, 4];
    const NEEDLE: [u32; 2] = [70, 71];

    fn place(length: usize, depth: u32, buffer: usize) -> (usize, usize) {
        let context = hide(&HAYSTACK, &NEEDLE, length, depth, buffer, &[STOP]);
        let start = context.iter().position(|token| *token == 70).unwrap();
        assert_eq!(context[start + 1], 71);
        let rest: Vec<u32> = context.iter().copied().filter(|token| *token < 70).collect();
        assert_eq!(rest, HAYSTACK[..rest.len()], "the haystack keeps its order");
        (start, context.len())
    }

    #[test]
    fn the_needle_follows_a_full_stop_at_or_before_its_depth() {
        // 14 - 2 leaves all 12 tokens.
        assert_eq!(place(14, 0, 0), (0, 14));
        assert_eq!(place(14, 20, 0), (0, 14)); // 2.4 -> 2 -> back to the start
        assert_eq!(place(14, 25, 0), (3, 14)); // 3, right after a full stop
        assert_eq!(place(14, 49, 0), (3, 14)); // 5.88 -> 5 -> 3
        assert_eq!(place(14, 50, 0), (6, 14));
        assert_eq!(place(14, 99, 0), (10, 14));
        assert_eq!(place(14, 100, 0), (12, 14));
    }

    #[test]
    fn the_buffer_and_the_needle_are_taken_from_the_haystack() {
        assert_eq!(place(13, 100, 3), (8, 10));
        // The haystack is cut to the length even where buffer and needle leave room for more.
        assert_eq!(place(12, 100, 0), (10, 12));
        // Nothing, or less than nothing, left for the haystack.
        assert_eq!(place(5, 50, 3), (0, 2));
        assert_eq!(place(4, 50, 3), (0, 2));
        assert_eq!(place(0, 50, 200), (0, 2));
        // Foreign full stops: the needle goes to the start.
        assert_eq!(hide(&HAYSTACK, &NEEDLE, 14, 50, 0, &[29_889, 869])[..2], NEEDLE);
    }
}
