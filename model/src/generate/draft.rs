//! Drafts: tokens that a text probably goes on with, found by looking where its end stood before ("prompt lookup").
//! One pass checks several of them, and those that the model chooses itself are kept. A row's bits do not depend on
//! its pass, so nothing but the number of passes changes.

use super::slot::Checked;

/// The longest match that is told from a shorter one.
const LONGEST: usize = 8;
/// The most tokens drafted at once.
const MOST_DRAFTED: usize = 12;
/// What a row more adds to the time of a pass that reads the weights for one row. Measured on two cores: 0.1 up to 6
/// rows, 0.15 up to 32.
const ROW: f64 = 0.12;
/// How often a drafted token is kept, by the length of the match in front of it, before any was tried.
const EXPECTED: [f64; LONGEST] = [0.15, 0.3, 0.45, 0.55, 0.65, 0.7, 0.75, 0.8];
/// How many tries that expectation is worth.
const EXPECTED_TRIES: f64 = 8.0;
/// The tries of one length that are looked back on.
const REMEMBERED: f64 = 256.0;

/// How often drafted tokens were kept.
#[derive(Debug)]
pub struct Drafting {
    /// By the length of the match in front of the token, from 1.
    tried: [f64; LONGEST],
    kept: [f64; LONGEST],
}

/// Tokens to check.
#[derive(Debug, Default, PartialEq)]
pub struct Draft {
    pub tokens: Vec<u32>,
    /// The length of the match in front of the first of them.
    matched: usize,
}

impl Default for Drafting {
    fn default() -> Self {
        Self { tried: [EXPECTED_TRIES; LONGEST], kept: EXPECTED.map(|share| share * EXPECTED_TRIES) }
    }
}

impl Drafting {
    /// What `text` probably goes on with, at most `room` tokens: as many as are worth their rows in a pass that
    /// continues `streams` sequences.
    pub fn draft(&self, text: &[u32], room: usize, streams: usize) -> Draft {
        let least = least_probability(streams);
        let room = room.min(MOST_DRAFTED);
        if room == 0 || self.most_likely() < least {
            return Draft::default();
        }
        let Some((next, matched)) = continued_before(text) else { return Draft::default() };
        let mut tokens: Vec<u32> = Vec::new();
        let mut probability = 1.0;
        while tokens.len() < room {
            let class = class(matched + tokens.len());
            probability *= self.kept[class] / self.tried[class];
            if probability < least {
                break;
            }
            // Where the match overlaps the end, what is drafted goes on from itself.
            let place = next + tokens.len();
            tokens.push(text.get(place).copied().unwrap_or_else(|| tokens[place - text.len()]));
        }
        Draft { tokens, matched }
    }

    /// Counts what became of a draft.
    pub fn learn(&mut self, draft: &Draft, Checked { kept, rejected }: Checked) {
        for place in 0..kept + usize::from(rejected) {
            let class = class(draft.matched + place);
            self.tried[class] += 1.0;
            self.kept[class] += f64::from(u8::from(place < kept));
            if self.tried[class] > REMEMBERED {
                self.tried[class] /= 2.0;
                self.kept[class] /= 2.0;
            }
        }
    }

    fn most_likely(&self) -> f64 {
        self.kept.iter().zip(&self.tried).map(|(kept, tried)| kept / tried).fold(0.0, f64::max)
    }
}

fn class(matched: usize) -> usize {
    matched.clamp(1, LONGEST) - 1
}

/// From which probability on a token is worth a row: it saves a stream's share of a pass.
fn least_probability(streams: usize) -> f64 {
    let pass = 1.0 + ROW * (streams as f64 - 1.0);
    ROW * streams as f64 / pass
}

/// Where the longest end of `text` (up to [`LONGEST`] tokens) stands in it before, the last of equals: the place behind
/// it, and its length.
fn continued_before(text: &[u32]) -> Option<(usize, usize)> {
    let (&last, before) = text.split_last()?;
    let mut best = None;
    for (place, _) in before.iter().enumerate().rev().filter(|&(_, &token)| token == last) {
        let backwards = text[..=place].iter().rev().zip(text.iter().rev());
        let matched = backwards.take(LONGEST).take_while(|(left, right)| left == right).count();
        if best.is_none_or(|(_, longest)| matched > longest) {
            best = Some((place + 1, matched));
            if matched == LONGEST {
                break;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_is_found_and_of_equals_the_last() {
        assert_eq!(continued_before(&[1, 2, 3, 9, 2, 3, 7, 1, 2, 3]), Some((3, 3)));
        assert_eq!(continued_before(&[2, 3, 9, 2, 3, 7, 8, 2, 3]), Some((5, 2)));
        assert_eq!(continued_before(&[1, 2, 3]), None);
        assert_eq!(continued_before(&[]), None);
    }

    #[test]
    fn a_draft_goes_on_from_itself_where_a_text_repeats() {
        let drafting = Drafting::default();
        let text = [4, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6];
        assert_eq!(drafting.draft(&text, 5, 1).tokens, [5, 6, 5, 6, 5]);
        assert_eq!(drafting.draft(&text, 0, 1), Draft::default());
    }

    #[test]
    fn what_is_rejected_is_drafted_no_more_and_what_is_kept_more() {
        let mut drafting = Drafting::default();
        let text = [1, 2, 3, 4, 5, 1];
        let first = drafting.draft(&text, 12, 1);
        assert_eq!(first.tokens[..1], [2]);
        (0..40).for_each(|_| drafting.learn(&first, Checked { kept: 0, rejected: true }));
        assert_eq!(drafting.draft(&text, 12, 1), Draft { tokens: vec![], matched: 1 });
        let mut drafting = Drafting::default();
        (0..40).for_each(|_| drafting.learn(&first, Checked { kept: first.tokens.len(), rejected: false }));
        assert!(drafting.draft(&text, 12, 1).tokens.len() >= first.tokens.len());
        // With many streams a row costs as much as a token is worth.
        assert!(drafting.draft(&text, 12, 64).tokens.len() < drafting.draft(&text, 12, 1).tokens.len());
        assert!(least_probability(1) < least_probability(8) && least_probability(1_000) <= 1.0);
    }
}
