//! `score-heads` on SmolLM2-135M-Instruct against 30 trials of Hugging Face transformers.

mod support;

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use retmask_model::checkpoint::Checkpoint;
use retmask_model::decoder::Decoder;
use retmask_model::generate::{Completion, Limits, Request, Sampling, Sink, generate};
use retmask_model::text::{TextAssets, TextCodec};
use retmask_model::{ModelResult, Numerics};
use retmask_stages::artifact::{Media, head_scores, schema, table};
use retmask_stages::contract::{Cancel, Context, Input, Inputs, Kind, Outputs, SilentProgress};
use retmask_stages::score_heads::{Axis, Parameters, ScoreHeads, Trial, build_trials};
use serde::Deserialize;
use support::{shared, smollm2};

#[derive(Deserialize)]
struct Golden {
    trials: Vec<GoldenTrial>,
}

#[derive(Deserialize)]
struct GoldenTrial {
    needle: u32,
    context_length: u32,
    depth: u32,
    needle_start: usize,
    needle_end: usize,
    prompt_tokens: usize,
    rouge1_recall: f64,
    response: String,
    output_ids: Vec<u32>,
    /// Layers x heads; absent when the trial did not count.
    scores: Option<Vec<Vec<f64>>>,
}

fn golden() -> Vec<GoldenTrial> {
    let text = std::fs::read_to_string(shared("data/smollm2/niah_golden.json")).unwrap();
    serde_json::from_str::<Golden>(&text).unwrap().trials
}

/// The golden grid: 3 needles x 2 lengths x 5 depths, with the stage's own defaults for the rest.
fn parameters() -> Parameters {
    Parameters {
        context_lengths: Axis::List(vec![500, 1000]),
        depths: Axis::List(vec![0, 25, 50, 75, 100]),
        ..Parameters::default()
    }
}

fn trials(codec: &TextCodec) -> Vec<Trial> {
    build_trials(&parameters(), codec, &shared("data/niah"), || Ok(())).unwrap().0
}

#[test]
#[ignore = "needs the reference values of SmolLM2 and the needles; scripts/test runs it"]
fn prompts_and_needle_spans_are_those_of_transformers() {
    let codec = TextCodec::new(&TextAssets::read(&shared("data/smollm2")).unwrap()).unwrap();
    let (trials, golden) = (trials(&codec), golden());
    assert_eq!(trials.len(), golden.len());
    for (trial, golden) in trials.iter().zip(&golden) {
        assert_eq!(
            (trial.needle, trial.context_length, trial.depth),
            (golden.needle, golden.context_length, golden.depth)
        );
        assert_eq!(trial.prompt.len(), golden.prompt_tokens, "{trial}");
        assert_eq!(trial.span, Some(golden.needle_start..golden.needle_end), "{trial}");
    }
}

#[test]
#[ignore = "needs SmolLM2, its reference values and the needles; scripts/test runs it"]
fn outputs_and_scores_are_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = Inputs::default();
    inputs.insert("model", "", Media::Model, smollm2());
    inputs.insert("needles", "", Media::Needles, shared("data/niah"));
    let outputs = Outputs::new(folder.path());
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
    ScoreHeads::run(&parameters(), &inputs, &outputs, &context).unwrap();

    let table = table::read(&outputs.path("trials"), &schema::of(Media::Trials).unwrap()).unwrap();
    let column = |name: &str| table.column_by_name(name).unwrap();
    let (ids, responses) = (column("output_ids").as_list::<i32>(), column("response").as_string::<i32>());
    let recalls = column("rouge1_recall").as_primitive::<arrow::datatypes::Float64Type>();
    let counted = column("counted").as_boolean();
    let scores = head_scores::read(&Input { media: Media::HeadScores, path: outputs.path("scores") }).unwrap();
    let mut column_of_trial = 0;
    let (mut different, mut counted_equal, mut largest) = (Vec::new(), 0, 0.0f64);
    for (index, golden) in golden().iter().enumerate() {
        let ours = ids.value(index);
        let ours = ours.as_primitive::<UInt32Type>().values();
        let mine = counted.value(index).then(|| {
            column_of_trial += 1;
            column_of_trial - 1
        });
        if **ours != *golden.output_ids {
            let step = ours.iter().zip(&golden.output_ids).take_while(|(ours, golden)| ours == golden).count();
            different.push((index, step));
            continue;
        }
        assert_eq!(responses.value(index), golden.response, "trial {index}");
        assert!((recalls.value(index) * 100.0 - golden.rouge1_recall).abs() < 1e-9, "trial {index}");
        assert_eq!(mine.is_some(), golden.rouge1_recall > 50.0, "trial {index}");
        let (Some(mine), Some(theirs)) = (mine, &golden.scores) else { continue };
        counted_equal += 1;
        for (head, trials) in scores.iter() {
            let difference = (trials[mine] - theirs[head.layer as usize][head.head as usize]).abs();
            largest = largest.max(difference);
            assert!(difference <= 1e-6, "trial {index}, head {head}: differs by {difference}");
        }
    }
    println!(
        "{} of 30 outputs equal, {counted_equal} of them counted; largest score difference {largest:e}",
        30 - different.len()
    );
    // Sums in another order may turn a near tie of the two best logits, and no more than that.
    assert!(different.len() <= 2, "outputs differ in (trial, step) {different:?}");
    for (gap, (trial, step)) in gaps(&different).into_iter().zip(different) {
        assert!(gap < 1e-3, "trial {trial} differs from step {step}, where the two best logits lie {gap} apart");
    }
}

/// The difference of the two best logits where each of these (trial, step) differs.
fn gaps(different: &[(usize, usize)]) -> Vec<f32> {
    struct Gaps(Vec<Vec<f32>>);
    impl Sink for Gaps {
        fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
            self.0[request] = completion.logit_gaps;
            Ok(())
        }
        fn processed(&mut self, _count: usize) -> ModelResult<()> {
            Ok(())
        }
    }
    if different.is_empty() {
        return Vec::new();
    }
    let checkpoint = Checkpoint::open(&smollm2()).unwrap();
    let trials = trials(&checkpoint.text_codec().unwrap());
    let requests: Vec<Request> = different
        .iter()
        .map(|(trial, step)| Request {
            prompt: trials[*trial].prompt.clone(),
            mask: None,
            max_new_tokens: step + 1,
            stop_tokens: Vec::new(),
            sampling: Sampling::Greedy,
            probe: false,
            logit_gaps: true,
        })
        .collect();
    let mut gaps = Gaps(vec![Vec::new(); requests.len()]);
    generate(&Decoder::load(&checkpoint, Numerics::F32).unwrap(), &[], &requests, &Limits::default(), &mut gaps)
        .unwrap();
    gaps.0.iter().zip(different).map(|(gaps, (_, step))| gaps[*step]).collect()
}
