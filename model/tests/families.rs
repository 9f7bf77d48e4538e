//! Every family against Hugging Face transformers in float64 (`scripts/make-family-fixtures`). `--nocapture` prints the
//! largest differences, which `docs/families.md` lists.

#[path = "support/families.rs"]
mod families;

use std::collections::HashMap;

use families::{Inputs, LOGPROB_TOLERANCE, Model, largest_difference};
use retmask_model::ModelResult;
use retmask_model::Numerics;
use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::generate::{Completion, Limits, Request, Sampling, Sink, generate};
use retmask_model::heads::HeadMask;
use retmask_model::logprobs::{token_logprobs, token_logprobs_in_passes};
use retmask_model::spec::{AttentionSpan, ModelSpec, RotaryScaling};

fn logprobs(decoder: &Decoder, mask: Option<&HeadMask>, sequences: &[&[u32]]) -> Vec<Vec<f64>> {
    token_logprobs(decoder, mask, sequences, &mut |_| Ok(())).expect("log-probabilities")
}

/// Mean difference over tokens.
fn mean_difference(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let differences =
        found.iter().flatten().zip(expected.iter().flatten()).map(|(found, expected)| (found - expected).abs());
    differences.sum::<f64>() / found.iter().map(Vec::len).sum::<usize>() as f64
}

#[test]
fn log_probabilities_are_those_of_transformers_in_any_batch_and_any_chunking() {
    let inputs = Inputs::read();
    let sequences = inputs.sequences();
    for model in Model::all() {
        check_log_probabilities(&model, Numerics::F32, &sequences);
    }
}

#[test]
fn log_probabilities_in_the_class_bf16_are_near_and_the_same_in_any_batch_and_any_chunking() {
    let inputs = Inputs::read();
    let sequences = inputs.sequences();
    for model in Model::all() {
        check_log_probabilities(&model, Numerics::Bf16, &sequences);
    }
}

fn check_log_probabilities(model: &Model, class: Numerics, sequences: &[&[u32]]) {
    let (name, expected) = (&model.name, model.expected("logprobs", sequences.len()));
    let decoder = model.decoder(Purpose::Inference(class));
    let found = logprobs(&decoder, None, sequences);
    match class {
        Numerics::F32 => {
            let difference = largest_difference(&found, &expected);
            println!("{name:<20} log-probabilities      {difference:.1e}");
            assert!(difference <= LOGPROB_TOLERANCE, "{name}: {difference}");
            let trainable = model.decoder(Purpose::Training(Numerics::F32));
            assert_eq!(found, logprobs(&trainable, None, sequences), "{name}: loaded for training");
        }
        Numerics::Bf16 => {
            let difference = mean_difference(&found, &expected);
            println!("{name:<20} bf16, mean             {difference:.1e}");
            // Inputs are rounded by up to 1/512 before each of some twenty linear layers; logits are of size 10.
            assert!(difference <= 0.1, "{name}: {difference}");
        }
    }
    let alone: Vec<Vec<f64>> = sequences.iter().flat_map(|ids| logprobs(&decoder, None, &[ids])).collect();
    assert_eq!(found, alone, "{name}, {class}: alone");
    // Token by token; in chunks that mix sequences; in chunks around the borders of key tiles.
    for pass_tokens in [1, 7, 100, 129] {
        let chunked = token_logprobs_in_passes(&decoder, None, sequences, pass_tokens, &mut |_| Ok(()));
        assert_eq!(found, chunked.expect("log-probabilities"), "{name}, {class}: {pass_tokens} at a time");
    }
}

#[test]
fn masked_heads_equal_zeroed_columns_of_the_output_projection() {
    let inputs = Inputs::read();
    let (sequences, mask) = (inputs.sequences(), inputs.mask());
    for model in Model::all() {
        let spec = model.spec();
        for class in Numerics::ALL {
            let found = logprobs(&model.decoder(Purpose::Inference(class)), Some(&mask), &sequences);
            let zeroed = Decoder::build(spec.clone(), Purpose::Inference(class), &mut |name, shape| {
                let mut values = model.checkpoint.tensor(name, shape)?;
                for head in mask.heads() {
                    if name == format!("model.layers.{}.self_attn.o_proj.weight", head.layer) {
                        for row in values.chunks_exact_mut(spec.query_width()) {
                            row[head.head as usize * spec.head_dim..][..spec.head_dim].fill(0.0);
                        }
                    }
                }
                Ok(values)
            });
            let zeroed = logprobs(&zeroed.expect("a decoder"), None, &sequences);
            assert_eq!(found, zeroed, "{}, {class}: exactly", model.name);
            if class == Numerics::F32 {
                let difference = largest_difference(&found, &model.expected("masked", sequences.len()));
                println!("{:<20} masked heads           {difference:.1e}", model.name);
                assert!(difference <= LOGPROB_TOLERANCE, "{}: {difference}", model.name);
            }
            let effect = largest_difference(&found, &model.expected("logprobs", sequences.len()));
            assert!(effect > 0.1, "{}: the mask does something: {effect}", model.name);
        }
    }
}

