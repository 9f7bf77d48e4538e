//! The training loop on a tiny model of random weights.

#[path = "support/tiny_model.rs"]
mod tiny_model;

use std::time::Duration;

use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::random::Stream;
use retmask_model::train::{
    AdamWSettings, BatchSource, Checkpoints, CrossEntropy, Decayed, Evaluation, LearningRate, MicroBatch, Objective,
    Observer, StepReport, TrainingSequence, TrainingSettings, Warmup, train,
};
use retmask_model::{Fault, ModelError, ModelResult, Numerics};

fn decoder() -> Decoder {
    decoder_in(Numerics::F32)
}

/// A model whose weights all fit bf16, as a checkpoint's do.
fn decoder_in(numerics: Numerics) -> Decoder {
    Decoder::build(tiny_model::spec(), Purpose::Training(numerics), &mut |name, shape| {
        let mut stream = Stream::derive(5, &[name.as_bytes()]);
        let count = shape.iter().product::<usize>();
        Ok((0..count).map(|_| bf16(0.2 * stream.normal() as f32 + if shape.len() == 1 { 1.0 } else { 0.0 })).collect())
    })
    .expect("a model")
}

/// Rounded to the nearest bf16, ties to even.
fn bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

fn values(decoder: &Decoder) -> Vec<(String, Vec<f32>)> {
    let tensors = decoder.spec().tensors().into_iter();
    tensors.map(|tensor| (tensor.name.clone(), decoder.values(&tensor.name).expect("values"))).collect()
}

fn bits(decoder: &Decoder) -> Vec<u32> {
    values(decoder).into_iter().flat_map(|(_, values)| values.into_iter().map(f32::to_bits)).collect()
}

fn sequence(name: &[u8], tokens: usize) -> TrainingSequence {
    let mut stream = Stream::derive(9, &[name]);
    let ids = (0..tokens).map(|_| stream.below(258) as u32).collect();
    TrainingSequence { ids, scored: vec![true; tokens], masked_heads: None }
}

/// Two micro-batches of two sequences a step; something to measure after every third.
struct Data {
    steps: usize,
    /// An objective for the second micro-batch of the second step in place of the usual one.
    second: Option<fn() -> Box<dyn Objective>>,
}

impl Data {
    fn new(steps: usize) -> Self {
        Self { steps, second: None }
    }
}

impl BatchSource for Data {
    fn steps(&self) -> usize {
        self.steps
    }

    fn micro_batches(&mut self, step: usize) -> ModelResult<Vec<MicroBatch>> {
        let batch = |number: u8| {
            let name = |sequence: u8| [step as u8, number, sequence];
            let objective = match self.second {
                Some(objective) if (step, number) == (1, 1) => objective(),
                _ => Box::new(CrossEntropy { step_tokens: 4 * 11 }),
            };
            let sequences = vec![sequence(&name(0), 12), sequence(&name(1), 12)];
            MicroBatch { sequences, objective, name: format!("texts {number}") }
        };
        Ok(vec![batch(0), batch(1)])
    }

    fn evaluation(&mut self, steps_done: usize) -> ModelResult<Option<MicroBatch>> {
        Ok(steps_done.is_multiple_of(3).then(|| MicroBatch {
            sequences: vec![sequence(b"measured", 20)],
            objective: Box::new(CrossEntropy { step_tokens: 19 }),
            name: "what is measured".into(),
        }))
    }
}

fn settings(rate: f64) -> TrainingSettings {
    TrainingSettings {
        schedule: LearningRate::Constant { peak: rate, warmup: Warmup::Steps(0) },
        optimiser: AdamWSettings {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decayed: Decayed::All,
            clip_norm: 1.0,
        },
    }
}

fn trained(settings: TrainingSettings, steps: usize) -> (Decoder, Vec<StepReport>) {
    trained_in(Numerics::F32, settings, steps)
}

