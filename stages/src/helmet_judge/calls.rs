//! What the judge is asked about each answer.

use crate::artifact::predictions::Prediction;
use crate::contract::{StageError, StageResult};
use crate::helmet::THOUGHTS;
use crate::helmet::dataset::{self, Outside};
use crate::helmet::score::{fact, without_thoughts};
use crate::helmet::template::Fields;
use crate::metrics::{parse_output, trim};

use super::prompts::Prompts;
use super::verdict::Question;

/// One question to the judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub prompt: String,
    pub question: Question,
}

/// The questions about one answer, all of which its score needs.
pub struct Calls {
    /// The answer's place among the predictions.
    pub prediction: usize,
    pub metric: &'static str,
    pub calls: Vec<Call>,
}

/// The questions about all answers that a judge scores, in the order of the predictions.
///
/// # Errors
/// `Input`: an answer lacks what the judge has to know, or a prompt is missing or malformed.
pub fn calls(predictions: &[Prediction], prompts: &mut Prompts<'_>) -> StageResult<Vec<Calls>> {
    let mut all = Vec::new();
    for (row, prediction) in predictions.iter().enumerate() {
        let outside = dataset::by_name(&prediction.dataset).and_then(|dataset| dataset.outside());
        let wrong = |why: String| {
            StageError::input(format!("row {row}: example {} of {}: {why}", prediction.example, prediction.dataset))
        };
        let facts: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&prediction.facts)
            .map_err(|error| wrong(format!("the facts are not a JSON object: {error}")))?;
        let thought = facts.get(THOUGHTS) == Some(&serde_json::Value::Bool(true));
        let output = if thought { without_thoughts(&prediction.output) } else { &prediction.output };
        let text = |name: &str| fact::<String>(&facts, name).map_err(wrong);
        let calls = match outside {
            Some(Outside::JudgedAnswer) => {
                let fields = Fields::from([
                    ("question", text("question")?),
                    ("correct_answers", python_list(&prediction.answers)),
                    ("parsed_output", parse_output(&output.replace('\n', " "), "Answer:").to_owned()),
                ]);
                vec![Call { prompt: prompts.filled("longqa_judge.txt", &fields)?, question: Question::Answer }]
            }
            Some(Outside::JudgedSummary { book }) => {
                let points: Vec<String> = fact(&facts, "keypoints").map_err(wrong)?;
                let numbered = points.iter().enumerate().map(|(place, point)| format!("{}. {point}", place + 1));
                let summary = trim(output).to_owned();
                let fields = Fields::from([
                    ("text", summary.clone()),
                    ("summary", summary),
                    ("keypoints", numbered.collect::<Vec<_>>().join("\n")),
                    ("expert_summary", text("expert_summary")?),
                ]);
                let names = match book {
                    true => [
                        "summ_fluency_prompt_book.txt",
                        "summ_recall_prompt_book.txt",
                        "summ_precision_prompt_book.txt",
                    ],
                    false => ["summ_fluency_prompt.txt", "summ_recall_prompt.txt", "summ_precision_prompt.txt"],
                };
                let most = u32::try_from(points.len()).unwrap_or(u32::MAX);
                let questions = [Question::Fluency, Question::Recall { points: most }, Question::Precision];
                let one = |(name, question)| Ok(Call { prompt: prompts.filled(name, &fields)?, question });
                names.into_iter().zip(questions).map(one).collect::<StageResult<Vec<_>>>()?
            }
            Some(Outside::Citations { .. }) | None => continue,
        };
        let metric = outside.map_or("", |outside| outside.metrics()[0]);
        all.push(Calls { prediction: row, metric, calls });
    }
    Ok(all)
}

/// A list of texts as Python's `repr` writes it: that is how HELMET's prompt shows several answers.
fn python_list(items: &[String]) -> String {
    let one = |item: &String| {
        let quote = if item.contains('\'') && !item.contains('"') { '"' } else { '\'' };
        let mut text = String::from(quote);
        for letter in item.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                letter if letter == quote => text.extend(['\\', quote]),
                letter if letter.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(letter))),
                letter => text.push(letter),
            }
        }
        text.push(quote);
        text
    };
    format!("[{}]", items.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_stand_as_python_writes_a_list() {
        let items = ["a", "b's", "say \"b's\"", "x\\y\n\u{7f}é"].map(str::to_owned);
        assert_eq!(python_list(&items), r#"['a', "b's", 'say "b\'s"', 'x\\y\n\x7fé']"#);
        assert_eq!(python_list(&[]), "[]");
    }
}
