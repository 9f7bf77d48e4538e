//! From responses to preference pairs: which two of them become one, or why none do.

use std::fmt;

use rayon::prelude::*;
use retmask_model::generate::StopReason;

use super::Parameters;
use super::judge::best_and_worst;
use super::prompts::Prompt;
use super::repetition::ends_in_a_loop;
use super::run::Layout;
use super::side::Answer;
use crate::artifact::pairs::Pair;
use crate::remote::verdict::Verdict;

/// Why responses became no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The prompt leaves no room for a response.
    TooLong,
    /// A server gave no response.
    Failed,
    /// A response has no text; of candidates, fewer than two have one.
    Empty,
    /// A response was cut off, and such pairs are not wanted.
    Truncated,
    /// A response ends in a loop, and such pairs are not wanted.
    Loop,
    /// Both responses are the same text.
    Identical,
    /// Fewer than two candidates have a verdict.
    Unjudged,
    /// All candidates have the same score.
    Tie,
}

impl Reason {
    pub const ALL: [Self; 8] = [
        Self::TooLong,
        Self::Failed,
        Self::Empty,
        Self::Truncated,
        Self::Loop,
        Self::Identical,
        Self::Unjudged,
        Self::Tie,
    ];

    /// The word used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::Failed => "failed",
            Self::Empty => "empty",
            Self::Truncated => "truncated",
            Self::Loop => "loop",
            Self::Identical => "identical",
            Self::Unjudged => "unjudged",
            Self::Tie => "tie",
        }
    }

    const fn told(self) -> &'static str {
        match self {
            Self::TooLong => "beyond the window",
            Self::Failed => "without a response",
            Self::Empty => "with an empty response",
            Self::Truncated => "with a response cut off",
            Self::Loop => "with a response ending in a loop",
            Self::Identical => "with two identical ones",
            Self::Unjudged => "without verdicts",
            Self::Tie => "with equal scores",
        }
    }
}

/// What became of the responses of one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Two of them, by their places within the pair, are one.
    Kept {
        chosen: usize,
        rejected: usize,
    },
    Dropped(Reason),
}

impl Fate {
    /// The word used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept { .. } => "kept",
            Self::Dropped(reason) => reason.name(),
        }
    }
}

/// Flaws of a response, whether they keep it from becoming part of a pair or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// The most tokens were reached.
    pub truncated: bool,
    /// It ends in one piece said over and over.
    pub looping: bool,
}

/// The flaws of each response.
pub fn flags(answers: &[Answer]) -> Vec<Flags> {
    let of = |answer: &Answer| match answer {
        Answer::Given { response, .. } => {
            Flags { truncated: response.stop == StopReason::Length.name(), looping: ends_in_a_loop(&response.text) }
        }
        Answer::TooLong { .. } | Answer::Failed { .. } => Flags::default(),
    };
    answers.par_iter().map(of).collect()
}

/// Why a response can be part of no pair.
fn unfit(parameters: &Parameters, answer: &Answer, flags: Flags) -> Option<Reason> {
    match answer {
        Answer::TooLong { .. } => Some(Reason::TooLong),
        Answer::Failed { .. } => Some(Reason::Failed),
        Answer::Given { response, .. } if response.text.is_empty() => Some(Reason::Empty),
        Answer::Given { .. } if parameters.drop_truncated && flags.truncated => Some(Reason::Truncated),
        Answer::Given { .. } if parameters.drop_repeated && flags.looping => Some(Reason::Loop),
        Answer::Given { .. } => None,
    }
}

/// The places of the candidates that a judge is asked about: those that could be part of a pair, where there are two.
pub fn to_judge(parameters: &Parameters, answers: &[Answer], flags: &[Flags]) -> Vec<usize> {
    let size = parameters.responses_of_a_pair();
    let mut places = Vec::new();
    for first in (0..answers.len()).step_by(size) {
        let fit = (first..first + size).filter(|&place| unfit(parameters, &answers[place], flags[place]).is_none());
        let fit: Vec<usize> = fit.collect();
        if fit.len() > 1 {
            places.extend(fit);
        }
    }
    places
}

