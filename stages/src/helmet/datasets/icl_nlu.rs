//! NLU evaluation data: what people say to a home assistant (Liu et al. 2019).

use super::in_context::{InContext, Labelled, Rows};
use crate::contract::StageResult;
use crate::helmet::data::DataFolder;
use crate::helmet::random::permutation;
use crate::records::csv::{Dialect, records};

const FILE: &str = "nlu/NLU-Data-Home-Domain-Annotated-All.csv";
const COLUMNS: usize = 11;
// Places in a record.
const SCENARIO: usize = 2;
const INTENT: usize = 3;
const ANNOTATED: usize = 5;

/// 68 intents; a tenth of the rows is the test set.
pub const ICL_NLU: InContext =
    InContext { name: "icl_nlu", files: &[FILE, "label_names/nlu.txt"], shots: [510, 1020, 2040, 4080, 8296], read };

fn read(data: &DataFolder, seed: u64) -> StageResult<Rows> {
    let names = data.read("label_names/nlu.txt")?.list()?;
    let file = data.read(FILE)?;
    let dialect = Dialect { separator: ';', loose: true };
    let mut records = records(file.text()?, dialect).map_err(|(line, reason)| file.wrong(line, reason))?.into_iter();
    let header = records.next().ok_or_else(|| file.refuse("there is no header"))?;
    for (place, name) in [(SCENARIO, "scenario"), (INTENT, "intent"), (ANNOTATED, "answer_annotation")] {
        if header.fields.get(place).is_none_or(|field| field != name) {
            return Err(file.wrong(header.line, format!("expected `{name}` as column {}", place + 1)));
        }
    }
    let mut rows = Vec::new();
    for record in records {
        if record.fields.len() != COLUMNS {
            return Err(file.wrong(record.line, format!("{} fields instead of {COLUMNS}", record.fields.len())));
        }
        if record.fields[ANNOTATED] == "null" {
            continue;
        }
        let intent = format!("{}_{}", record.fields[SCENARIO], record.fields[INTENT]);
        let class = names
            .iter()
            .position(|known| *known == intent)
            .ok_or_else(|| file.wrong(record.line, format!("`{intent}` is not among the label names")))?;
        rows.push(Labelled { text: without_annotations(&record.fields[ANNOTATED]), class });
    }
    let order = permutation(seed, rows.len());
    let tests = (0.1 * rows.len() as f64).ceil() as usize;
    let pick = |places: &[usize]| places.iter().map(|&place| rows[place].clone()).collect();
    Ok(Rows { classes: names.len(), train: pick(&order[tests..]), test: pick(&order[..tests]) })
}

/// Replaces `[slot : words]` by the words. As the regular expression `\[(.+?)\s+:+\s(.+?)\]` finds them.
fn without_annotations(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut plain = String::with_capacity(text.len());
    let mut place = 0;
    while place < letters.len() {
        match annotation(&letters[place..]) {
            Some((words, length)) => {
                plain.extend(words);
                place += length;
            }
            None => {
                plain.push(letters[place]);
                place += 1;
            }
        }
    }
    plain
}

/// The words of an annotation at the start of a text, and how many characters it takes.
fn annotation(letters: &[char]) -> Option<(&[char], usize)> {
    if letters.first() != Some(&'[') {
        return None;
    }
    let line = letters.iter().position(|&letter| letter == '\n').unwrap_or(letters.len());
    for slot_end in 2..line {
        let spaces = letters[slot_end..].iter().take_while(|letter| letter.is_whitespace()).count();
        let colons = letters[slot_end + spaces..].iter().take_while(|&&letter| letter == ':').count();
        let words = slot_end + spaces + colons + 1;
        let separated = letters.get(words - 1).is_some_and(|letter| letter.is_whitespace());
        if spaces == 0 || colons == 0 || !separated || words >= line {
            continue;
        }
        if let Some(length) = letters[words + 1..line].iter().position(|&letter| letter == ']') {
            return Some((&letters[words..words + 1 + length], words + length + 2));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_leave_their_words() {
        assert_eq!(
            without_annotations("wake me at [time : five am] on [date :: friday]"),
            "wake me at five am on friday"
        );
        assert_eq!(without_annotations("[a:b] [c : d"), "[a:b] [c : d");
        assert_eq!(without_annotations("[x [name : y]]"), "y]");
        assert_eq!(without_annotations("plain"), "plain");
    }
}