fn trained_in(numerics: Numerics, settings: TrainingSettings, steps: usize) -> (Decoder, Vec<StepReport>) {
    let decoder = decoder_in(numerics);
    let reports = train(&decoder, &mut Data::new(steps), settings, None, &mut |_: &_| Ok(())).expect("training");
    (decoder, reports)
}

#[test]
fn training_goes_on_from_any_step_to_the_same_bits() {
    Numerics::ALL.into_iter().for_each(goes_on_from_any_step);
}

fn goes_on_from_any_step(numerics: Numerics) {
    const STEPS: usize = 7;
    let settings = TrainingSettings {
        schedule: LearningRate::Cosine { peak: 1e-2, floor: 1e-3, warmup: Warmup::Ratio(0.3) },
        ..settings(0.0)
    };
    let (expected, expected_reports) = trained_in(numerics, settings, STEPS);
    assert!(expected_reports[2].evaluation.is_some() && expected_reports[3].evaluation.is_none());
    for stopped_after in 1..=STEPS {
        let folder = tempfile::tempdir().expect("a folder");
        let long = Duration::from_secs(3600);
        let mut checkpoints = Checkpoints::new(folder.path(), long);
        let mut stop = |report: &StepReport| {
            if report.step == stopped_after { Err(ModelError::interrupted()) } else { Ok(()) }
        };
        let first = train(&decoder_in(numerics), &mut Data::new(STEPS), settings, Some(&mut checkpoints), &mut stop);
        assert_eq!(first.expect_err("it was stopped").fault, Fault::Interrupted);

        let mut steps_after = Vec::new();
        let resumed = decoder_in(numerics);
        // Now with a checkpoint after every step, which changes nothing.
        let mut checkpoints = Checkpoints::new(folder.path(), Duration::ZERO);
        let reports =
            train(&resumed, &mut Data::new(STEPS), settings, Some(&mut checkpoints), &mut |report: &StepReport| {
                steps_after.push(report.step);
                Ok(())
            });
        assert_eq!(reports.expect("training"), expected_reports, "stopped after {stopped_after}");
        assert_eq!(steps_after, (stopped_after + 1..=STEPS).collect::<Vec<_>>());
        assert!(bits(&resumed) == bits(&expected), "stopped after {stopped_after}");
    }
}

/// Stops at the first token of a measurement: after a step's two micro-batches.
struct StopsWhileMeasuring {
    processed: usize,
}

impl Observer for StopsWhileMeasuring {
    fn processed(&mut self, _: usize) -> ModelResult<()> {
        self.processed += 1;
        // Six micro-batches of three steps come before the first measurement.
        if self.processed == 7 { Err(ModelError::interrupted()) } else { Ok(()) }
    }

    fn step(&mut self, _: &StepReport) -> ModelResult<()> {
        Ok(())
    }
}

#[test]
fn stopped_while_it_measures_it_measures_when_it_goes_on() {
    let (expected, expected_reports) = trained(settings(1e-3), 5);
    let folder = tempfile::tempdir().expect("a folder");
    let mut checkpoints = Checkpoints::new(folder.path(), Duration::from_secs(3600));
    let mut stop = StopsWhileMeasuring { processed: 0 };
    let first = train(&decoder(), &mut Data::new(5), settings(1e-3), Some(&mut checkpoints), &mut stop);
    assert_eq!(first.expect_err("it was stopped").fault, Fault::Interrupted);
    let resumed = decoder();
    let mut steps = Vec::new();
    let mut see = |report: &StepReport| {
        steps.push(report.step);
        Ok(())
    };
    let mut checkpoints = Checkpoints::new(folder.path(), Duration::from_secs(3600));
    let reports = train(&resumed, &mut Data::new(5), settings(1e-3), Some(&mut checkpoints), &mut see);
    assert_eq!(reports.expect("training"), expected_reports);
    assert_eq!(steps, [4, 5], "the third step was kept");
    assert!(bits(&resumed) == bits(&expected));
}