/// What becomes of the responses of every pair. `verdicts` are those of candidates, by their places.
pub fn fates(
    parameters: &Parameters,
    answers: &[Answer],
    flags: &[Flags],
    verdicts: Option<&[Option<Verdict<f64>>]>,
) -> Vec<Fate> {
    let size = parameters.responses_of_a_pair();
    let of = |first: usize| {
        let places = first..first + size;
        let flaws = places.clone().filter_map(|place| unfit(parameters, &answers[place], flags[place]));
        match verdicts {
            Some(verdicts) => of_candidates(&verdicts[places], flaws.min()),
            // The first flaw in the order of reasons, whichever side has it.
            None => match flaws.min() {
                Some(reason) => Fate::Dropped(reason),
                None if text(&answers[first]) == text(&answers[first + 1]) => Fate::Dropped(Reason::Identical),
                None => Fate::Kept { chosen: 0, rejected: 1 },
            },
        }
    };
    (0..answers.len()).step_by(size).map(of).collect()
}

fn of_candidates(verdicts: &[Option<Verdict<f64>>], flaw: Option<Reason>) -> Fate {
    let score = |(place, verdict): (usize, &Option<Verdict<f64>>)| match verdict {
        Some(Verdict(Ok(score))) => Some((place, *score)),
        Some(Verdict(Err(_))) | None => None,
    };
    let scores: Vec<(usize, f64)> = verdicts.iter().enumerate().filter_map(score).collect();
    match best_and_worst(&scores) {
        Some((chosen, rejected)) => Fate::Kept { chosen, rejected },
        None if scores.len() > 1 => Fate::Dropped(Reason::Tie),
        // Where candidates were fit to be judged, it was the judge who said nothing.
        None if verdicts.iter().any(Option::is_some) => Fate::Dropped(Reason::Unjudged),
        None => Fate::Dropped(flaw.unwrap_or(Reason::Unjudged)),
    }
}

/// The text of a response; empty where there is none.
pub fn text(answer: &Answer) -> &str {
    match answer {
        Answer::Given { response, .. } => &response.text,
        Answer::TooLong { .. } | Answer::Failed { .. } => "",
    }
}

/// Why so many pairs were dropped, for the log.
pub struct Dropped<'a>(pub &'a [Fate]);

impl Dropped<'_> {
    /// How many were dropped for this reason.
    pub fn count(&self, reason: Reason) -> usize {
        self.0.iter().filter(|fate| **fate == Fate::Dropped(reason)).count()
    }
}

impl fmt::Display for Dropped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Reason::ALL.into_iter().map(|reason| (self.count(reason), reason)).filter(|(count, _)| *count > 0);
        let told: Vec<String> = counts.map(|(count, reason)| format!("{count} {}", reason.told())).collect();
        formatter.write_str(if told.is_empty() { "none" } else { "" })?;
        formatter.write_str(&told.join(", "))
    }
}

/// A digest of the prompt and the pair's number among those of the prompt, in hexadecimal.
pub fn row_id(prompt: &Prompt, pair: u32) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("retmask 2026-11 pair row v1");
    hasher.update(&prompt.digest);
    hasher.update(&pair.to_le_bytes());
    hasher.finalize().to_hex().to_string()
}

/// The pairs that are kept.
pub fn pairs(prompts: &[Prompt], parameters: &Parameters, answers: Vec<Answer>, fates: &[Fate]) -> Vec<Pair> {
    let layout = Layout::new(parameters);
    let mut answers = answers.into_iter();
    let mut pairs = Vec::new();
    for (number, fate) in fates.iter().enumerate() {
        let mut responses: Vec<Option<Answer>> =
            answers.by_ref().take(layout.responses_of_a_pair()).map(Some).collect();
        let Fate::Kept { chosen, rejected } = *fate else { continue };
        let mut take = |place: usize| responses.get_mut(place).and_then(Option::take);
        let (
            Some(Answer::Given { prompt_tokens, response: chosen, .. }),
            Some(Answer::Given { response: rejected, .. }),
        ) = (take(chosen), take(rejected))
        else {
            continue;
        };
        let samples = parameters.samples as usize;
        let (prompt, sample_index) = (&prompts[number / samples], (number % samples) as u32);
        pairs.push(Pair {
            row_id: row_id(prompt, sample_index),
            prompt: prompt.messages.clone(),
            chosen,
            rejected,
            sample_index,
            prompt_tokens,
        });
    }
    pairs
}

#[cfg(test)]
mod tests {
    use retmask_model::text::ChatMessage;

    use super::super::Judge;
    use super::*;
    use crate::artifact::pairs::Response;

    fn ended(text: &str, stop: &'static str) -> Answer {
        Answer::Given { prompt_tokens: 2, response: Response { text: text.into(), tokens: 3, stop }, reasoning: None }
    }

    fn given(text: &str) -> Answer {
        ended(text, "stop")
    }

    fn prompt(digest: u8) -> Prompt {
        Prompt { messages: vec![ChatMessage { role: "user".into(), content: "?".into() }], digest: [digest; 32] }
    }

