//! Every family through every stage of the paper's pipeline, each stage fed with what the one before made. Only
//! `build-mask` is given scores of its own: a model of random weights answers no trial, so none counts.

#[path = "support/tiny_model.rs"]
mod tiny_model;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use retmask_model::checkpoint::Checkpoint;
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
};
use retmask_stages::artifact::{Media, mask, predictions, schema, table};
use retmask_stages::build_mask::{self, BuildMask, Select};
use retmask_stages::contract::{Cancel, Context, Inputs, Kind, Outputs, SilentProgress};
use retmask_stages::dpo::{self, Dpo};
use retmask_stages::helmet::{self, Helmet};
use retmask_stages::helmet_score::{self, HelmetScore};
use retmask_stages::reference_logprobs::{self, ReferenceLogprobs};
use retmask_stages::sample_pairs::{self, SamplePairs};
use retmask_stages::score_heads::{self, Axis, ScoreHeads};

/// Shorter than every prompt below.
const WINDOW: usize = 24;

/// A model of random weights with every rule of its family.
fn spec(family: Family) -> ModelSpec {
    let plain = RotarySpec { theta: 10_000.0, scaling: RotaryScaling::None };
    let yarn = RotaryScaling::Yarn {
        factor: 4.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.138_629_436_111_989,
        original_context: 256,
        truncate: true,
    };
    let yarn = RotarySpec { theta: 10_000.0, scaling: yarn };
    let full = LayerSpec { span: AttentionSpan::Full, rotary: 0 };
    let sliding = LayerSpec { span: AttentionSpan::Window(WINDOW), rotary: 0 };
    let base = ModelSpec { context_length: 1_024, family, rotary: vec![plain.clone()], ..tiny_model::spec() };
    let after = ModelSpec {
        norm_placement: NormPlacement::Post,
        query_key_norm: QueryKeyNorm::FullWidth,
        key_value_heads: base.query_heads,
        ..base.clone()
    };
    match family {
        Family::Llama => {
            let scaling = RotaryScaling::Llama3 {
                factor: 8.0,
                low_frequency_factor: 1.0,
                high_frequency_factor: 4.0,
                original_context: 256,
            };
            ModelSpec { rotary: vec![RotarySpec { scaling, ..plain }], ..base }
        }
        Family::Mistral => ModelSpec { layers: vec![sliding; 2], ..base },
        Family::Qwen2 => {
            ModelSpec { attention_bias: AttentionBias::QueryKeyValue, layers: vec![full, sliding], ..base }
        }
        Family::Qwen3 => ModelSpec { query_key_norm: QueryKeyNorm::PerHead, rotary: vec![yarn], ..base },
        Family::Olmo2 => after,
        Family::Olmo3 => {
            let full = LayerSpec { rotary: 1, ..full };
            ModelSpec { rotary: vec![plain, yarn], layers: vec![sliding, sliding, sliding, full], ..after }
        }
    }
}

/// The folder of one family's artifacts.
struct Bench(PathBuf);

impl Bench {
    /// Runs a stage; its outputs lie in a folder of the given name.
    fn run<K: Kind>(&self, name: &str, parameters: &K::Parameters, ports: &[(&str, Media, &Path)]) -> Outputs {
        K::validate(parameters).unwrap();
        let folder = self.0.join(name);
        fs::create_dir(&folder).unwrap();
        let mut inputs = Inputs::default();
        for (port, media, path) in ports {
            inputs.insert(*port, "", *media, *path);
        }
        let outputs = Outputs::new(&folder);
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), &self.0);
        K::run(parameters, &inputs, &outputs, &context).unwrap_or_else(|error| panic!("{name}: {error}"));
        outputs
    }
}

fn rows(path: &Path, media: Media) -> usize {
    table::read(path, &schema::of(media).unwrap()).unwrap().num_rows()
}

