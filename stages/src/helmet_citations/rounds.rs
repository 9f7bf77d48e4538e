//! Recall and precision of citations (Gao et al. 2023): which pairs have to be asked about, round by round, and what the
//! answers come to.

use std::collections::BTreeMap;

use super::statements::Answer;

/// A premise and a hypothesis.
pub type Pair = (String, String);

/// What is known of pairs: whether the premise entails the hypothesis, or why that is not known.
pub type Known = BTreeMap<Pair, Result<bool, String>>;

/// Recall and precision of an answer's citations, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CitationScores {
    pub recall: f64,
    pub precision: f64,
}

/// What an answer's score still needs, or what it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Pairs to be asked about first.
    Asks(Vec<Pair>),
    /// An answer without a statement has no score.
    Nothing,
    /// Why it has none.
    Unknown(String),
    Scored(CitationScores),
}

/// Scores an answer by what is known.
///
/// All cited documents together entail a statement, or they do not: that is its recall. Where they do, a citation is
/// precise if its document alone entails the statement, or the others without it do not.
pub fn score(answer: &Answer, known: &Known) -> Outcome {
    if answer.statements.is_empty() {
        return Outcome::Nothing;
    }
    let premise = |cited: &mut dyn Iterator<Item = usize>| {
        cited.map(|place| answer.documents[place].as_str()).collect::<Vec<_>>().join("\n")
    };
    let (mut asks, mut unknown) = (Vec::new(), None);
    let mut entails = |premise: String, hypothesis: &str| -> Option<bool> {
        let pair = (premise, hypothesis.to_owned());
        match known.get(&pair) {
            Some(Ok(entails)) => Some(*entails),
            Some(Err(why)) => {
                unknown = Some(why.clone());
                None
            }
            None => {
                asks.push(pair);
                None
            }
        }
    };
    let (mut supported, mut precise, mut total) = (0usize, 0usize, 0usize);
    for statement in &answer.statements {
        let Some(cited) = statement.cited.as_deref().filter(|cited| !cited.is_empty()) else { continue };
        total += cited.len();
        let hypothesis = statement.hypothesis.as_str();
        if entails(premise(&mut cited.iter().copied()), hypothesis) != Some(true) {
            continue;
        }
        supported += 1;
        if cited.len() == 1 {
            precise += 1;
            continue;
        }
        for (place, &document) in cited.iter().enumerate() {
            let alone = entails(premise(&mut std::iter::once(document)), hypothesis);
            // One occurrence of a document that is cited twice is left out, the first.
            let first = cited.iter().position(|other| *other == document).unwrap_or(place);
            let mut others =
                cited.iter().copied().enumerate().filter(|(other, _)| *other != first).map(|(_, other)| other);
            precise += match alone {
                Some(true) => 1,
                Some(false) => usize::from(entails(premise(&mut others), hypothesis) == Some(false)),
                None => 0,
            };
        }
    }
    if let Some(why) = unknown {
        return Outcome::Unknown(why);
    }
    if !asks.is_empty() {
        return Outcome::Asks(asks);
    }
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    Outcome::Scored(CitationScores {
        recall: share(supported, answer.statements.len()),
        precision: share(precise, total),
    })
}

#[cfg(test)]
mod tests {
    use super::super::statements::Statement;
    use super::*;

    fn answer(statements: &[(&str, Option<&[usize]>)]) -> Answer {
        let statement = |&(hypothesis, cited): &(&str, Option<&[usize]>)| Statement {
            hypothesis: hypothesis.into(),
            cited: cited.map(<[usize]>::to_vec),
        };
        Answer {
            statements: statements.iter().map(statement).collect(),
            documents: ["d0", "d1", "d2"].map(str::to_owned).to_vec(),
        }
    }

    /// Asks until there is a score; a premise entails a hypothesis that holds one of its documents' numbers.
    fn resolved(answer: &Answer) -> (Outcome, usize) {
        let mut known = Known::new();
        for round in 0..5 {
            match score(answer, &known) {
                Outcome::Asks(pairs) => known.extend(pairs.into_iter().map(|(premise, hypothesis)| {
                    let entails = premise.lines().any(|document| hypothesis.contains(&document[1..]));
                    ((premise, hypothesis), Ok(entails))
                })),
                outcome => return (outcome, round),
            }
        }
        panic!("no end");
    }

    #[test]
    fn recall_is_of_statements_and_precision_of_citations() {
        // Entailed by 0 of [0, 1]: 1 is over-cited, for 0 alone still entails; not cited; out of range; wrong.
        let mixed = answer(&[("0", Some(&[0, 1])), ("0", Some(&[])), ("1", None), ("2", Some(&[1]))]);
        let (outcome, rounds) = resolved(&mixed);
        assert_eq!(outcome, Outcome::Scored(CitationScores { recall: 0.25, precision: 1.0 / 3.0 }));
        // All documents together, then each alone; without 1 there is 0 alone, which is known by then.
        assert_eq!(rounds, 2);
        let single = answer(&[("1", Some(&[1]))]);
        assert_eq!(resolved(&single).0, Outcome::Scored(CitationScores { recall: 1.0, precision: 1.0 }));
        let none = answer(&[("1", Some(&[]))]);
        assert_eq!(resolved(&none), (Outcome::Scored(CitationScores { recall: 0.0, precision: 0.0 }), 0));
        assert_eq!(resolved(&answer(&[])).0, Outcome::Nothing);
        // Both entail alone.
        let both = answer(&[("0 1", Some(&[0, 1]))]);
        assert_eq!(resolved(&both).0, Outcome::Scored(CitationScores { recall: 1.0, precision: 1.0 }));
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        let one = answer(&[("0", Some(&[0]))]);
        let known = Known::from([(("d0".into(), "0".into()), Err("no reply".into()))]);
        assert_eq!(score(&one, &known), Outcome::Unknown("no reply".into()));
    }
}