    fn fates_of(parameters: &Parameters, answers: &[Answer]) -> Vec<Fate> {
        fates(parameters, answers, &flags(answers), None)
    }

    #[test]
    fn empty_and_identical_pairs_are_dropped_and_counted() {
        let sides = [("a", "b"), ("", "b"), ("a", ""), ("a", "a"), ("c", "d"), ("e", "f")];
        let mut answers: Vec<Answer> =
            sides.iter().flat_map(|(chosen, rejected)| [given(chosen), given(rejected)]).collect();
        answers.extend([Answer::TooLong { prompt_tokens: 9 }, given("g")]);
        answers.extend([given("g"), Answer::Failed { why: "status 400".into() }]);
        let parameters = Parameters { samples: 2, ..Parameters::default() };
        let fates = fates_of(&parameters, &answers);
        let dropped = Dropped(&fates);
        let counted = Reason::ALL.map(|reason| dropped.count(reason));
        assert_eq!(counted, [1, 1, 2, 0, 0, 1, 0, 0]);
        assert_eq!(
            dropped.to_string(),
            "1 beyond the window, 1 without a response, 2 with an empty response, 1 with two identical ones"
        );
        let pairs = pairs(&[prompt(1), prompt(2), prompt(3), prompt(4)], &parameters, answers, &fates);
        let kept: Vec<(&str, u32)> = pairs.iter().map(|pair| (pair.chosen.text.as_str(), pair.sample_index)).collect();
        assert_eq!(kept, [("a", 0), ("c", 0), ("e", 1)]);
        assert_ne!(pairs[1].row_id, pairs[2].row_id);
        assert_eq!(pairs[2].row_id, row_id(&prompt(3), 1));
    }

    #[test]
    fn what_was_cut_off_or_loops_is_flagged_and_dropped_when_that_is_asked_for() {
        let repeating = "over and over ".repeat(9);
        let answers = [
            given("a"),
            ended("b", "length"),
            ended("c", "stop-string"),
            ended(&repeating, "length"),
            given(&repeating),
            given("e"),
        ];
        let found = flags(&answers).into_iter().map(|flags| (flags.truncated, flags.looping));
        let plain = (false, false);
        assert_eq!(found.collect::<Vec<_>>(), [plain, (true, false), plain, (true, true), (false, true), plain]);
        let of = |drop_truncated, drop_repeated| {
            let fates = fates_of(&Parameters { drop_truncated, drop_repeated, ..Parameters::default() }, &answers);
            let count = |fate| fates.iter().filter(|found| **found == fate).count();
            let kept = count(Fate::Kept { chosen: 0, rejected: 1 });
            (kept, count(Fate::Dropped(Reason::Truncated)), count(Fate::Dropped(Reason::Loop)))
        };
        assert_eq!(of(false, false), (3, 0, 0));
        assert_eq!(of(true, false), (1, 2, 0));
        assert_eq!(of(false, true), (1, 0, 2));
        assert_eq!(of(true, true), (0, 2, 1));
    }

    #[test]
    fn of_candidates_the_best_is_chosen_and_the_worst_rejected() {
        let judge = Some(Judge { responses: 3, ..Judge::default() });
        let parameters = Parameters { judge, ..Parameters::default() };
        let score = |score: f64| Some(Verdict(Ok(score)));
        let of = |texts: [&str; 3], verdicts: [Option<Verdict<f64>>; 3]| {
            let answers = texts.map(given);
            fates(&parameters, &answers, &flags(&answers), Some(&verdicts))[0]
        };
        let all = ["a", "b", "c"];
        assert_eq!(of(all, [score(5.0), score(9.0), score(1.0)]), Fate::Kept { chosen: 1, rejected: 2 });
        assert_eq!(of(all, [score(5.0), score(5.0), score(5.0)]), Fate::Dropped(Reason::Tie));
        let none = || Some(Verdict(Err("no".to_owned())));
        assert_eq!(of(all, [score(5.0), none(), score(9.0)]), Fate::Kept { chosen: 2, rejected: 0 });
        assert_eq!(of(all, [score(5.0), none(), none()]), Fate::Dropped(Reason::Unjudged));
        // Of two empty ones nobody was asked.
        assert_eq!(of(["", "b", ""], [None, None, None]), Fate::Dropped(Reason::Empty));
        let judged = |texts: [&str; 3]| to_judge(&parameters, &texts.map(given), &[Flags::default(); 3]);
        assert_eq!(judged(["", "b", "c"]), [1, 2]);
        assert!(judged(["", "b", ""]).is_empty());
    }
}
