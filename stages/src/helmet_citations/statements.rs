//! The statements of an answer, and the documents that each one cites.

use serde_json::{Map, Value};

use crate::helmet::score::fact;
use crate::metrics::citations::{citations, items, normal_output, without_citations};
use crate::metrics::punkt::Punkt;
use crate::metrics::trim;

/// Shorter sentences say nothing: `1.` of a numbered list.
const SHORTEST: usize = 5;

/// A statement without its citations, and the documents it cites, by their place; `None` when it cites one that was not
/// shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub hypothesis: String,
    pub cited: Option<Vec<usize>>,
}

/// An answer's statements, and the documents that were shown with it as they stand in a premise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub statements: Vec<Statement>,
    pub documents: Vec<String>,
}

/// How an answer is made of statements.
#[derive(Clone, Copy)]
pub enum Parts<'a> {
    /// Of sentences.
    Sentences(&'a Punkt),
    /// Of items between commas, each behind the question.
    Items,
}

/// Reads an answer. Of the citations of a statement the first `most` count.
///
/// # Errors
/// What is missing in the facts.
pub fn answer(output: &str, facts: &Map<String, Value>, parts: Parts<'_>, most: usize) -> Result<Answer, String> {
    let documents: Vec<(String, String)> = fact(facts, "docs")?;
    let output = normal_output(output);
    let texts: Vec<String> = match parts {
        Parts::Sentences(punkt) => {
            let long = |sentence: &String| trim(sentence).chars().count() >= SHORTEST;
            punkt.sentences(&output).into_iter().filter(long).collect()
        }
        Parts::Items => {
            let question: String = fact(facts, "question")?;
            items(&output).into_iter().map(|item| format!("{question} {item}")).collect()
        }
    };
    let statement = |text: String| {
        let shown = |number: u64| {
            let place = usize::try_from(number.checked_sub(1)?).ok()?;
            (place < documents.len()).then_some(place)
        };
        let cited: Option<Vec<usize>> = citations(&text).into_iter().map(shown).collect();
        let first = |mut cited: Vec<usize>| {
            cited.truncate(most);
            cited
        };
        Statement { hypothesis: trim(&without_citations(&text)).to_owned(), cited: cited.map(first) }
    };
    Ok(Answer {
        statements: texts.into_iter().map(statement).collect(),
        documents: documents.iter().map(|(title, text)| format!("Title: {title}\n{text}")).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statements_lose_their_citations_and_keep_what_they_cite() {
        let facts = json!({"docs": [["A", "a"], ["B", "b"], ["C", "c"], ["D", "d"]], "question": "Who flies?"});
        let facts = facts.as_object().unwrap();
        let punkt = Punkt::default();
        let read = |output: &str, parts| answer(output, facts, parts, 3).unwrap().statements;
        let statement = |hypothesis: &str, cited: Option<&[usize]>| Statement {
            hypothesis: hypothesis.into(),
            cited: cited.map(<[usize]>::to_vec),
        };
        assert_eq!(
            read("Owls fly [1][3]. 1. Ants do not.\nBees sting [9]. Bees hum [0].", Parts::Sentences(&punkt)),
            [
                statement("Owls fly.", Some(&[0, 2])),
                statement("Ants do not.", Some(&[])),
                statement("Bees sting.", None),
                statement("Bees hum.", None),
            ]
        );
        assert_eq!(
            read("Owls [1][2][3][4], bees.", Parts::Items),
            [statement("Who flies? Owls", Some(&[0, 1, 2])), statement("Who flies? bees", Some(&[]))]
        );
        assert_eq!(answer("", facts, Parts::Items, 3).unwrap().documents[1], "Title: B\nb");
        assert!(answer("", &Map::new(), Parts::Items, 3).unwrap_err().contains("`docs`"));
    }
}
