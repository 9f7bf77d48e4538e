//! What is told of a sampling beside its pairs: every response with its fate, and counts.

use super::Parameters;
use super::pairing::{Dropped, Fate, Flags, Reason, row_id};
use super::prompts::Prompt;
use super::run::{Draw, Layout};
use super::side::{Answer, Side};
use crate::artifact::responses::ResponseRow;
use crate::artifact::sampling_counts::Count;
use crate::instructions::{Instructions, Skipped};
use crate::remote::verdict::Verdict;

/// The responses of a sampling and what is known of them, each list in the layout of the responses.
pub struct Sampled<'a> {
    pub parameters: &'a Parameters,
    pub prompts: &'a [Prompt],
    pub answers: &'a [Answer],
    pub flags: &'a [Flags],
    pub verdicts: Option<&'a [Option<Verdict<f64>>]>,
    /// One for every pair.
    pub fates: &'a [Fate],
}

impl Sampled<'_> {
    /// A row per response.
    pub fn rows(&self) -> Vec<ResponseRow<'_>> {
        (0..self.answers.len()).map(|place| self.row(place)).collect()
    }

    fn row(&self, place: usize) -> ResponseRow<'_> {
        let layout = Layout::new(self.parameters);
        let Draw { prompt, sample, .. } = layout.draw(place);
        let pair = place / layout.responses_of_a_pair();
        let fate = self.fates[pair];
        let prompt = &self.prompts[prompt];
        let flags = self.flags[place];
        let side = self.side(place);
        // What stands in the pair is not said again.
        let in_pair = matches!(fate, Fate::Kept { .. }) && side != CANDIDATE;
        let mut row = ResponseRow {
            row_id: row_id(prompt, (pair % self.parameters.samples as usize) as u32),
            sample_index: sample,
            side,
            fate: fate.name(),
            prompt_tokens: 0,
            tokens: 0,
            stop: None,
            truncated: flags.truncated,
            looping: flags.looping,
            score: None,
            reasoning: None,
            text: None,
            prompt: match fate {
                Fate::Kept { .. } => None,
                Fate::Dropped(_) => prompt.messages.last().map(|turn| turn.content.as_str()),
            },
            problem: None,
        };
        match &self.answers[place] {
            Answer::Given { prompt_tokens, response, reasoning } => {
                (row.prompt_tokens, row.tokens, row.stop) = (*prompt_tokens, response.tokens, Some(response.stop));
                row.reasoning = reasoning.as_deref();
                row.text = (!in_pair).then_some(response.text.as_str());
            }
            Answer::TooLong { prompt_tokens } => row.prompt_tokens = *prompt_tokens,
            Answer::Failed { why } => row.problem = Some(why),
        }
        match self.verdicts.and_then(|verdicts| verdicts[place].as_ref()) {
            Some(Verdict(Ok(score))) => row.score = Some(*score),
            Some(Verdict(Err(why))) => row.problem = Some(why),
            None => {}
        }
        row
    }

    /// The word for what a response is in its pair.
    fn side(&self, place: usize) -> &'static str {
        let layout = Layout::new(self.parameters);
        if self.parameters.judge.is_none() {
            return layout.draw(place).side.name();
        }
        let within = place % layout.responses_of_a_pair();
        match self.fates[place / layout.responses_of_a_pair()] {
            Fate::Kept { chosen, .. } if within == chosen => Side::Chosen.name(),
            Fate::Kept { rejected, .. } if within == rejected => Side::Rejected.name(),
            Fate::Kept { .. } | Fate::Dropped(_) => CANDIDATE,
        }
    }

    /// Counts of records, responses by their side, and pairs. `left_out` instructions were too long to be taken.
    pub fn counts(&self, found: &Found, left_out: usize) -> Vec<Count> {
        let mut counts = Vec::new();
        let mut count = |of, what: String, count| counts.push(Count { of, what, count });
        let Found { records, malformed, skipped } = found;
        let Skipped { redacted, other_language, empty, duplicates, too_short, too_long } = *skipped;
        for (what, number) in [
            ("read", *records),
            ("malformed", *malformed),
            ("redacted", redacted),
            ("in another language", other_language),
            ("empty", empty),
            ("duplicates", duplicates),
            ("too short", too_short),
            ("too long", too_long),
            ("beyond the window", left_out),
            ("taken", self.prompts.len()),
        ] {
            count("records", what.into(), number);
        }
        for side in [Side::Chosen.name(), Side::Rejected.name(), CANDIDATE] {
            let places: Vec<usize> = (0..self.answers.len()).filter(|place| self.side(*place) == side).collect();
            if places.is_empty() {
                continue;
            }
            let with = |wanted: &dyn Fn(usize) -> bool| places.iter().filter(|place| wanted(**place)).count();
            let thought = |place: usize| matches!(&self.answers[place], Answer::Given { reasoning: Some(_), .. });
            for (what, number) in [
                ("", places.len()),
                (", failed", with(&|place| matches!(self.answers[place], Answer::Failed { .. }))),
                (", beyond the window", with(&|place| matches!(self.answers[place], Answer::TooLong { .. }))),
                (", cut off", with(&|place| self.flags[place].truncated)),
                (", ending in a loop", with(&|place| self.flags[place].looping)),
                (", with thoughts", with(&thought)),
            ] {
                count("responses", format!("{side}{what}"), number);
            }
        }
        if let Some(verdicts) = self.verdicts {
            let without = verdicts.iter().flatten().filter(|verdict| verdict.0.is_err()).count();
            count("responses", "judged".into(), verdicts.iter().flatten().count() - without);
            count("responses", "without a verdict".into(), without);
        }
        let dropped = Dropped(self.fates);
        for reason in Reason::ALL {
            count("pairs", format!("dropped: {}", reason.name()), dropped.count(reason));
        }
        let kept = self.fates.iter().filter(|fate| matches!(fate, Fate::Kept { .. })).count();
        count("pairs", "kept".into(), kept);
        counts
    }
}