/// The rules of a model, each left out.
fn with_a_rule_left_out(spec: &ModelSpec) -> Vec<(&'static str, ModelSpec)> {
    let mut changed = Vec::new();
    if spec.layers.iter().any(|layer| layer.span != AttentionSpan::Full) {
        let mut without = spec.clone();
        without.layers.iter_mut().for_each(|layer| layer.span = AttentionSpan::Full);
        changed.push(("windows", without));
        let mut one_wider = spec.clone();
        for layer in &mut one_wider.layers {
            if let AttentionSpan::Window(window) = &mut layer.span {
                *window += 1;
            }
        }
        changed.push(("a window's last key", one_wider));
    }
    if spec.rotary.iter().any(|table| table.scaling != RotaryScaling::None) {
        let mut without = spec.clone();
        without.rotary.iter_mut().for_each(|table| table.scaling = RotaryScaling::None);
        changed.push(("the scaling of rotary tables", without));
    }
    if spec.rotary.len() > 1 {
        for table in 0..spec.rotary.len() {
            let mut one = spec.clone();
            one.layers.iter_mut().for_each(|layer| layer.rotary = table);
            changed.push(("one of two rotary tables", one));
        }
    }
    for (table, rotary) in spec.rotary.iter().enumerate() {
        if let RotaryScaling::Yarn { attention_factor, .. } = &rotary.scaling
            && *attention_factor != 1.0
        {
            let mut without = spec.clone();
            if let RotaryScaling::Yarn { attention_factor, .. } = &mut without.rotary[table].scaling {
                *attention_factor = 1.0;
            }
            changed.push(("YaRN's attention factor", without));
        }
    }
    changed
}

#[test]
fn every_rule_shapes_the_tested_log_probabilities() {
    let inputs = Inputs::read();
    let sequences = inputs.sequences();
    let mut rules = 0;
    for model in Model::all() {
        let expected = model.expected("logprobs", sequences.len());
        for (rule, spec) in with_a_rule_left_out(model.spec()) {
            let found = logprobs(&model.decoder_with(spec, Purpose::Inference(Numerics::F32)), None, &sequences);
            let difference = largest_difference(&found, &expected);
            assert!(difference > 50.0 * LOGPROB_TOLERANCE, "{} without {rule}: {difference}", model.name);
            rules += 1;
        }
    }
    assert!(rules >= 12, "{rules} rules were left out");
}

#[derive(Default)]
struct Completions(HashMap<usize, Completion>);

impl Sink for Completions {
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        self.0.insert(request, completion);
        Ok(())
    }

    fn processed(&mut self, _count: usize) -> ModelResult<()> {
        Ok(())
    }
}

#[test]
fn generation_is_the_same_alone_and_beside_others_and_follows_the_log_probabilities() {
    let inputs = Inputs::read();
    let masks = [inputs.mask()];
    for model in Model::all() {
        let decoder = model.decoder(Purpose::Inference(Numerics::F32));
        let request = |prompt: &Vec<u32>, mask| Request {
            prompt: prompt.clone(),
            mask,
            max_new_tokens: 40,
            stop_tokens: Vec::new(),
            sampling: Sampling::Greedy,
            probe: true,
            logit_gaps: true,
        };
        let requests: Vec<Request> =
            inputs.sequences.iter().flat_map(|prompt| [request(prompt, None), request(prompt, Some(0))]).collect();
        let run = |requests: &[Request], rows_per_pass, slots| {
            let mut sink = Completions::default();
            let limits = Limits { rows_per_pass, slots, ..Limits::default() };
            generate(&decoder, &masks, requests, &limits, &mut sink).expect("completions");
            (0..requests.len()).map(|index| sink.0.remove(&index).expect("a completion")).collect::<Vec<_>>()
        };
        let together = run(&requests, 50, 32);
        for (request, completion) in requests.iter().zip(&together) {
            let alone = run(std::slice::from_ref(request), 512, 1).remove(0);
            assert_eq!(alone.tokens, completion.tokens, "{}", model.name);
            assert_eq!(alone.probes, completion.probes, "{}", model.name);
            assert_eq!(alone.probe_gaps, completion.probe_gaps, "{}", model.name);
            assert_eq!(alone.logit_gaps, completion.logit_gaps, "{}", model.name);
            for (step, probes) in completion.probes.iter().enumerate() {
                // The row that chose this token stands at the position before it.
                let position = request.prompt.len() + step - 1;
                for (index, &key) in probes.iter().enumerate() {
                    let first = match model.spec().layers[index / model.spec().query_heads].span {
                        AttentionSpan::Full => 0,
                        AttentionSpan::Window(window) => (position + 1).saturating_sub(window),
                    };
                    assert!((first..=position).contains(&(key as usize)), "{}: {key} at {position}", model.name);
                }
            }
        }
        // A greedy token beats every other one under the log-probabilities of the same text.
        let text = [requests[4].prompt.as_slice(), &together[4].tokens[..3]].concat();
        let chosen = *text.last().expect("a token");
        let variants: Vec<Vec<u32>> = (0..model.spec().vocabulary_size as u32)
            .map(|token| [&text[..text.len() - 1], &[token]].concat())
            .collect();
        let variants: Vec<&[u32]> = variants.iter().map(Vec::as_slice).collect();
        let last: Vec<f64> =
            logprobs(&decoder, None, &variants).iter().map(|found| *found.last().expect("a token")).collect();
        let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]));
        assert_eq!(best, Some(chosen as usize), "{}", model.name);
    }
}
