//! What a service said of one item, or why it said nothing of use: read from its reply, and the result of a row.

use serde_json::{Map, Value};

use super::Failure;
use crate::contract::{StageError, StageResult};
use crate::rows::{Made, Reader, RowResult, Writer};

/// A service that is asked about items one by one.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// How the variables of its address are named: `RETMASK_JUDGE_URL`.
    pub variables: &'static str,
    /// What messages call it.
    pub name: &'static str,
    /// What it is asked about.
    pub item: &'static str,
    /// What to look at when it refuses whatever it is asked.
    pub hint: &'static str,
}

/// The judge of answers.
pub const JUDGE: Service = Service {
    variables: "JUDGE",
    name: "the judge",
    item: "question",
    hint: "check RETMASK_JUDGE_URL (it ends in the version: https://host/v1), RETMASK_JUDGE_TOKEN and `model`",
};

/// A verdict, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<T>(pub Result<T, String>);

impl<T> Verdict<T> {
    /// What one item came to: a failure that is about this item alone is no error.
    ///
    /// # Errors
    /// `Environment` when the service refuses everything or does not answer; `Interrupted`.
    pub fn of(service: Service, reply: Result<T, Failure>) -> StageResult<Self> {
        let Service { name, item, hint, .. } = service;
        match reply {
            Ok(value) => Ok(Self(Ok(value))),
            Err(Failure::Unusable(why)) => Ok(Self(Err(why))),
            Err(Failure::Refused(why)) => Ok(Self(Err(format!("the service refuses the {item}: {why}")))),
            Err(Failure::Denied(why)) => Err(StageError::environment(format!("{name} refuses: {why}")).with_hint(hint)),
            Err(Failure::Unanswered(why)) => Err(StageError::environment(format!("{name} does not answer: {why}"))
                .with_hint("the verdicts so far are kept; run again to go on from there")),
            Err(Failure::Stopped) => Err(StageError::interrupted()),
        }
    }
}

impl<T: RowResult> Verdict<T> {
    /// Gives it to its row. Why there is none is not kept: the service may know better another time.
    ///
    /// # Errors
    /// `Environment`: it cannot be kept.
    pub fn into_row(self, row: usize, made: &mut Made<'_, Self>) -> StageResult<()> {
        if self.0.is_ok() {
            return made.done(row, self);
        }
        made.done_for_now(row, self);
        Ok(())
    }
}

impl<T: RowResult> RowResult for Verdict<T> {
    fn write(&self, bytes: &mut Writer) {
        bytes.byte(u8::from(self.0.is_ok()));
        match &self.0 {
            Ok(value) => value.write(bytes),
            Err(why) => bytes.text(why),
        }
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        Some(Self(match bytes.byte()? {
            1 => Ok(T::read(bytes)?),
            0 => Err(bytes.text()?),
            _ => return None,
        }))
    }
}

/// Counts.
impl RowResult for Vec<u32> {
    fn write(&self, bytes: &mut Writer) {
        bytes.numbers(self);
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        bytes.numbers()
    }
}

/// Yes or no.
impl RowResult for bool {
    fn write(&self, bytes: &mut Writer) {
        bytes.byte(u8::from(*self));
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        match bytes.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// A score.
impl RowResult for f64 {
    fn write(&self, bytes: &mut Writer) {
        bytes.real(*self);
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        bytes.real()
    }
}

/// The object from the last `{` that has a `}` to the first of these, as HELMET looks for it; else that in the last block
/// of JSON.
///
/// # Errors
/// When there is none.
pub fn last_object(reply: &str) -> Result<Map<String, Value>, String> {
    let parsed = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let mut last = None;
    let mut rest = reply;
    while let Some((_, inner)) = rest.split_once('{') {
        let Some((body, after)) = inner.split_once('}') else { break };
        last = Some(format!("{{{body}}}"));
        rest = after;
    }
    let block = || reply.rsplit_once("```json").and_then(|(_, block)| block.split_once("```"));
    let found = last.as_deref().and_then(parsed).or_else(|| block().and_then(|(block, _)| parsed(block.trim())));
    found.ok_or_else(|| "the reply holds no JSON verdict".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_come_back_as_they_were_written() {
        fn back<T: RowResult + PartialEq + std::fmt::Debug>(verdict: &Verdict<T>) {
            let mut writer = Writer::default();
            verdict.write(&mut writer);
            let bytes = writer.finish();
            assert_eq!(Verdict::<T>::read(&mut Reader::new(&bytes)).as_ref(), Some(verdict));
            assert!(Verdict::<T>::read(&mut Reader::new(&bytes[..bytes.len() - 1])).is_none());
        }
        back(&Verdict(Ok(7.5)));
        back(&Verdict(Ok(false)));
        back(&Verdict(Ok(vec![1, 3])));
        back(&Verdict::<f64>(Err("no".into())));
        assert!(Verdict::<f64>::read(&mut Reader::new(&[2])).is_none());
    }

    #[test]
    fn a_failure_about_one_question_is_a_verdict_and_others_are_errors() {
        let of = |failure| Verdict::<f64>::of(JUDGE, Err(failure));
        assert_eq!(of(Failure::Unusable("no".into())).unwrap().0, Err("no".into()));
        assert!(of(Failure::Refused("status 400".into())).unwrap().0.unwrap_err().contains("status 400"));
        for failure in [Failure::Denied("401".into()), Failure::Unanswered("503".into()), Failure::Stopped] {
            assert!(of(failure).is_err());
        }
    }
}
