//! The embedded model has retrieval heads: measured with the real scoring stage on generated texts whose
//! words were held out from its training.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::UInt32Type;
use retmask_model::checkpoint::Checkpoint;
use retmask_model::embedded;
use retmask_stages::artifact::{Media, head_scores, mask, schema, table};
use retmask_stages::build_mask::{self, BuildMask, Variant};
use retmask_stages::contract::{Cancel, Context, Input, Inputs, Kind, Outputs, SilentProgress};
use retmask_stages::score_heads::{self, Axis, Even, ScoreHeads, Stop};
use retmask_stages::synthetic::language::{self, Split};
use retmask_stages::synthetic::{self, Synthetic};

/// Scores at or above this make a retrieval head of the embedded model; quickstart uses the same.
const TAU: f64 = 0.2;

/// A folder for all artifacts of the test.
struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("model-files");
        fs::create_dir(&model).unwrap();
        for (name, bytes) in embedded::find("tiny").expect("the model is built in") {
            fs::write(model.join(name), bytes).unwrap();
        }
        Self { root }
    }

    fn model(&self) -> PathBuf {
        self.root.path().join("model-files")
    }

    /// Runs a kind with its outputs in a folder of its own.
    fn run<K: Kind>(&self, name: &str, parameters: &K::Parameters, inputs: &[(&str, Media, &Path)]) -> Outputs {
        K::validate(parameters).unwrap();
        let folder = self.root.path().join(name);
        fs::create_dir(&folder).unwrap();
        let mut filled = Inputs::default();
        for (port, media, path) in inputs {
            filled.insert(*port, "", *media, *path);
        }
        let outputs = Outputs::new(&folder);
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), self.root.path());
        K::run(parameters, &filled, &outputs, &context).unwrap();
        outputs
    }

    /// Scores the model, optionally with a mask.
    fn score(&self, name: &str, needles: &Path, mask: Option<&Path>) -> Outputs {
        // Passages of 200 to 440 tokens make prompts of 256 to 512 with needle, question and template.
        let parameters = score_heads::Parameters {
            context_lengths: Axis::List(vec![240, 440]),
            depths: Axis::Even(Even { min: 0, max: 100, count: 10 }),
            buffer: 0,
            // The script's stop rule lets a model babble on after its turn; a second copy would count again.
            stop: Stop::EndToken,
            ..score_heads::Parameters::default()
        };
        let model = self.model();
        let mut inputs = vec![("model", Media::Model, model.as_path()), ("needles", Media::Needles, needles)];
        inputs.extend(mask.map(|mask| ("mask", Media::Mask, mask)));
        self.run::<ScoreHeads>(name, &parameters, &inputs)
    }
}

/// Share of trials that counted.
fn counted_share(outputs: &Outputs) -> f64 {
    let trials = table::read(&outputs.path("trials"), &schema::of(Media::Trials).unwrap()).unwrap();
    let counted = trials.column_by_name("counted").unwrap().as_boolean();
    counted.true_count() as f64 / counted.len() as f64
}

#[test]
fn masking_the_retrieval_heads_of_the_embedded_model_and_no_others_takes_its_recall() {
    let bench = Bench::new();
    let parameters = synthetic::Parameters { seed: 20, ..synthetic::Parameters::default() };
    let data = bench.run::<Synthetic>("data", &parameters, &[]);
    let needles = data.path("needles");

    // The texts are what they are said to be.
    let codec = Checkpoint::open(&bench.model()).unwrap().text_codec().unwrap();
    for line in fs::read_to_string(needles.join("needles.jsonl")).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let value = line["real_needle"].as_str().unwrap();
        assert!(codec.encode(value, false).unwrap().len() >= 8, "{value}");
        for word in value.trim_end_matches('.').split(' ') {
            assert_eq!(language::split_of(word), Split::HeldOut, "{word}");
        }
    }

    let base = bench.score("base", &needles, None);
    let trials = table::read(&base.path("trials"), &schema::of(Media::Trials).unwrap()).unwrap();
    assert!(trials.num_rows() >= 60, "{} trials", trials.num_rows());
    let prompts = trials.column_by_name("prompt_tokens").unwrap().as_primitive::<UInt32Type>();
    assert!(prompts.values().iter().all(|tokens| (256..=512).contains(tokens)), "{:?}", prompts.values());
    let spans = trials.column_by_name("needle_start").unwrap();
    assert_eq!(spans.null_count(), 0, "a needle was not found in its prompt");

    let counted = counted_share(&base);
    let scores = head_scores::read(&Input { media: Media::HeadScores, path: base.path("scores") }).unwrap();
    let means = scores.means();
    let best = means.iter().copied().fold(0.0, f64::max);
    println!("counted {counted:.3}; best head {best:.3}");
    assert!(counted >= 0.9, "{counted} of the trials counted");
    assert!(best > 0.3, "the best head scores {best}");

    let scores_path = base.path("scores");
    let build = |name: &str, variant, seed| {
        let parameters = build_mask::Parameters { tau: TAU, variant, seed, ..build_mask::Parameters::default() };
        bench.run::<BuildMask>(name, &parameters, &[("scores", Media::HeadScores, &scores_path)]).path("mask")
    };
    let retrieval = build("retrieval", Variant::Retrieval, 0);
    let heads = mask::read(&retrieval).unwrap();
    println!("{} of {} heads masked: {:?}", heads.len(), means.len(), heads.heads().collect::<Vec<_>>());
    assert!(4 * heads.len() <= means.len(), "{} of {} heads", heads.len(), means.len());

    let masked = counted_share(&bench.score("masked", &needles, Some(&retrieval)));
    let others: Vec<f64> = (0..5)
        .map(|seed| {
            let others = build(&format!("others-{seed}"), Variant::NonRetrieval, seed);
            assert_eq!(mask::read(&others).unwrap().len(), heads.len());
            assert!(mask::read(&others).unwrap().heads().all(|head| !heads.contains(head)));
            counted_share(&bench.score(&format!("without-others-{seed}"), &needles, Some(&others)))
        })
        .collect();
    let mean = others.iter().sum::<f64>() / 5.0;
    println!("counted with the retrieval heads masked {masked:.3}; with as many others {mean:.3} {others:?}");
    assert!(masked <= 0.3, "{masked} of the trials counted without retrieval heads");
    assert!(mean >= 0.7, "{mean} of the trials counted without as many other heads");
}
