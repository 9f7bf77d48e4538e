//! Instruction sets on the real binary: what is read, what is skipped and why, and rows that are malformed.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::workspace::{Workspace, parse};

const PIPELINE: &str = "\
version: 1
name: records
params: {history: first-turn, bad: 2, language: English}
sources:
  tiny: {embedded: tiny}
  scores: {published-scores: scores.json}
  instructions: {instructions: instructions.jsonl}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {select: top-k, count: 3}}
  pairs:
    kind: sample-pairs
    in: {model: tiny, mask: mask, instructions: instructions}
    with:
      max-new-tokens: 8
      temperature: 1.0
      min-characters: 4
      max-characters: 60
      history: '${params.history}'
      max-bad-rows: '${params.bad}'
      language: '${params.language}'
";

/// A record for each fate; lines 3 and 7 are malformed.
const RECORDS: &str = r#"{"conversation_id": "1", "conversation": [{"role": "user", "content": "Say ta ko."}, {"role": "assistant", "content": "ta ko"}, {"role": "user", "content": "Again."}], "language": "English", "redacted": false}
{"conversation_id": "2", "conversation": [{"role": "user", "content": "Say NAME_1."}], "language": "English", "redacted": true}
{"conversation_id": "3", "conversation": [{"role": "user"
{"conversation_id": "4", "conversation": [{"role": "user", "content": "Dis ta ko."}], "language": "French"}
{"conversation_id": "5", "conversation": [{"role": "user", "content": "Say ta ko."}, {"role": "assistant", "content": "no"}], "language": "English"}
{"conversation_id": "6", "conversation": [{"role": "user", "content": "Hi"}], "language": "English"}
{"conversation_id": "7", "conversation": "Say ta.", "language": "English"}
{"conversation_id": "8", "conversation": [{"role": "user", "content": "Say it at such a length that nobody could ever want to answer it."}]}
{"conversation_id": "9", "conversation": [{"role": "assistant", "content": "x"}], "language": "English"}
{"conversation_id": "10", "conversation": [{"role": "user", "content": "Say ra mi no."}], "language": "english"}
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    let heads: BTreeMap<String, [f64; 1]> =
        (0..24).map(|head| (format!("{}-{}", head / 8, head % 8), [f64::from(head * 11 % 24) / 24.0])).collect();
    workspace.write("scores.json", &serde_json::to_string(&heads).expect("JSON"));
    workspace.write("instructions.jsonl", RECORDS);
    workspace
}

fn counts(workspace: &Workspace) -> BTreeMap<String, u64> {
    let rows = parse(&workspace.succeeds(&["show", "pairs.counts", "--json"]).out);
    let of_records = rows.iter().filter(|row| row["of"] == "records");
    of_records.map(|row| (row["what"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap())).collect()
}

#[test]
fn every_record_is_taken_or_counted_with_its_reason() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let expected = |other_language, too_short, too_long, duplicates, taken| {
        [
            ("read", 10),
            ("malformed", 2),
            ("redacted", 1),
            ("in another language", other_language),
            ("empty", 1),
            ("duplicates", duplicates),
            ("too short", too_short),
            ("too long", too_long),
            ("beyond the window", 0),
            ("taken", taken),
        ]
        .into_iter()
        .map(|(what, count)| (what.to_owned(), count))
        .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(counts(&workspace), expected(1, 1, 1, 1, 2));
    let log = workspace.succeeds(&["logs", "pairs"]).out;
    assert!(log.contains("line 3: not JSON") && log.contains("line 7: `conversation` is a text"), "{log}");
    // Every language; with the whole history the first and the fifth record are no copies.
    workspace.succeeds(&["run", "pipeline.yaml", "--set", "params.language=''", "--set", "params.history=full"]);
    assert_eq!(counts(&workspace), expected(0, 1, 1, 0, 4));
    let prompts: Vec<Value> = parse(&workspace.succeeds(&["show", "pairs", "--json"]).out);
    let turns = |row: &Value| row["prompt"].as_array().unwrap().len();
    assert!(prompts.iter().all(|row| [1, 3].contains(&turns(row))), "{prompts:?}");
}

#[test]
fn more_malformed_rows_than_are_allowed_are_refused_with_their_line() {
    let workspace = workspace();
    let refused = |bad: &str| {
        let checked = workspace.run(&["run", "pipeline.yaml", "--set", &format!("params.bad={bad}")]);
        assert_eq!(checked.code, Some(2), "{}", checked.err);
        checked.err
    };
    assert!(refused("0").contains("line 3: not JSON"));
    let second = refused("1");
    assert!(second.contains("line 7: `conversation` is a text; expected a list of turns"), "{second}");
    assert!(second.contains("`max-bad-rows` allows 1"), "{second}");
}