#[test]
fn a_damaged_checkpoint_is_never_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint");
    let run = |decoder: &Decoder| {
        let mut first = None;
        let mut checkpoints = Checkpoints::new(folder.path(), Duration::ZERO);
        let mut see = |report: &StepReport| {
            first.get_or_insert(report.step);
            Ok(())
        };
        train(decoder, &mut Data::new(3), settings(1e-3), Some(&mut checkpoints), &mut see).expect("training");
        first
    };
    let expected = decoder();
    assert_eq!(run(&expected), Some(1));
    let sound = std::fs::read(&path).expect("the checkpoint after step 2");
    assert_eq!(run(&decoder()), Some(3), "a sound one is taken");
    let mut damaged: Vec<Vec<u8>> = [0, 40, sound.len() / 2, sound.len() - 1]
        .map(|place| {
            let mut bytes = sound.clone();
            bytes[place] ^= 0x10;
            bytes
        })
        .to_vec();
    damaged.extend([0, 31, 32, 200, sound.len() - 1].map(|length| sound[..length].to_vec()));
    damaged.push([sound.as_slice(), b"x"].concat());
    for bytes in damaged {
        std::fs::write(&path, &bytes).expect("a damaged checkpoint");
        let found = decoder();
        assert_eq!(run(&found), Some(1), "{} bytes of {}", bytes.len(), sound.len());
        assert!(bits(&found) == bits(&expected));
    }
    // Sound, but of a run with other parameters: its folder was put in the wrong place.
    let digest = |bytes: &[u8]| [bytes, blake3::hash(bytes).as_bytes()].concat();
    std::fs::write(&path, digest(b"retmask-training/1\n\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0")).expect("a checkpoint");
    assert_eq!(run(&decoder()), Some(1));
}

#[test]
fn master_weights_move_at_a_rate_of_5e_7_and_bf16_weights_do_not() {
    // Adam's first steps are as long as the rate, whatever the gradient: 5e-7 a step, where bf16 weights of size 0.2
    // lie 1e-3 apart.
    const STEPS: usize = 3;
    let start = values(&decoder());
    let moved_share = |after: &[(String, Vec<f32>)]| {
        let pairs = start
            .iter()
            .zip(after)
            .filter(|((name, _), _)| name.contains("layers"))
            .flat_map(|((_, before), (_, after))| before.iter().zip(after));
        let (mut moved, mut all) = (0, 0);
        for (before, after) in pairs {
            moved += usize::from(before != after);
            all += 1;
        }
        f64::from(moved as u32) / f64::from(all)
    };
    for numerics in Numerics::ALL {
        let (master, _) = trained_in(numerics, settings(5e-7), STEPS);
        let master = values(&master);
        assert!(moved_share(&master) > 0.99, "{numerics}: {}", moved_share(&master));
    }

    // The same with weights that are rounded to bf16 after every step: nearly all stay where they were.
    let mut weights = start.clone();
    for step in 0..STEPS {
        let decoder = Decoder::build(tiny_model::spec(), Purpose::Training(Numerics::F32), &mut |name, _| {
            Ok(weights.iter().find(|(found, _)| found == name).expect("a weight").1.clone())
        })
        .expect("a model");
        let mut data = Data::new(STEPS);
        let batches = data.micro_batches(step).expect("batches");
        struct One(Option<Vec<MicroBatch>>);
        impl BatchSource for One {
            fn steps(&self) -> usize {
                1
            }
            fn micro_batches(&mut self, _: usize) -> ModelResult<Vec<MicroBatch>> {
                self.0.take().ok_or_else(|| ModelError::internal("asked for twice"))
            }
        }
        train(&decoder, &mut One(Some(batches)), settings(5e-7), None, &mut |_: &_| Ok(())).expect("training");
        weights = values(&decoder);
        weights.iter_mut().flat_map(|(_, values)| values).for_each(|value| *value = bf16(*value));
    }
    assert!(moved_share(&weights) < 0.05, "{}", moved_share(&weights));
}

