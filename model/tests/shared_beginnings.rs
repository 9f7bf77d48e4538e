//! Requests whose prompts begin alike share the work, and nothing else changes.

use std::collections::HashMap;

use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::generate::{Completion, Limits, Request, Sampling, SamplingRules, Sink, generate};
use retmask_model::heads::HeadMask;
use retmask_model::random::Stream;
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
};
use retmask_model::{ModelResult, Numerics};

const VOCABULARY: usize = 37;

fn decoder(span: AttentionSpan, numerics: Numerics) -> Decoder {
    let spec = ModelSpec {
        family: Family::Llama,
        vocabulary_size: VOCABULARY,
        hidden_size: 24,
        intermediate_size: 40,
        query_heads: 4,
        key_value_heads: 2,
        head_dim: 6,
        context_length: 1024,
        norm_epsilon: 1e-5,
        norm_placement: NormPlacement::Pre,
        query_key_norm: QueryKeyNorm::None,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        tied_embeddings: true,
        rotary: vec![RotarySpec { theta: 10_000.0, scaling: RotaryScaling::None }],
        layers: [AttentionSpan::Full, span].map(|span| LayerSpec { span, rotary: 0 }).to_vec(),
    };
    Decoder::build(spec, Purpose::Inference(numerics), &mut |name, shape| {
        let mut stream = Stream::derive(11, &[name.as_bytes()]);
        Ok((0..shape.iter().product()).map(|_| (0.4 * stream.normal()) as f32).collect())
    })
    .expect("a decoder")
}

fn text(name: &str, length: usize) -> Vec<u32> {
    let mut stream = Stream::derive(3, &[name.as_bytes()]);
    (0..length).map(|_| stream.below(VOCABULARY) as u32).collect()
}

/// A text with a needle put in at a depth, as trials have it, and the same prompts under a mask.
fn requests() -> Vec<Request> {
    let (haystack, needle) = (text("haystack", 400), text("needle", 9));
    let mut prompts = vec![text("other", 50), haystack[..1].to_vec()];
    for length in [130, 400] {
        for depth in [0, 31, 32, 100, 129] {
            prompts.push([&haystack[..depth], &needle[..], &haystack[depth..length]].concat());
        }
    }
    // One prompt twice, and one that is the beginning of another.
    prompts.push(haystack[..200].to_vec());
    prompts.push(haystack[..200].to_vec());
    prompts.push(haystack.clone());
    let request = |prompt: &Vec<u32>, mask: Option<usize>, sample: usize| Request {
        prompt: prompt.clone(),
        mask,
        // Some that end early, some that outlive those behind them, one that never begins.
        max_new_tokens: if sample == 8 { 0 } else { [1, 2, 12, 40][sample % 4] },
        stop_tokens: vec![5],
        sampling: Sampling::Random {
            rules: SamplingRules { temperature: 0.9, ..SamplingRules::default() },
            stream: Stream::derive(sample as u64, &[]),
        },
        probe: true,
        logit_gaps: true,
    };
    let masks = [None, Some(0)];
    let pairs = prompts.iter().flat_map(|prompt| masks.map(|mask| (prompt, mask)));
    pairs.enumerate().map(|(sample, (prompt, mask))| request(prompt, mask, sample)).collect()
}

#[derive(Default)]
struct Gather {
    completions: HashMap<usize, Completion>,
    processed: usize,
}

impl Sink for Gather {
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        assert!(self.completions.insert(request, completion).is_none(), "request {request} was completed twice");
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.processed += count;
        Ok(())
    }
}

fn run(decoder: &Decoder, requests: &[Request], limits: &Limits) -> Gather {
    let mask = HeadMask::from_json("[[0, 1], [1, 2]]").expect("a mask");
    let mut gather = Gather::default();
    generate(decoder, &[mask], requests, limits, &mut gather).expect("generated");
    gather
}

/// Everything of a completion, gaps by their bits.
fn all(completion: &Completion) -> impl PartialEq + std::fmt::Debug + use<> {
    let bits = |gaps: &[f32]| gaps.iter().map(|gap| gap.to_bits()).collect::<Vec<_>>();
    let probe_gaps: Vec<_> = completion.probe_gaps.iter().map(|gaps| bits(gaps)).collect();
    (completion.tokens.clone(), completion.stop, completion.probes.clone(), probe_gaps, bits(&completion.logit_gaps))
}

#[test]
fn shared_beginnings_change_no_completion() {
    let spans = [AttentionSpan::Full, AttentionSpan::Window(40), AttentionSpan::Window(300)];
    for (span, numerics) in spans.into_iter().flat_map(|span| Numerics::ALL.map(|numerics| (span, numerics))) {
        let decoder = decoder(span, numerics);
        let requests = requests();
        let alone: Vec<Gather> =
            requests.iter().map(|request| run(&decoder, std::slice::from_ref(request), &Limits::default())).collect();
        let apart: usize = alone.iter().map(|gather| gather.processed).sum();
        for (slots, rows) in [(1, 512), (3, 7), (4, 64), (64, 512)] {
            let limits = Limits { slots, rows_per_pass: rows, ..Limits::default() };
            let together = run(&decoder, &requests, &limits);
            assert_eq!(together.completions.len(), requests.len());
            for (index, alone) in alone.iter().enumerate() {
                assert_eq!(
                    all(&together.completions[&index]),
                    all(&alone.completions[&0]),
                    "request {index}, {limits:?}"
                );
            }
            if span == AttentionSpan::Full {
                assert!(together.processed < apart * 2 / 3, "{} tokens of {apart}, {limits:?}", together.processed);
            }
        }
    }
}
