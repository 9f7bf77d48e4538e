//! Retrieved passages, and the demonstrations of sets that have them.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::contract::{StageError, StageResult};
use crate::helmet::random::{permutation, text_seed};
use crate::helmet::template::{Fields, Template};

/// A passage of a document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Passage {
    #[serde(default)]
    pub title: String,
    pub text: String,
}

/// Passages as a prompt shows them, numbered from 1 where the template asks for numbers.
pub fn rendered<'a>(template: &Template<'_>, passages: impl Iterator<Item = &'a Passage>) -> StageResult<String> {
    let one = |(number, passage): (usize, &Passage)| {
        let fields = Fields::from([
            ("ID", (number + 1).to_string()),
            ("title", passage.title.clone()),
            ("text", passage.text.clone()),
        ]);
        template.render("passage", &fields)
    };
    let passages = passages.enumerate().map(one).collect::<StageResult<Vec<_>>>()?;
    Ok(passages.join(template.optional_part("passage_separator").unwrap_or("\n\n")))
}

/// The demonstrations of a row: of a pool of rows known by their keys, shuffled by a seed that belongs to the row's
/// key, the first `count` with distinct keys. `usable` tells which rows may be shown beside this one.
///
/// # Errors
/// `Input` when the pool has too few keys.
pub fn demonstrations(
    pool: &[&str],
    key: &str,
    count: usize,
    usable: impl Fn(&str) -> bool,
) -> StageResult<Vec<usize>> {
    // The rows that may not be shown are left out before the shuffle: that is what the order depends on.
    let rows: Vec<usize> = (0..pool.len()).filter(|&row| usable(pool[row])).collect();
    let mut seen = BTreeSet::new();
    let order = permutation(text_seed(key, 0), rows.len()).into_iter().map(|place| rows[place]);
    let chosen: Vec<usize> = order.filter(|&row| seen.insert(pool[row])).take(count).collect();
    if chosen.len() < count {
        let message = format!("the demonstrations hold {} other questions, {count} are shown", chosen.len());
        return Err(StageError::input(message));
    }
    Ok(chosen)
}

/// Demonstrations one after the other, as they stand before the question.
pub fn joined(template: &Template<'_>, demos: &[String]) -> StageResult<String> {
    if demos.is_empty() {
        return Ok(String::new());
    }
    Ok(demos.join(template.part("demo_separator")?) + template.part("demos_trailer")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demonstrations_belong_to_the_key_and_are_distinct() {
        let pool = ["a", "a", "b", "c", "c", "d"];
        let chosen = demonstrations(&pool, "who?", 2, |_| true).unwrap();
        assert_eq!(chosen, demonstrations(&pool, "who?", 2, |_| true).unwrap());
        assert_ne!(pool[chosen[0]], pool[chosen[1]]);
        for key in ["a", "b", "what?", "where?"] {
            assert!(demonstrations(&pool, key, 2, |other| other != key).unwrap().iter().all(|&row| pool[row] != key));
        }
        let error = demonstrations(&["a", "a"], "a", 2, |_| true).unwrap_err();
        assert_eq!(error.message, "the demonstrations hold 1 other questions, 2 are shown");
    }
}
