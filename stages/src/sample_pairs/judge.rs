//! The best and the worst of several responses by a judge: the paper's Win-Lose-Pair.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::prompts::Prompt;
use crate::contract::{Context, ParameterError, RowContent, RowScope, StageError, StageResult};
use crate::helmet::template::{Fields, fill_in};
use crate::remote::chat::{self, Chat};
use crate::remote::verdict::{JUDGE, Verdict, last_object};
use crate::remote::{Address, Client, WORKERS, ask_some, check_concurrency};
use crate::rows::{Row, work_through};

/// The highest score; the lowest is 0.
const HIGHEST: f64 = 10.0;

/// What the judge is told unless somebody says otherwise.
const PROMPT: &str = "\
You grade how well an assistant answered. Read the request and the answer, then weigh, in this order:
1. Is everything the answer says correct, and does it agree with what the request itself contains?
2. Does it do all of what was asked, and keep to the limits that were set?
3. Is it clear, and no longer than it has to be?
Longer is not better, and a confident tone is no merit.

<request>
{instruction}
</request>

<answer>
{response}
</answer>

Say in two sentences what decides your grade. Then end with one line of JSON, where the grade is a number from 0 (useless) \
to 10 (nothing to improve):
{{\"score\": 0}}";

/// A judge, and what it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Judge {
    /// The judge's name at its service.
    pub model: String,
    /// The judge's revision or digest, where the name does not say it.
    pub revision: Option<String>,
    /// Responses for each pair, of which the one with the highest score is chosen and the one with the lowest rejected.
    pub responses: u32,
    /// What the judge is told. `{instruction}` and `{response}` stand for what is judged, `{{` and `}}` for braces. Its
    /// reply must end in a JSON object with a `score` from 0 to 10.
    pub prompt: String,
    /// Temperature of its replies.
    pub temperature: f64,
    /// Share of the probability that they are drawn from.
    pub top_p: f64,
    /// The most tokens of a reply.
    pub max_tokens: u32,
    /// Seed of its replies, where the service has one; each further attempt takes the next.
    pub seed: u64,
    /// The service's address with the version, `http://host:8000/v1`; `RETMASK_JUDGE_URL` in the environment goes before it.
    /// Not part of the result's key.
    #[serde(skip_serializing)]
    pub base_url: Option<String>,
    /// Requests at a time. Not part of the result's key.
    #[serde(skip_serializing)]
    pub concurrency: usize,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            model: String::new(),
            revision: None,
            responses: 2,
            prompt: PROMPT.into(),
            temperature: 0.0,
            top_p: 1.0,
            max_tokens: 1024,
            seed: 42,
            base_url: None,
            concurrency: WORKERS,
        }
    }
}

