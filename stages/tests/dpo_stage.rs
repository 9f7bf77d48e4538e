//! The `dpo` stage on a tiny model of random weights: its losses, its adapters, and what it tells of what it stored.

#[path = "support/tiny_model.rs"]
mod tiny_model;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, UInt32Type};
use retmask_model::Numerics;
use retmask_stages::artifact::{Media, schema, table};
use retmask_stages::contract::{Cancel, Context, Fault, Inputs, Kind, Outputs, SilentProgress, StageResult};
use retmask_stages::dpo::{Adapter, CheckpointType, Dpo, Loss, Module, Parameters};
use retmask_stages::reference_logprobs::{self, ReferenceLogprobs};
use tempfile::TempDir;

/// A model and pairs, which the stage reads in a folder of their own.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("model")).unwrap();
        tiny_model::write(&folder.path().join("model"));
        let pair = |number: usize| {
            let (chosen, rejected) = ("yes ".repeat(1 + number % 3), "no ".repeat(1 + number % 4));
            format!("{{\"prompt\": \"Question {number}?\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n")
        };
        fs::write(folder.path().join("pairs"), (0..10).map(pair).collect::<String>()).unwrap();
        Self(folder)
    }

    fn run<K: Kind>(&self, model: &Path, reference: Option<&Path>, parameters: &K::Parameters) -> StageResult<TempDir> {
        K::validate(parameters).unwrap();
        let mut inputs = Inputs::default();
        inputs.insert("model", "", Media::Model, model);
        inputs.insert("pairs", "", Media::PreferenceSet, self.0.path().join("pairs"));
        if let Some(reference) = reference {
            inputs.insert("reference", "", Media::ReferenceLogprobs, reference);
        }
        let folder = TempDir::new().unwrap();
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
        K::run(parameters, &inputs, &Outputs::new(folder.path()), &context)?;
        Ok(folder)
    }

    fn model(&self) -> PathBuf {
        self.0.path().join("model")
    }

    fn train(&self, parameters: &Parameters) -> TempDir {
        self.run::<Dpo>(&self.model(), None, parameters).unwrap()
    }

    fn logprobs(&self, model: &Path, numerics: Numerics) -> TempDir {
        let parameters = reference_logprobs::Parameters { numerics, ..Default::default() };
        self.run::<ReferenceLogprobs>(model, None, &parameters).unwrap()
    }
}

fn parameters() -> Parameters {
    Parameters {
        learning_rate: 1e-3,
        learning_rate_floor: 1e-4,
        epochs: 2,
        batch_pairs: 4,
        held_out: 2,
        evaluate_every: Some(2),
        ..Parameters::default()
    }
}

fn read(folder: &TempDir, port: &str, media: Media) -> RecordBatch {
    table::read(&folder.path().join(port), &schema::of(media).unwrap()).unwrap()
}

fn floats(batch: &RecordBatch, name: &str) -> Vec<f64> {
    batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec()
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    batch.column_by_name(name).unwrap().as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
}

#[test]
fn without_a_reference_the_stage_makes_the_same_one() {
    let bench = Bench::new();
    for numerics in Numerics::ALL {
        let parameters = Parameters { numerics, ..parameters() };
        let reference = bench.logprobs(&bench.model(), numerics);
        let given = bench.run::<Dpo>(&bench.model(), Some(&reference.path().join("logprobs")), &parameters).unwrap();
        let made = bench.train(&parameters);
        for file in ["metrics", "margins", "evaluation", "checkpoint/model.safetensors"] {
            assert!(fs::read(given.path().join(file)).unwrap() == fs::read(made.path().join(file)).unwrap(), "{file}");
        }
    }
}

#[test]
fn a_reference_of_another_class_of_arithmetic_is_refused() {
    let bench = Bench::new();
    let reference = bench.logprobs(&bench.model(), Numerics::F32);
    let parameters = Parameters { numerics: Numerics::Bf16, ..parameters() };
    let error = bench.run::<Dpo>(&bench.model(), Some(&reference.path().join("logprobs")), &parameters).unwrap_err();
    assert_eq!(error.message, "the reference was computed in f32, but training is in bf16");
    assert_eq!(error.fault, Fault::Input);
}

