//! The generated datasets: size, content, determinism; and both stages' files and refusals without a model.

#[path = "support/triples.rs"]
mod triples;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::AsArray;
use retmask_stages::artifact::predictions::{self, Prediction};
use retmask_stages::artifact::{Media, schema, table};
use retmask_stages::contract::{
    Cancel, Context, Fault, Inputs, Kind, Outputs, SilentProgress, StageError, StageResult,
};
use retmask_stages::helmet::dataset::{self, Dataset, Example, Records, Request};
use retmask_stages::helmet::template::Templates;
use retmask_stages::helmet::{DataFolder, Form, Helmet, Parameters, Room, prepare};
use retmask_stages::helmet_score::{self, HelmetScore};
use triples::Triples;

const GENERATED: [&str; 4] = ["json_kv", "ruler_niah_mk_2", "ruler_niah_mk_3", "ruler_niah_mv"];

fn room(dataset: &dyn Dataset, length: usize) -> Room {
    Room { length, new_tokens: dataset.max_new_tokens(), window: length }
}

fn examples(name: &str, length: usize, samples: usize, seed: u64) -> Vec<Example> {
    let dataset = dataset::by_name(name).unwrap();
    let templates = Templates::own().unwrap();
    let template = templates.of(name).unwrap();
    let request = Request {
        room: room(dataset, length),
        samples,
        seed,
        shots: None,
        records: Records::Generated,
        template: &template,
        tokens: &Triples,
        length_tokens: &Triples,
        data: None,
        check: &|| Ok(()),
    };
    dataset.examples(&request).unwrap()
}

#[test]
fn generated_prompts_fill_their_length_and_hold_their_answers() {
    let templates = Templates::own().unwrap();
    for name in GENERATED {
        let dataset = dataset::by_name(name).unwrap();
        let template = templates.of(name).unwrap();
        for length in [1_024, 4_096, 32_768] {
            for example in examples(name, length, 6, 42) {
                let prompt = prepare(&template, &example, room(dataset, length), Form::Completion, &Triples).unwrap();
                let whole = prompt.ids.len() + dataset.max_new_tokens();
                // One pair or needle of two UUIDs is about 40 tokens here; nothing is cut.
                assert!(whole <= length && whole + 45 > length, "{name} at {length}: {whole}");
                assert!(example.answers.iter().all(|answer| example.fields["context"].contains(answer)));
            }
        }
    }
}

#[test]
fn a_key_stands_once_and_its_value_beside_it() {
    for example in examples("json_kv", 4_096, 12, 42) {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(example.fields["context"].strip_prefix("JSON data:\n").unwrap()).unwrap();
        assert_eq!(object[&example.fields["question"]], example.answers[0].as_str());
        assert_eq!(example.fields["demos"].matches("Key: ").count(), 2);
        assert!(!example.fields["demos"].contains(&example.fields["question"]));
        let shown = example.fields["demos"].lines().filter_map(|line| line.strip_prefix("Key: "));
        assert!(shown.into_iter().all(|key| object.contains_key(key)));
    }
    for name in ["ruler_niah_mk_2", "ruler_niah_mk_3"] {
        for example in examples(name, 4_096, 4, 42) {
            let lines: Vec<&str> = example.fields["context"].lines().collect();
            let asked: Vec<&&str> = lines.iter().filter(|line| line.contains(&example.fields["query"])).collect();
            assert_eq!(asked.len(), 1);
            assert!(asked[0].contains(&example.answers[0]));
            assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len());
        }
    }
    for example in examples("ruler_niah_mv", 4_096, 4, 42) {
        assert_eq!(example.answers.len(), 4);
        assert_eq!(example.fields["context"].matches(&example.fields["query"]).count(), 4);
        let places: Vec<usize> =
            example.answers.iter().map(|answer| example.fields["context"].find(answer).unwrap()).collect();
        assert!(places.is_sorted(), "the answers stand in the text's order: {places:?}");
    }
}

#[test]
fn json_kv_asks_at_six_even_depths() {
    let depths: Vec<f64> = examples("json_kv", 8_192, 6, 42)
        .iter()
        .map(|example| {
            let lines: Vec<&str> = example.fields["context"].lines().filter(|line| line.contains(": \"")).collect();
            let place = lines.iter().position(|line| line.contains(&example.fields["question"])).unwrap();
            place as f64 / (lines.len() - 1) as f64
        })
        .collect();
    for (depth, expected) in depths.iter().zip([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]) {
        // Half a pair of about a hundred.
        assert!((depth - expected).abs() < 0.01, "{depths:?}");
    }
}

