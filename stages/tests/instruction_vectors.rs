//! Checks of instructions against the published checkers of IFEval, on made-up answers
//! (scripts/make-instruction-vectors).

use std::collections::BTreeSet;

use retmask_stages::general_eval::instructions::{Instruction, verdict};
use retmask_stages::metrics::punkt::Punkt;
use serde_json::Value;

#[test]
fn verdicts_are_those_of_the_published_checkers() {
    let text = include_str!("fixtures/instructions/vectors.jsonl");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answers: Vec<String> = serde_json::from_value(lines.next().unwrap()["answers"].take()).unwrap();
    let punkt = Punkt::default();
    let (mut names, mut checked, mut wrong) = (BTreeSet::new(), 0, Vec::new());
    for row in lines {
        let name = row["instruction"].as_str().unwrap().to_owned();
        let instruction = Instruction::read(&name, row["values"].as_object().unwrap()).unwrap();
        let wanted: Vec<Option<[bool; 2]>> = serde_json::from_value(row["verdicts"].clone()).unwrap();
        assert_eq!(wanted.len(), answers.len());
        for (answer, wanted) in answers.iter().zip(wanted) {
            // Not asked: too short for a language to be told.
            let Some(wanted) = wanted else { continue };
            let found = verdict(&instruction, answer, &punkt);
            checked += 1;
            if found != Some(wanted) {
                wrong.push(format!("{name} {}: {answer:?}: {found:?}, not {wanted:?}", row["values"]));
            }
        }
        names.insert(name);
    }
    assert_eq!(names.len(), 25);
    assert!(checked > 3_500, "{checked}");
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
}