#[test]
fn every_loss_starts_where_its_paper_says_and_falls() {
    let bench = Bench::new();
    for (loss, start) in [
        (Loss::Sigmoid, Some(std::f64::consts::LN_2)),
        // (0 - 1 / (2 beta))² at beta 0.1.
        (Loss::Ipo, Some(25.0)),
        (Loss::Hinge, Some(1.0)),
        (Loss::Simpo, None),
    ] {
        let lora = || Some(Adapter { rank: 2, alpha: 8.0, targets: vec![Module::QProj, Module::DownProj] });
        for (lora, numerics) in
            [(None, Numerics::F32), (lora(), Numerics::F32), (None, Numerics::Bf16), (lora(), Numerics::Bf16)]
        {
            let adapted = lora.is_some();
            let outputs = bench.train(&Parameters { loss, lora, numerics, learning_rate: 5e-3, ..parameters() });
            let metrics = read(&outputs, "metrics", Media::TrainingMetrics);
            let (losses, margins) = (floats(&metrics, "loss"), floats(&metrics, "margin"));
            if let Some(start) = start {
                assert!((losses[0] - start).abs() < 1e-12 * start.max(1.0), "{loss:?}: {}", losses[0]);
                assert_eq!(margins[0], 0.0, "{loss:?}");
            } else {
                assert!(margins[0] != 0.0, "{loss:?} has no reference");
            }
            let evaluation = read(&outputs, "evaluation", Media::TrainingEvaluation);
            let trained = |row: usize| texts(&evaluation, "split")[row] == "train";
            let losses = floats(&evaluation, "loss");
            let of_trained: Vec<f64> = (0..losses.len()).filter(|&row| trained(row)).map(|row| losses[row]).collect();
            assert!(of_trained[1] < of_trained[0], "{loss:?}, adapted {adapted}, {numerics}: {of_trained:?}");
        }
    }
}

#[test]
fn what_is_told_is_of_the_stored_checkpoint() {
    let bench = Bench::new();
    let held_out = |outputs: &TempDir| {
        let evaluation = read(outputs, "evaluation", Media::TrainingEvaluation);
        let steps = evaluation.column_by_name("step").unwrap().as_primitive::<UInt32Type>().values().to_vec();
        let (weights, splits) = (texts(&evaluation, "weights"), texts(&evaluation, "split"));
        let margins = floats(&evaluation, "margin");
        let rows = (0..steps.len()).filter(|&row| splits[row] == "held-out");
        rows.map(|row| (steps[row], weights[row].clone(), margins[row])).collect::<Vec<_>>()
    };
    // In the class bf16 the products would round the weights in any case.
    for (stored, numerics) in [
        (CheckpointType::Bf16, Numerics::F32),
        (CheckpointType::F32, Numerics::F32),
        (CheckpointType::F32, Numerics::Bf16),
    ] {
        let outputs = bench.train(&Parameters { checkpoint: stored, numerics, ..parameters() });
        let rows = held_out(&outputs);
        let places: Vec<(u32, &str)> = rows.iter().map(|(step, weights, _)| (*step, weights.as_str())).collect();
        assert_eq!(places, [(0, "stored"), (2, "trained"), (4, "trained"), (4, "stored")]);
        assert_eq!(rows[0].2, 0.0);
        // f32 stores what was trained; bf16 rounds it.
        assert_eq!(rows[2].2 == rows[3].2, stored == CheckpointType::F32, "{stored:?}: {rows:?}");

        // Another stage that reads the checkpoint finds the same sums, to the bit.
        let read_again = bench.logprobs(&outputs.path().join("checkpoint"), numerics);
        let found = read(&read_again, "logprobs", Media::ReferenceLogprobs);
        let margins = read(&outputs, "margins", Media::PairMargins);
        assert_eq!(floats(&margins, "chosen_after"), floats(&found, "chosen"), "{stored:?}");
        assert_eq!(floats(&margins, "rejected_after"), floats(&found, "rejected"), "{stored:?}");
    }
}

#[test]
fn combinations_that_mean_nothing_are_refused() {
    let refused = |parameters: Parameters| Dpo::validate(&parameters).unwrap_err().field;
    let base = parameters;
    assert_eq!(refused(Parameters { loss: Loss::Ipo, label_smoothing: 0.1, ..base() }), "label-smoothing");
    assert_eq!(refused(Parameters { label_smoothing: 0.5, ..base() }), "label-smoothing");
    assert_eq!(refused(Parameters { target_margin: 1.0, ..base() }), "target-margin");
    assert_eq!(refused(Parameters { nll_weight: f64::NAN, ..base() }), "nll-weight");
    assert_eq!(refused(Parameters { clip_norm: -1.0, ..base() }), "clip-norm");
    assert_eq!(refused(Parameters { evaluate_every: Some(0), ..base() }), "evaluate-every");
    assert_eq!(refused(Parameters { held_out: 0, ..base() }), "evaluate-every");
    let lora = |adapter| Parameters { lora: Some(adapter), ..base() };
    assert_eq!(refused(lora(Adapter { rank: 0, ..Adapter::default() })), "lora.rank");
    assert_eq!(refused(lora(Adapter { alpha: 0.0, ..Adapter::default() })), "lora.alpha");
    assert_eq!(refused(lora(Adapter { targets: Vec::new(), ..Adapter::default() })), "lora.targets");
}