#[test]
fn an_example_depends_on_its_seed_and_number_alone() {
    for name in GENERATED {
        let all = examples(name, 2_048, 7, 42);
        assert_eq!(all[..3], examples(name, 2_048, 3, 42), "{name}");
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(all, one_thread.install(|| examples(name, 2_048, 7, 42)), "{name}");
        assert_ne!(all, examples(name, 2_048, 7, 43), "{name}");
        assert_eq!(all.iter().map(|example| &example.fields["context"]).collect::<BTreeSet<_>>().len(), 7, "{name}");
        // A longer length asks for the same value.
        assert_eq!(all[0].answers, examples(name, 4_096, 1, 42)[0].answers, "{name}");
    }
}

#[test]
fn a_length_too_short_for_one_pair_is_refused() {
    let dataset = dataset::by_name("json_kv").unwrap();
    let templates = Templates::own().unwrap();
    let request = Request {
        room: room(dataset, 200),
        samples: 1,
        seed: 42,
        shots: None,
        records: Records::Generated,
        template: &templates.of("json_kv").unwrap(),
        tokens: &Triples,
        length_tokens: &Triples,
        data: None,
        check: &|| Ok(()),
    };
    let error = dataset.examples(&request).unwrap_err();
    assert!(error.message.starts_with("`length: 200` is too short"), "{}", error.message);
}

fn context(folder: &std::path::Path) -> Context {
    Context::new(Arc::new(SilentProgress), Cancel::default(), folder)
}

fn refused<K: Kind>(parameters: &K::Parameters, inputs: &Inputs) -> StageError {
    let folder = tempfile::tempdir().unwrap();
    let error = K::run(parameters, inputs, &Outputs::new(folder.path()), &context(folder.path())).unwrap_err();
    assert_eq!(error.fault, Fault::Input);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "nothing half-written");
    error
}

#[test]
fn sets_that_need_data_say_so_before_the_model_is_opened() {
    let parameters = Parameters { datasets: vec!["json_kv".into(), "icl_banking77".into()], ..Parameters::default() };
    let mut inputs = Inputs::default();
    let error = refused::<Helmet>(&parameters, &inputs);
    assert_eq!(error.message, "icl_banking77 need HELMET's data, but the port `data` is not connected");
    assert!(error.hint.unwrap().contains("scripts/fetch-data"));
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("banking77")).unwrap();
    std::fs::write(data.path().join("banking77/test.csv"), "text,category\n").unwrap();
    inputs.insert("data", "", Media::HelmetData, data.path());
    let error = refused::<Helmet>(&parameters, &inputs);
    assert!(error.message.starts_with("icl_banking77: "), "{}", error.message);
    assert!(error.message.ends_with("lacks banking77/train.csv, label_names/banking77.txt"), "{}", error.message);
}

/// A small set in the published files' forms, with faults to find.
fn small_set(folder: &std::path::Path) -> DataFolder {
    let write = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("label_names/banking77.txt", b"lost_card\nlimit\n");
    write("banking77/train.csv", b"text,category\n\"Gone, \"\"again\"\"\",lost_card\nHow much?,limit\n");
    write("banking77/test.csv", b"text,category\nWhere is it?,lost_card\n");
    write("label_names/trec_fine.txt", b"NUM:dist\nLOC:city\n");
    write("trec/train_5500.label", b"NUM:dist How far ?\nLOC:city Which\xf0city ?\n");
    write("trec/TREC_10.label", b"LOC:city Where ?\n");
    write("label_names/clinc150.txt", b"time\noos\n");
    let rows = r#"{"train": [["what time", "time"]], "oos_train": [["sing", "oos"]], "val": [["hour", "time"]],
        "oos_val": [["dance", "oos"]]}"#;
    write("clinc150/data_oos_plus.json", rows.as_bytes());
    DataFolder::new(folder)
}

fn in_context(name: &str, data: &DataFolder) -> StageResult<Vec<Example>> {
    let dataset = dataset::by_name(name).unwrap();
    let templates = Templates::own().unwrap();
    dataset.examples(&Request {
        room: room(dataset, 1_024),
        samples: 500,
        seed: 42,
        shots: Some(4),
        records: Records::Generated,
        template: &templates.of(name)?,
        tokens: &Triples,
        length_tokens: &Triples,
        data: Some(data),
        check: &|| Ok(()),
    })
}

#[test]
fn in_context_sets_number_their_labels_anew_for_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let data = small_set(folder.path());
    let banking = in_context("icl_banking77", &data).unwrap();
    assert_eq!((banking.len(), banking[0].fields["question"].as_str()), (1, "Where is it?"));
    let demo = |text: &str, label: &str| format!("{text}\nlabel: {label}");
    let answer = banking[0].answers[0].as_str();
    let other = if answer == "0" { "1" } else { "0" };
    let context = &banking[0].fields["context"];
    assert_eq!(context.matches(&demo("Gone, \"again\"", answer)).count(), 2, "{context}");
    assert_eq!(context.matches(&demo("How much?", other)).count(), 2, "{context}");
    let trec = in_context("icl_trec_fine", &data).unwrap();
    assert!(trec[0].fields["context"].contains("Which city ?"));
    let clinic = in_context("icl_clinic150", &data).unwrap();
    assert_eq!(clinic.iter().map(|row| row.fields["question"].as_str()).collect::<Vec<_>>(), ["hour", "dance"]);
}

