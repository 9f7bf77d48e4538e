//! Finding the needle again, in the tokens of the finished prompt.

use std::collections::HashMap;
use std::ops::Range;

/// The share of the needle's distinct tokens a window must hold, exclusively.
const OVERLAP: f64 = 0.9;

/// The first `needle.len()` prompt tokens (fewer at the prompt's end) among which there are more than 0.9 of
/// the needle's distinct tokens. The range has the needle's length, so it may reach past the prompt's end.
/// `None` when there is no such window, or no needle.
pub fn find(prompt: &[u32], needle: &[u32]) -> Option<Range<usize>> {
    // How often each of the needle's tokens stands in the window.
    let mut counts: HashMap<u32, usize> = needle.iter().map(|token| (*token, 0)).collect();
    let distinct = counts.len();
    let mut present = 0;
    for token in &prompt[..prompt.len().min(needle.len())] {
        enter(&mut counts, &mut present, *token);
    }
    for start in 0..prompt.len() {
        if present as f64 / distinct as f64 > OVERLAP {
            return Some(start..start + needle.len());
        }
        if let Some(count) = counts.get_mut(&prompt[start]) {
            *count -= 1;
            present -= usize::from(*count == 0);
        }
        if let Some(token) = prompt.get(start + needle.len()) {
            enter(&mut counts, &mut present, *token);
        }
    }
    None
}

fn enter(counts: &mut HashMap<u32, usize>, present: &mut usize, token: u32) {
    if let Some(count) = counts.get_mut(&token) {
        *count += 1;
        *present += usize::from(*count == 1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The rule as the authors' script states it.
    fn plain(prompt: &[u32], needle: &[u32]) -> Option<Range<usize>> {
        let wanted: HashSet<u32> = needle.iter().copied().collect();
        (0..prompt.len()).find_map(|start| {
            let window: HashSet<u32> = prompt[start..prompt.len().min(start + needle.len())].iter().copied().collect();
            let overlap = window.intersection(&wanted).count() as f64 / wanted.len() as f64;
            (overlap > 0.9).then_some(start..start + needle.len())
        })
    }

    #[test]
    fn a_needle_whose_edges_were_tokenised_differently_is_found() {
        // 10 of 11 distinct tokens (0.909) suffice; 9 of 10 (0.9) do not.
        let needle: Vec<u32> = (100..111).collect();
        let mut prompt = vec![1, 2, 3];
        prompt.extend(&needle[..10]);
        prompt.extend([4, 5, 6]);
        assert_eq!(find(&prompt, &needle), Some(2..13));
        assert_eq!(find(&prompt[..12], &needle[..10]), None);
        assert_eq!(find(&prompt, &[]), None);
        assert_eq!(find(&[], &needle), None);
    }

    proptest! {
        #[test]
        fn the_sliding_window_is_the_plain_rule(
            prompt in prop::collection::vec(0u32..6, 0..40),
            needle in prop::collection::vec(0u32..6, 1..12),
        ) {
            prop_assert_eq!(find(&prompt, &needle), plain(&prompt, &needle));
        }
    }
}
