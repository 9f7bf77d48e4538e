//! `score-heads` and `sample-pairs` through their stage contract, on a small model of random weights.

#[path = "support/tiny_model.rs"]
mod tiny_model;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use retmask_model::heads::{Head, HeadMask};
use retmask_model::spec::Yarn;
use retmask_stages::artifact::{Media, head_scores, mask, published_scores, schema, table};
use retmask_stages::contract::{Cancel, Context, Fault, Input, Inputs, Kind, Outputs, SilentProgress, StageResult};
use retmask_stages::sample_pairs::{self, SamplePairs, Subset};
use retmask_stages::score_heads::{self, Axis, Prompt, ScoreHeads, Stop};
use tempfile::TempDir;

/// A folder with a model, a mask, needles and instructions.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("model")).unwrap();
        tiny_model::write(&root.join("model"));
        mask::write(&root.join("mask"), &HeadMask::from_iter([Head { layer: 0, head: 1 }])).unwrap();
        let needle = r#"{"needle": " The key is 4711.", "question": "What is the key?", "real_needle": "4711"}"#;
        fs::create_dir_all(root.join("needles/part1")).unwrap();
        fs::write(root.join("needles/needles.jsonl"), needle).unwrap();
        fs::write(root.join("needles/part1/hay.txt"), "Grass is green. Hay is dry. ".repeat(3)).unwrap();
        let instructions: Vec<String> =
            (0..6).map(|number| format!("{{\"prompt\": \"Say {number} times hello.\"}}")).collect();
        fs::write(root.join("instructions"), instructions.join("\n")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a stage on the bench's artifacts at the named ports; its outputs lie in a fresh folder.
    fn run<K: Kind>(&self, ports: &[(&str, Media)], parameters: &K::Parameters) -> StageResult<TempDir> {
        K::validate(parameters).unwrap();
        let mut inputs = Inputs::default();
        for (port, media) in ports {
            inputs.insert(*port, "", *media, self.path(port));
        }
        let folder = TempDir::new().unwrap();
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
        K::run(parameters, &inputs, &Outputs::new(folder.path()), &context)?;
        Ok(folder)
    }

    fn score(&self, masked: bool, parameters: &score_heads::Parameters) -> StageResult<TempDir> {
        let ports = [("model", Media::Model), ("needles", Media::Needles), ("mask", Media::Mask)];
        self.run::<ScoreHeads>(&ports[..if masked { 3 } else { 2 }], parameters)
    }

    fn sample(&self, parameters: &sample_pairs::Parameters) -> StageResult<TempDir> {
        let ports = [("model", Media::Model), ("mask", Media::Mask), ("instructions", Media::Instructions)];
        self.run::<SamplePairs>(&ports, parameters)
    }
}

fn grid() -> score_heads::Parameters {
    score_heads::Parameters {
        context_lengths: Axis::List(vec![0, 60, 150]),
        depths: Axis::List(vec![0, 50, 100]),
        buffer: 20,
        max_new_tokens: 6,
        ..score_heads::Parameters::default()
    }
}

fn few() -> sample_pairs::Parameters {
    sample_pairs::Parameters { max_new_tokens: 12, samples: 2, ..sample_pairs::Parameters::default() }
}

fn read(folder: &TempDir, port: &str, media: Media) -> RecordBatch {
    table::read(&folder.path().join(port), &schema::of(media).unwrap()).unwrap()
}

fn same_files(left: &Path, right: &Path, names: &[&str]) -> bool {
    names.iter().all(|name| fs::read(left.join(name)).unwrap() == fs::read(right.join(name)).unwrap())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).unwrap().as_ref()
}