#[test]
fn malformed_data_files_are_refused_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = small_set(folder.path());
    let refusal = |name: &str, file: &str, content: &str| {
        let path = folder.path().join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, content).unwrap();
        let error = in_context(name, &data).unwrap_err();
        std::fs::write(&path, good).unwrap();
        assert_eq!(error.fault, Fault::Input);
        error.message.strip_prefix(&format!("{}", path.display())).unwrap().to_owned()
    };
    let banking = |content: &str| refusal("icl_banking77", "banking77/train.csv", content);
    assert_eq!(banking("text\n"), ":1: expected the header `text,category`");
    assert_eq!(banking("text,category\na,b,c\n"), ":2: 3 fields instead of 2");
    assert_eq!(banking("text,category\na,limit\nb,limits\n"), ":3: `limits` is not among the label names");
    assert_eq!(banking("text,category\n\"a,limit\n"), ":2: a quoted field is not closed");
    let trec = |content: &str| refusal("icl_trec_fine", "trec/TREC_10.label", content);
    assert_eq!(trec("NUM:dist How ?\nLOC:city\n"), ":2: expected `COARSE:fine`, a space and a question");
    assert_eq!(trec("NUM:age How ?\n"), ":1: the class `NUM:age` is not among the label names");
    let clinic = |content: &str| refusal("icl_clinic150", "clinc150/data_oos_plus.json", content);
    assert_eq!(clinic(r#"{"train": []}"#), ": the split `oos_train` is missing");
    assert!(clinic("[").starts_with(": expected {split: [[text, intent], ...]}"));
    let names = refusal("icl_clinic150", "label_names/clinc150.txt", "time\ntime\n");
    assert_eq!(names, ":2: the name is empty or stands there twice");
}

#[test]
fn predictions_become_scores_and_a_summary() {
    let row = |dataset: &str, example: u32, output: &str, answers: &[&str]| Prediction {
        dataset: dataset.into(),
        length: 2_048,
        example,
        cluster: example.to_string(),
        prompt_tokens: 1_900,
        generated_tokens: 20,
        stop: "length".into(),
        output: output.into(),
        answers: answers.iter().map(|&answer| answer.to_owned()).collect(),
        facts: "{}".into(),
    };
    let rows = [
        row("json_kv", 0, "Corresponding value: aaa", &["aaa"]),
        row("json_kv", 1, "Corresponding value: bbb", &["ccc"]),
        row("ruler_niah_mv", 0, "they are 1234567 and 7654321", &["1234567", "7654321", "1111111", "2222222"]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    predictions::write(&input, &rows).unwrap();
    let mut inputs = Inputs::default();
    inputs.insert("predictions", "", Media::Predictions, &input);
    let parameters = helmet_score::Parameters::default();
    let digests: Vec<[u8; 32]> = (0..2)
        .flat_map(|run| {
            let out = folder.path().join(format!("run{run}"));
            std::fs::create_dir(&out).unwrap();
            HelmetScore::run(&parameters, &inputs, &Outputs::new(&out), &context(&out)).unwrap();
            ["scores", "summary"].map(|port| table::logical_digest(&out.join(port)).unwrap())
        })
        .collect();
    assert_eq!(digests[..2], digests[2..]);
    let summary = folder.path().join("run0/summary");
    let summary = table::read(&summary, &schema::of(Media::ScoreSummary).unwrap()).unwrap();
    let texts = |name: &str| summary.column_by_name(name).unwrap().as_string::<i32>().clone();
    let values = summary.column_by_name("value").unwrap().as_primitive::<arrow::datatypes::Float64Type>().clone();
    let value = |dataset: &str, metric: &str| {
        let row = (0..summary.num_rows())
            .find(|&row| texts("dataset").value(row) == dataset && texts("metric").value(row) == metric)
            .unwrap();
        values.value(row)
    };
    assert_eq!(value("json_kv", "substring_exact_match"), 50.0);
    assert_eq!(value("ruler_niah_mv", "ruler_recall"), 50.0);
    assert_eq!(value("", "partial_mean"), 50.0);
}

#[test]
fn predictions_of_an_unknown_dataset_are_refused_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    let row = Prediction { dataset: "jsonkv".into(), answers: vec!["a".into()], ..Prediction::default() };
    predictions::write(&input, &[row]).unwrap();
    let mut inputs = Inputs::default();
    inputs.insert("predictions", "", Media::Predictions, &input);
    let error = refused::<HelmetScore>(&helmet_score::Parameters::default(), &inputs);
    assert!(error.message.contains("row 0: there is no dataset `jsonkv`; there are: json_kv"), "{}", error.message);
}
