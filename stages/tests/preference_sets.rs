//! Ready-made preference sets at the port of pairs: the same pairs in every form give the same sums, and train.

#[path = "support/tiny_model.rs"]
mod tiny_model;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use parquet::arrow::ArrowWriter;
use retmask_model::text::ChatMessage;
use retmask_stages::artifact::pairs::{self, Pair, Response};
use retmask_stages::artifact::reference_logprobs::{self, ReferenceRow};
use retmask_stages::artifact::{Media, table};
use retmask_stages::contract::{Cancel, Context, Inputs, Kind, Outputs, SilentProgress, StageResult};
use retmask_stages::dpo::{self, Dpo};
use retmask_stages::reference_logprobs::{Parameters as ReferenceParameters, ReferenceLogprobs};

const PAIRS: [[&str; 3]; 4] = [
    ["What is the key?", "4711", "I do not know."],
    ["Who chairs?", "Ms Aubert", "Mr Smith"],
    ["Where?", "In Lyon.", "In Paris."],
    ["When?", "On Tuesday.", "Never."],
];

fn run<K: Kind>(folder: &Path, parameters: &K::Parameters, ports: &[(&str, Media, &Path)]) -> StageResult<()> {
    K::validate(parameters).unwrap();
    let mut inputs = Inputs::default();
    for (port, media, path) in ports {
        inputs.insert(*port, "", *media, *path);
    }
    fs::create_dir_all(folder).unwrap();
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder);
    K::run(parameters, &inputs, &Outputs::new(folder), &context)
}

/// The sums of the pairs of a file.
fn sums(root: &Path, media: Media, pairs: &Path) -> Vec<ReferenceRow> {
    let folder = root.join("reference");
    let ports = [("model", Media::Model, root.join("model")), ("pairs", media, pairs.to_owned())];
    let ports = ports.each_ref().map(|(port, media, path)| (*port, *media, path.as_path()));
    run::<ReferenceLogprobs>(&folder, &ReferenceParameters::default(), &ports).unwrap();
    reference_logprobs::read(&folder.join("logprobs")).unwrap()
}

fn table(path: &Path) {
    let response = |text: &str| Response { text: text.into(), tokens: 1, stop: "stop" };
    let pairs: Vec<Pair> = PAIRS
        .iter()
        .enumerate()
        .map(|(number, [prompt, chosen, rejected])| Pair {
            row_id: number.to_string(),
            prompt: vec![ChatMessage { role: "user".into(), content: (*prompt).into() }],
            chosen: response(chosen),
            rejected: response(rejected),
            sample_index: 0,
            prompt_tokens: 1,
        })
        .collect();
    pairs::write(path, &pairs).unwrap();
}

fn parquet(path: &Path) {
    let columns = ["prompt", "chosen", "rejected"];
    let fields = columns.map(|name| Field::new(name, DataType::Utf8, true));
    let values =
        (0..3).map(|side| Arc::new(StringArray::from_iter_values(PAIRS.iter().map(|pair| pair[side]))) as ArrayRef);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), values.collect()).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn the_same_pairs_in_every_form_are_the_same_to_the_stages() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("model")).unwrap();
    tiny_model::write(&root.join("model"));
    let lines = |form: &dyn Fn(&[&str; 3]) -> serde_json::Value| -> String {
        PAIRS.iter().map(|pair| format!("{}\n", form(pair))).collect()
    };
    let turn = |role: &str, text: &str| serde_json::json!({"role": role, "content": text});
    let plain = lines(
        &|[prompt, chosen, rejected]| serde_json::json!({"prompt": prompt, "chosen": chosen, "rejected": rejected}),
    );
    let whole = lines(&|[prompt, chosen, rejected]| {
        let with = |text: &str| vec![turn("user", prompt), turn("assistant", text)];
        serde_json::json!({"chosen": with(chosen), "rejected": with(rejected)})
    });
    fs::write(root.join("plain.jsonl"), plain).unwrap();
    fs::write(root.join("whole.jsonl"), whole).unwrap();
    parquet(&root.join("set.parquet"));
    table(&root.join("pairs"));
    let expected = sums(root, Media::Pairs, &root.join("pairs"));
    assert_eq!(expected.len(), PAIRS.len());
    assert!(expected.iter().all(|row| row.chosen < 0.0 && row.chosen != row.rejected), "{expected:?}");
    for form in ["plain.jsonl", "whole.jsonl", "set.parquet"] {
        assert_eq!(sums(root, Media::PreferenceSet, &root.join(form)), expected, "{form}");
    }

    let parameters = dpo::Parameters { batch_pairs: 2, epochs: 1, ..dpo::Parameters::default() };
    let ports = [
        ("model", Media::Model, root.join("model")),
        ("pairs", Media::PreferenceSet, root.join("plain.jsonl")),
        ("reference", Media::ReferenceLogprobs, root.join("reference/logprobs")),
    ];
    let ports = ports.each_ref().map(|(port, media, path)| (*port, *media, path.as_path()));
    run::<Dpo>(&root.join("dpo"), &parameters, &ports).unwrap();
    let metrics = table::read_any(&root.join("dpo/metrics")).unwrap();
    let losses: Vec<f64> = metrics["loss"].as_primitive::<Float64Type>().values().to_vec();
    assert_eq!(losses.len(), 2);
    // Model and reference are the same before the first step, in the same arithmetic.
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-6, "{losses:?}");
}