#[test]
fn score_heads_writes_what_it_promises_the_same_way_every_time() {
    let bench = Bench::new();
    let outputs = bench.score(false, &grid()).unwrap();
    let trials = read(&outputs, "trials", Media::Trials);
    assert_eq!(trials.num_rows(), 9);
    let numbers = |name: &str| column(&trials, name).as_primitive::<UInt32Type>().values().to_vec();
    assert_eq!(numbers("context_length"), [0, 0, 0, 60, 60, 60, 150, 150, 150]);
    assert_eq!(numbers("depth"), [0, 50, 100, 0, 50, 100, 0, 50, 100]);
    // One token per byte: the template's frame, the question, and `length - buffer` of context; at length 0 the
    // needle of 17 bytes alone.
    let tokens = numbers("prompt_tokens");
    assert_eq!((tokens[3] - tokens[0], tokens[6] - tokens[3]), (40 - 17, 90));
    let starts = numbers("needle_start");
    assert!(starts[3] < starts[5] && starts[6] < starts[7] && starts[7] < starts[8], "{starts:?}");

    let scores = head_scores::read(&Input { media: Media::HeadScores, path: outputs.path().join("scores") }).unwrap();
    assert_eq!((scores.layers(), scores.heads_per_layer()), tiny_model::SHAPE);
    assert_eq!(published_scores::read(&outputs.path().join("published")).unwrap(), scores);
    let counted = column(&trials, "counted").as_boolean();
    assert_eq!(scores.counted(), counted.true_count());
    let summary = read(&outputs, "summary", Media::HeadScoreSummary);
    assert_eq!(column(&summary, "trials").as_primitive::<UInt32Type>().value(0), 9);

    let names = ["scores", "trials", "summary", "published"];
    let again = bench.score(false, &grid()).unwrap();
    assert!(same_files(outputs.path(), again.path(), &names));
    let masked = bench.score(true, &grid()).unwrap();
    assert!(!same_files(outputs.path(), masked.path(), &["trials"]), "the mask must be felt");
    let completion = bench.score(false, &score_heads::Parameters { prompt: Prompt::Completion, ..grid() }).unwrap();
    assert!(!same_files(outputs.path(), completion.path(), &["trials"]));
}

#[test]
fn a_trial_that_does_not_fit_the_window_is_named() {
    let bench = Bench::new();
    let long = score_heads::Parameters { context_lengths: Axis::List(vec![60, 600]), ..grid() };
    let error = bench.score(false, &long).unwrap_err();
    assert_eq!(error.fault, Fault::Input);
    assert!(error.message.contains("needle 0 at context length 600 and depth 0 %"), "{error}");
    assert!(error.message.contains(&format!("window of {} tokens", tiny_model::WINDOW)), "{error}");
}

#[test]
fn needles_and_stops_that_are_not_there_are_refused() {
    let bench = Bench::new();
    let error = bench.score(false, &score_heads::Parameters { needles: vec![0, 3], ..grid() }).unwrap_err();
    assert!(error.message.contains("asks for needle 3") && error.message.contains("0 to 0"), "{error}");
    bench.score(false, &score_heads::Parameters { needles: vec![0], stop: Stop::EndToken, ..grid() }).unwrap();
    mask::write(&bench.path("mask"), &HeadMask::from_iter([Head { layer: 2, head: 0 }])).unwrap();
    let error = bench.score(true, &grid()).unwrap_err();
    assert!(error.message.contains("head 2-0"), "{error}");
}

#[test]
fn pairs_are_a_conversational_preference_set_the_same_every_time() {
    let bench = Bench::new();
    let outputs = bench.sample(&few()).unwrap();
    let pairs = read(&outputs, "pairs", Media::Pairs);
    assert!(pairs.num_rows() > 0 && pairs.num_rows() <= 12);
    let ids = column(&pairs, "row_id").as_string::<i32>();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), pairs.num_rows());
    let turn = |name: &str, row: usize| {
        let turns = column(&pairs, name).as_list::<i32>().value(row);
        assert_eq!(turns.len(), 1);
        let turns = turns.as_struct();
        let text = |field: &str| turns.column_by_name(field).unwrap().as_string::<i32>().value(0).to_owned();
        (text("role"), text("content"))
    };
    for row in 0..pairs.num_rows() {
        let (role, content) = turn("prompt", row);
        assert!(role == "user" && content.starts_with("Say "), "{content}");
        let (chosen, rejected) = (turn("chosen", row), turn("rejected", row));
        assert_eq!((chosen.0.as_str(), rejected.0.as_str()), ("assistant", "assistant"));
        assert!(!chosen.1.is_empty() && !rejected.1.is_empty() && chosen.1 != rejected.1);
        assert_eq!(chosen.1.trim(), chosen.1);
    }
    assert!(same_files(outputs.path(), bench.sample(&few()).unwrap().path(), &["pairs"]));
    let other = bench.sample(&sample_pairs::Parameters { seed: 7, ..few() }).unwrap();
    assert!(!same_files(outputs.path(), other.path(), &["pairs"]), "the seed must be felt");
}