fn pipeline(family: Family, root: &Path) {
    let bench = Bench(root.to_owned());
    let (model, needles, instructions) = (root.join("model"), root.join("needles"), root.join("instructions"));
    fs::create_dir(&model).unwrap();
    tiny_model::write_spec(&model, &spec(family));
    assert_eq!(Checkpoint::open(&model).unwrap().spec(), &spec(family), "what is written reads back");
    fs::create_dir_all(needles.join("part1")).unwrap();
    let needle = r#"{"needle": " The key is 4711.", "question": "What is the key?", "real_needle": "4711"}"#;
    fs::write(needles.join("needles.jsonl"), needle).unwrap();
    fs::write(needles.join("part1/hay.txt"), "Grass is green. Hay is dry. ".repeat(3)).unwrap();
    let lines: Vec<String> = (0..6).map(|number| format!("{{\"prompt\": \"Say {number} times hello.\"}}")).collect();
    fs::write(&instructions, lines.join("\n")).unwrap();

    let parameters = score_heads::Parameters {
        context_lengths: Axis::List(vec![60, 150]),
        depths: Axis::List(vec![0, 100]),
        buffer: 20,
        max_new_tokens: 6,
        ..score_heads::Parameters::default()
    };
    let ports = [("model", Media::Model, model.as_path()), ("needles", Media::Needles, &needles)];
    let scored = bench.run::<ScoreHeads>("score-heads", &parameters, &ports);
    assert_eq!(rows(&scored.path("trials"), Media::Trials), 4);

    let parameters = build_mask::Parameters { select: Select::TopK, count: Some(2), ..Default::default() };
    let spec = spec(family);
    let names =
        (0..spec.layers.len()).flat_map(|layer| (0..spec.query_heads).map(move |head| format!("{layer}-{head}")));
    let values: BTreeMap<String, [f64; 1]> =
        names.enumerate().map(|(rank, name)| (name, [rank as f64 / 100.0])).collect();
    let scores = root.join("published.json");
    fs::write(&scores, serde_json::to_string(&values).unwrap()).unwrap();
    let built = bench.run::<BuildMask>("build-mask", &parameters, &[("scores", Media::PublishedScores, &scores)]);
    let heads = built.path("mask");
    assert_eq!(mask::read(&heads).unwrap().len(), 2);

    let parameters = sample_pairs::Parameters { max_new_tokens: 40, ..Default::default() };
    let ports = [
        ("model", Media::Model, model.as_path()),
        ("mask", Media::Mask, &heads),
        ("instructions", Media::Instructions, &instructions),
    ];
    let sampled = bench.run::<SamplePairs>("sample-pairs", &parameters, &ports);
    let pairs = sampled.path("pairs");
    let count = rows(&pairs, Media::Pairs);
    assert!(count > 0);

    let ports = [("model", Media::Model, model.as_path()), ("pairs", Media::Pairs, &pairs)];
    let referred =
        bench.run::<ReferenceLogprobs>("reference-logprobs", &reference_logprobs::Parameters::default(), &ports);
    let reference = referred.path("logprobs");
    assert_eq!(rows(&reference, Media::ReferenceLogprobs), count);

    let parameters = dpo::Parameters { batch_pairs: 2, learning_rate: 0.05, ..Default::default() };
    let ports = [
        ("model", Media::Model, model.as_path()),
        ("pairs", Media::Pairs, &pairs),
        ("reference", Media::ReferenceLogprobs, &reference),
    ];
    let trained = bench.run::<Dpo>("dpo", &parameters, &ports);
    let checkpoint = trained.path("checkpoint");
    assert_eq!(Checkpoint::open(&checkpoint).unwrap().spec(), &spec, "training keeps the model's rules");

    let parameters =
        helmet::Parameters { datasets: vec!["json_kv".into()], length: 1_000, samples: Some(2), ..Default::default() };
    let answers = |name: &str, model: &Path| {
        let outputs = bench.run::<Helmet>(name, &parameters, &[("model", Media::Model, model)]);
        let path = outputs.path("predictions");
        let answers: Vec<String> = predictions::read(&path).unwrap().into_iter().map(|row| row.output).collect();
        (path, answers)
    };
    let (_, before) = answers("helmet-base", &model);
    let (path, after) = answers("helmet-trained", &checkpoint);
    assert_eq!((before.len(), after.len()), (2, 2));
    assert!(before != after, "{family}: training changes answers");
    let predictions = [("predictions", Media::Predictions, path.as_path())];
    let judged = bench.run::<HelmetScore>("helmet-score", &helmet_score::Parameters::default(), &predictions);
    assert!(rows(&judged.path("summary"), Media::ScoreSummary) > 0);
}

#[test]
fn every_family_goes_through_every_stage() {
    for family in Family::ALL {
        let folder = tempfile::tempdir().unwrap();
        pipeline(family, folder.path());
    }
}
