//! What a judge's reply says, checked; and the score that verdicts give.

use crate::remote::verdict::last_object;

/// What is asked of the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Fluency (0 or 1) and correctness (0 to 3) of an answer.
    Answer,
    /// Fluency (0 or 1) of a summary.
    Fluency,
    /// How many of so many key points a summary has.
    Recall { points: u32 },
    /// How many of how many sentences of a summary are right.
    Precision,
}

impl Question {
    /// The most tokens of a reply.
    pub const fn max_tokens(self) -> u32 {
        match self {
            Self::Answer => 2_048,
            Self::Fluency | Self::Recall { .. } | Self::Precision => 4_096,
        }
    }

    /// The name in the key of a kept verdict.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Fluency => "fluency",
            Self::Recall { .. } => "recall",
            Self::Precision => "precision",
        }
    }

    /// The numbers of a reply: those of its last JSON object.
    ///
    /// # Errors
    /// When there is no such object, a number is missing, or is beyond what it counts.
    pub fn read(self, reply: &str) -> Result<Vec<u32>, String> {
        let object = last_object(reply)?;
        let number = |name: &str, most: u32| {
            let value = object.get(name).ok_or_else(|| format!("the verdict has no `{name}`"))?;
            let number = value
                .as_u64()
                .or_else(|| value.as_f64().filter(|real| real.fract() == 0.0 && *real >= 0.0).map(|real| real as u64));
            let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= most);
            number.ok_or_else(|| format!("`{name}` of the verdict is no whole number from 0 to {most}"))
        };
        match self {
            Self::Answer => Ok(vec![number("fluency", 1)?, number("correctness", 3)?]),
            Self::Fluency => Ok(vec![number("fluency", 1)?]),
            Self::Recall { points } => Ok(vec![number("recall", points)?]),
            Self::Precision => {
                let sentences = number("sentence_count", u32::MAX)?;
                Ok(vec![number("precision", sentences)?, sentences])
            }
        }
    }
}

/// The score of an answer from its verdicts, from 0 to 1. An answer's is fluency times correctness out of 3; a
/// summary's is fluency times the F1 of recall and precision.
pub fn score(questions: &[Question], verdicts: &[Vec<u32>]) -> Option<f64> {
    let share = |part: u32, whole: u32| if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) };
    match (questions, verdicts) {
        ([Question::Answer], [answer]) => Some(f64::from(answer.first()? * answer.get(1)?) / 3.0),
        ([Question::Fluency, Question::Recall { points }, Question::Precision], [fluency, recall, precision]) => {
            let recall = share(*recall.first()?, *points);
            let precision = share(*precision.first()?, *precision.get(1)?);
            let f1 = if recall + precision > 0.0 { 2.0 * recall * precision / (recall + precision) } else { 0.0 };
            Some(f64::from(*fluency.first()?) * f1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_object_of_a_reply_is_the_verdict() {
        let reply = "First {\"fluency\": 0, \"correctness\": 0}. So: {\"fluency\": 1, \"correctness\": 3}.";
        assert_eq!(Question::Answer.read(reply), Ok(vec![1, 3]));
        assert_eq!(
            Question::Recall { points: 5 }.read("{\"supported_key_points\": [1, 4], \"recall\": 2}"),
            Ok(vec![2])
        );
        assert_eq!(Question::Precision.read("{\"precision\": 7.0, \"sentence_count\": 20}"), Ok(vec![7, 20]));
        let block = "```json\n{\"a\": {\"b\": 1}, \"fluency\": 1}\n```";
        assert_eq!(Question::Fluency.read(block), Ok(vec![1]));
    }

    #[test]
    fn a_reply_that_is_no_verdict_says_why() {
        let refused = |question: Question, reply: &str| question.read(reply).unwrap_err();
        assert_eq!(refused(Question::Answer, "It is quite good."), "the reply holds no JSON verdict");
        assert_eq!(refused(Question::Answer, "{ { {"), "the reply holds no JSON verdict");
        assert_eq!(refused(Question::Answer, "{\"fluency\": 1}"), "the verdict has no `correctness`");
        assert!(refused(Question::Answer, "{\"fluency\": 1, \"correctness\": 4}").contains("from 0 to 3"));
        assert!(refused(Question::Fluency, "{\"fluency\": \"1\"}").contains("no whole number"));
        assert!(refused(Question::Fluency, "{\"fluency\": 0.5}").contains("no whole number"));
        // More key points than there are.
        assert!(refused(Question::Recall { points: 3 }, "{\"recall\": 4}").contains("from 0 to 3"));
        assert!(refused(Question::Precision, "{\"precision\": 9, \"sentence_count\": 8}").contains("from 0 to 8"));
    }

    #[test]
    fn scores_are_helmets() {
        assert_eq!(score(&[Question::Answer], &[vec![1, 2]]), Some(2.0 / 3.0));
        assert_eq!(score(&[Question::Answer], &[vec![0, 3]]), Some(0.0));
        let questions = [Question::Fluency, Question::Recall { points: 4 }, Question::Precision];
        let summary = |fluency: u32, recall: u32, precision: [u32; 2]| {
            score(&questions, &[vec![fluency], vec![recall], precision.to_vec()]).unwrap()
        };
        // Recall 1/2, precision 1/4: 2 * (1/8) / (3/4).
        assert!((summary(1, 2, [2, 8]) - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!([summary(0, 2, [2, 8]), summary(1, 0, [0, 8]), summary(1, 4, [0, 0])], [0.0; 3]);
        assert_eq!(score(&questions, &[vec![1]]), None);
    }
}