/// (row, chosen text) of a table of pairs.
fn chosen(folder: &TempDir) -> Vec<(String, String)> {
    let pairs = read(folder, "pairs", Media::Pairs);
    let (ids, turns) = (column(&pairs, "row_id").as_string::<i32>(), column(&pairs, "chosen").as_list::<i32>());
    (0..pairs.num_rows())
        .map(|row| {
            let content = turns.value(row).as_struct().column(1).as_string::<i32>().value(0).to_owned();
            (ids.value(row).to_owned(), content)
        })
        .collect()
}

#[test]
fn the_chosen_side_depends_on_neither_the_mask_nor_the_rest_of_the_file() {
    let bench = Bench::new();
    let first: HashSet<_> = chosen(&bench.sample(&few()).unwrap()).into_iter().collect();
    mask::write(&bench.path("mask"), &HeadMask::from_iter([Head { layer: 1, head: 2 }])).unwrap();
    let masked_otherwise = chosen(&bench.sample(&few()).unwrap());
    let subset = sample_pairs::Parameters { limit: Some(3), subset: Subset::Random, ..few() };
    let fewer = chosen(&bench.sample(&subset).unwrap());
    assert!(!fewer.is_empty() && fewer.len() <= 6);
    let ids: HashSet<&String> = first.iter().map(|(id, _)| id).collect();
    for pair in masked_otherwise.iter().chain(&fewer) {
        // A row dropped on one side (two identical answers) is in neither set of the other.
        assert!(first.contains(pair) || !ids.contains(&pair.0), "{pair:?}");
    }
    assert!(masked_otherwise.iter().any(|pair| first.contains(pair)));
}

#[test]
fn instructions_too_long_for_the_window_are_skipped_unless_none_is_left() {
    let bench = Bench::new();
    let long = format!("{{\"prompt\": \"{}\"}}\n{{\"prompt\": \"Short.\"}}", "x".repeat(tiny_model::WINDOW));
    fs::write(bench.path("instructions"), long).unwrap();
    let pairs = read(&bench.sample(&few()).unwrap(), "pairs", Media::Pairs);
    assert!(pairs.num_rows() <= 2);
    let error = bench.sample(&sample_pairs::Parameters { max_new_tokens: 500, ..few() }).unwrap_err();
    assert!(error.message.contains("no instruction fits"), "{error}");
}

#[test]
fn yarn_stretches_the_model_and_leaves_another_one_its_window() {
    let bench = Bench::new();
    let long = "x".repeat(tiny_model::WINDOW);
    fs::write(bench.path("instructions"), format!("{{\"prompt\": \"{long}\"}}\n{{\"prompt\": \"Short.\"}}")).unwrap();
    fs::create_dir(bench.path("rejected-model")).unwrap();
    tiny_model::write(&bench.path("rejected-model"));
    let yarn = Some(Yarn { factor: 2.0, original_context: tiny_model::WINDOW as u32 });
    let stretched = sample_pairs::Parameters { yarn, samples: 1, temperature: 2.0, ..few() };
    let fates = |folder: &TempDir| -> Vec<(String, String, bool)> {
        let rows = read(folder, "responses", Media::Responses);
        let text = |name: &str, row| column(&rows, name).as_string::<i32>().value(row).to_owned();
        let given = |row| !column(&rows, "stop").is_null(row);
        (0..rows.num_rows()).map(|row| (text("side", row), text("fate", row), given(row))).collect()
    };
    let masked = fates(&bench.sample(&stretched).unwrap());
    assert!(masked.iter().all(|(_, fate, given)| fate != "too-long" && *given), "{masked:?}");
    let ports = [("model", Media::Model), ("rejected-model", Media::Model), ("instructions", Media::Instructions)];
    // Two copies of one model draw what differs by side, so the short prompt makes a pair.
    let other = fates(&bench.run::<SamplePairs>(&ports, &stretched).unwrap());
    let expected = [
        ("chosen", "too-long", true),
        ("rejected", "too-long", false),
        ("chosen", "kept", true),
        ("rejected", "kept", true),
    ];
    assert_eq!(other, expected.map(|(side, fate, given)| (side.to_owned(), fate.to_owned(), given)));
}

#[test]
fn an_empty_mask_makes_no_pairs() {
    let bench = Bench::new();
    mask::write(&bench.path("mask"), &HeadMask::default()).unwrap();
    assert!(bench.sample(&few()).unwrap_err().message.contains("masks no head"));
}