/// What a judge took neither as the best nor as the worst.
const CANDIDATE: &str = "candidate";

/// What was found in an instruction set.
pub struct Found {
    records: usize,
    malformed: usize,
    skipped: Skipped,
}

impl Found {
    pub fn of(instructions: &Instructions) -> Self {
        Self { records: instructions.records, malformed: instructions.bad.count, skipped: instructions.skipped }
    }
}

#[cfg(test)]
mod tests {
    use retmask_model::text::ChatMessage;

    use super::super::Judge;
    use super::super::pairing::{fates, flags};
    use super::*;
    use crate::artifact::pairs::Response;

    #[test]
    fn every_response_is_told_with_its_fate() {
        let turn = ChatMessage { role: "user".into(), content: "?".into() };
        let prompts = [1, 2].map(|digest| Prompt { messages: vec![turn.clone()], digest: [digest; 32] });
        let given = |text: &str| Answer::Given {
            prompt_tokens: 5,
            response: Response { text: text.into(), tokens: 3, stop: "stop" },
            reasoning: (text == "b").then(|| "Well".into()),
        };
        let failed = Answer::Failed { why: "status 400".into() };
        let answers = [given("a"), given("b"), given("c"), failed, given("d"), given("")];
        let parameters =
            Parameters { judge: Some(Judge { responses: 3, ..Judge::default() }), ..Parameters::default() };
        let score = |score: f64| Some(Verdict(Ok(score)));
        let verdicts = [score(2.0), score(8.0), Some(Verdict(Err("no".to_owned()))), None, None, None];
        let flags = flags(&answers);
        let fates = fates(&parameters, &answers, &flags, Some(&verdicts));
        let sampled = Sampled {
            parameters: &parameters,
            prompts: &prompts,
            answers: &answers,
            flags: &flags,
            verdicts: Some(&verdicts),
            fates: &fates,
        };
        let rows = sampled.rows();
        let told: Vec<_> = rows.iter().map(|row| (row.side, row.fate, row.text, row.score, row.problem)).collect();
        assert_eq!(
            told,
            [
                ("rejected", "kept", None, Some(2.0), None),
                ("chosen", "kept", None, Some(8.0), None),
                ("candidate", "kept", Some("c"), None, Some("no")),
                ("candidate", "failed", None, None, Some("status 400")),
                ("candidate", "failed", Some("d"), None, None),
                ("candidate", "failed", Some(""), None, None),
            ]
        );
        assert_eq!((rows[1].reasoning, rows[0].reasoning), (Some("Well"), None));
        assert_eq!((rows[0].prompt, rows[3].prompt), (None, Some("?")));
        assert_eq!((rows[0].row_id == rows[2].row_id, rows[2].row_id == rows[3].row_id), (true, false));
        let found = Found { records: 7, malformed: 1, skipped: Skipped { redacted: 3, ..Skipped::default() } };
        let counts = sampled.counts(&found, 1);
        let count = |of: &str, what: &str| {
            counts.iter().find(|count| count.of == of && count.what == what).map(|count| count.count)
        };
        assert_eq!((count("records", "read"), count("records", "redacted")), (Some(7), Some(3)));
        assert_eq!((count("records", "beyond the window"), count("records", "taken")), (Some(1), Some(2)));
        assert_eq!((count("responses", "chosen"), count("responses", "chosen, with thoughts")), (Some(1), Some(1)));
        assert_eq!((count("responses", "candidate"), count("responses", "candidate, failed")), (Some(4), Some(1)));
        assert_eq!((count("responses", "judged"), count("responses", "without a verdict")), (Some(2), Some(1)));
        assert_eq!((count("pairs", "kept"), count("pairs", "dropped: failed")), (Some(1), Some(1)));
    }
}