#[test]
fn weight_decay_reaches_what_it_is_to_reach() {
    // The rate of 1 makes the decay a factor of 0.9; without gradients nothing else moves.
    struct Flat;
    impl Objective for Flat {
        fn evaluate(&self, logprobs: &[Vec<f64>]) -> Evaluation {
            let coefficients = logprobs.iter().map(|sequence| vec![0.0; sequence.len()]).collect();
            Evaluation { loss: 0.0, coefficients, statistics: Vec::new() }
        }
    }
    struct FlatData;
    impl BatchSource for FlatData {
        fn steps(&self) -> usize {
            1
        }
        fn micro_batches(&mut self, _: usize) -> ModelResult<Vec<MicroBatch>> {
            Ok(vec![MicroBatch {
                sequences: vec![sequence(b"flat", 5)],
                objective: Box::new(Flat),
                name: String::new(),
            }])
        }
    }
    for decayed in [Decayed::All, Decayed::Matrices, Decayed::LayerMatrices] {
        let decoder = decoder();
        let before = values(&decoder);
        let optimiser = AdamWSettings { weight_decay: 0.1, decayed, ..settings(1.0).optimiser };
        let settings = TrainingSettings { optimiser, ..settings(1.0) };
        train(&decoder, &mut FlatData, settings, None, &mut |_: &_| Ok(())).expect("training");
        for ((name, before), (_, after)) in before.iter().zip(values(&decoder)) {
            let decays = match decayed {
                Decayed::All => true,
                Decayed::Matrices => !name.contains("norm"),
                Decayed::LayerMatrices => !name.contains("norm") && name.contains("layers"),
            };
            let factor = if decays { 0.9f32 } else { 1.0 };
            assert!(before.iter().zip(after).all(|(before, after)| before * factor == after), "{decayed:?}: {name}");
        }
    }
}

#[test]
fn what_is_not_finite_is_named() {
    struct Broken {
        loss: f64,
        coefficient: f64,
    }
    impl Objective for Broken {
        fn evaluate(&self, logprobs: &[Vec<f64>]) -> Evaluation {
            let coefficients = logprobs.iter().map(|sequence| vec![self.coefficient; sequence.len()]).collect();
            Evaluation { loss: self.loss, coefficients, statistics: Vec::new() }
        }
    }
    let message = |second: fn() -> Box<dyn Objective>| {
        let (decoder, before) = (decoder(), trained(settings(1e-3), 1).0);
        let mut data = Data { second: Some(second), ..Data::new(3) };
        let error = train(&decoder, &mut data, settings(1e-3), None, &mut |_: &_| Ok(())).expect_err("it stops");
        assert_eq!(error.fault, Fault::Input);
        assert!(bits(&decoder) == bits(&before), "nothing was updated");
        error.message
    };
    let of_loss = message(|| Box::new(Broken { loss: f64::NAN, coefficient: 0.0 }));
    assert_eq!(of_loss, "step 2: the loss is NaN at texts 1");
    let of_gradient = message(|| Box::new(Broken { loss: 0.5, coefficient: f64::INFINITY }));
    assert_eq!(of_gradient, "step 2: the gradient norm is NaN at texts 1");
}

#[test]
fn gradients_are_clipped_to_the_norm_asked_for_or_not_at_all() {
    let moments = |clip_norm| {
        let optimiser = AdamWSettings { clip_norm, epsilon: 1e-2, ..settings(1e-2).optimiser };
        let (decoder, reports) = trained(TrainingSettings { optimiser, ..settings(1e-2) }, 1);
        (bits(&decoder), reports[0].grad_norm)
    };
    let (unclipped, norm) = moments(f64::INFINITY);
    assert!(norm > 0.01, "{norm}");
    assert_eq!(moments(10.0 * norm), (unclipped.clone(), norm), "a norm below the limit is left");
    let (clipped, told) = moments(0.1 * norm);
    assert_eq!(told, norm, "what is told is the norm before clipping");
    assert!(clipped != unclipped);
}