impl Judge {
    /// Checks ranges, and that the prompt can be filled in.
    ///
    /// # Errors
    /// A refusal of the first field whose value is not allowed.
    pub fn check(&self) -> Result<(), ParameterError> {
        let refuse = |field: &str, message: String| Err(ParameterError::new(format!("judge.{field}"), message));
        if self.model.trim().is_empty() {
            return refuse("model", "name the judge".into());
        }
        if self.responses < 2 {
            return refuse("responses", format!("{} have no best and worst; expected at least 2", self.responses));
        }
        if !(0.0..=2.0).contains(&self.temperature) {
            return refuse("temperature", format!("{} is not between 0 and 2", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top-p", format!("{} is not above 0 and at most 1", self.top_p));
        }
        if self.max_tokens == 0 {
            return refuse("max-tokens", "0 tokens make no reply; expected at least 1".into());
        }
        check_concurrency(self.concurrency, "judge")?;
        // Marks that no prompt has by chance.
        let marks = ["\u{1}instruction\u{1}", "\u{1}response\u{1}"];
        let filled = fill_in(&self.prompt, &fields(marks[0].into(), marks[1].into()));
        match filled {
            Err(why) => refuse("prompt", why),
            Ok(text) if !marks.iter().all(|mark| text.contains(mark)) => {
                refuse("prompt", "has to show the judge both {instruction} and {response}".into())
            }
            Ok(_) => Ok(()),
        }
    }

    /// The question about a response.
    fn question(&self, prompt: &Prompt, response: &str) -> Result<String, String> {
        let instruction = match prompt.messages.as_slice() {
            [only] => only.content.clone(),
            turns => {
                let turns: Vec<String> = turns.iter().map(|turn| format!("{}: {}", turn.role, turn.content)).collect();
                turns.join("\n\n")
            }
        };
        fill_in(&self.prompt, &fields(instruction, response.to_owned()))
    }
}

fn fields(instruction: String, response: String) -> Fields {
    Fields::from([("instruction", instruction), ("response", response)])
}

/// A verdict on each of these responses, in their order. Equal questions are asked once, and verdicts are kept.
///
/// # Errors
/// `Environment` as [`Verdict::of`]; `Interrupted`.
pub fn verdicts(judge: &Judge, responses: &[(&Prompt, &str)], context: &Context) -> StageResult<Vec<Verdict<f64>>> {
    // The prompt was checked when the pipeline was read.
    let question = |(prompt, response): &(&Prompt, &str)| judge.question(prompt, response).map_err(StageError::input);
    let row = |response| Ok(Row { map: 0, key: RowContent::default().text("question", &question(response)?).key() });
    let rows: Vec<Row> = responses.iter().map(row).collect::<StageResult<_>>()?;
    let scope = RowScope::new("verdicts", &[], judge, &["responses", "prompt"])?;
    work_through(context, vec![context.rows(&scope)?], &rows, &mut |missing, made| {
        let client = Client::new(Address::find(JUDGE.variables, judge.base_url.as_deref())?);
        context.progress().phase("ask the judge", "verdicts", missing.len() as u64);
        let chat = Chat {
            model: judge.model.clone(),
            temperature: judge.temperature,
            top_p: judge.top_p,
            max_tokens: judge.max_tokens,
        };
        let ask = |place: usize| {
            let question = question(&responses[missing[place]])?;
            let body = |attempt: u32| chat.request(&question, judge.seed.wrapping_add(attempt.into()));
            let read = |reply: &Value| score(chat::text(reply)?);
            Verdict::of(JUDGE, client.post(chat::PATH, body, context.cancel(), read))
        };
        ask_some(judge.concurrency, missing.len(), ask, |place, verdict| {
            verdict.into_row(missing[place], made)?;
            context.progress().advance(1);
            Ok(())
        })
    })
}

/// The score in a judge's reply.
///
/// # Errors
/// When there is none, or it is no number from 0 to 10.
fn score(reply: &str) -> Result<f64, String> {
    let object = last_object(reply)?;
    let score = object.get("score").ok_or("the verdict has no `score`")?;
    let score = score.as_f64().filter(|score| (0.0..=HIGHEST).contains(score));
    score.ok_or_else(|| format!("`score` of the verdict is no number from 0 to {HIGHEST}"))
}

/// The places of the highest and the lowest score, the first of equal ones; `None` when all are equal or fewer than two.
pub fn best_and_worst(scores: &[(usize, f64)]) -> Option<(usize, usize)> {
    let by = |sign: f64| {
        scores.iter().copied().reduce(|found, next| if sign * next.1 > sign * found.1 { next } else { found })
    };
    let (best, worst) = (by(1.0)?, by(-1.0)?);
    (best.1 > worst.1).then_some((best.0, worst.0))
}

#[cfg(test)]
mod tests {
    use retmask_model::text::ChatMessage;

    use super::*;

    fn judge() -> Judge {
        Judge { model: "m".into(), ..Judge::default() }
    }

    #[test]
    fn a_judge_is_asked_about_one_response_to_one_conversation() {
        assert_eq!(judge().check(), Ok(()));
        let turn = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
        let prompt = |messages| Prompt { messages, digest: [0; 32] };
        let judge = Judge { prompt: "Q {instruction} A {response} {{\"score\": 1}}".into(), ..judge() };
        let of = |messages| judge.question(&prompt(messages), "{x}").unwrap();
        assert_eq!(of(vec![turn("user", "{a}")]), "Q {a} A {x} {\"score\": 1}");
        let turns = vec![turn("system", "Be brief."), turn("user", "Hi")];
        assert_eq!(of(turns), "Q system: Be brief.\n\nuser: Hi A {x} {\"score\": 1}");
        let refused = |judge: Judge| judge.check().unwrap_err();
        let prompt = |text: &str| Judge { prompt: text.into(), ..judge.clone() };
        assert!(refused(prompt("Rate {response}.")).message.contains("both {instruction} and {response}"));
        assert!(refused(prompt("{instruction} {response} {answer}")).message.contains("there is no field {answer}"));
        assert!(refused(prompt("{instruction} {response} {\"score\": 1}")).message.contains("no field"));
        assert_eq!(refused(Judge { responses: 1, ..judge.clone() }).field, "judge.responses");
        assert_eq!(refused(Judge { model: " ".into(), ..judge.clone() }).field, "judge.model");
        assert_eq!(refused(Judge { concurrency: 0, ..judge.clone() }).field, "judge.concurrency");
    }

    #[test]
    fn a_score_is_a_number_from_0_to_10_at_the_end_of_a_reply() {
        assert_eq!(score("It is {\"score\": 1}, no: {\"score\": 7.5}"), Ok(7.5));
        assert_eq!(score("{\"score\": 0}"), Ok(0.0));
        for reply in ["Seven.", "{\"score\": \"7\"}", "{\"score\": 11}", "{\"score\": -1}", "{\"grade\": 7}"] {
            assert!(score(reply).is_err(), "{reply}");
        }
    }

    #[test]
    fn the_best_and_the_worst_are_the_first_of_their_score() {
        assert_eq!(best_and_worst(&[(0, 3.0), (1, 7.0), (2, 7.0), (4, 3.0)]), Some((1, 0)));
        assert_eq!(best_and_worst(&[(2, 9.0), (5, 1.0)]), Some((2, 5)));
        assert_eq!(best_and_worst(&[(0, 3.0), (1, 3.0)]), None);
        assert_eq!((best_and_worst(&[(0, 3.0)]), best_and_worst(&[])), (None, None));
    }
}
