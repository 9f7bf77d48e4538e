//! A small decoder, texts, and a sink that keeps everything.

use std::collections::HashMap;

use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::generate::{Completion, Next, Sink};
use retmask_model::random::Stream;
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
};
use retmask_model::{ModelResult, Numerics};

pub const VOCABULARY: usize = 37;

/// Two layers of random weights, the second of which sees `span`.
pub fn decoder(span: AttentionSpan, numerics: Numerics) -> Decoder {
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

/// Random tokens.
pub fn text(name: &str, length: usize) -> Vec<u32> {
    let mut stream = Stream::derive(3, &[name.as_bytes()]);
    (0..length).map(|_| stream.below(VOCABULARY) as u32).collect()
}

/// Keeps what it is told, and stops requests as it is asked to.
#[derive(Default)]
pub struct Gather {
    pub completions: HashMap<usize, Completion>,
    /// Every token as it was reported.
    pub reported: HashMap<usize, Vec<u32>>,
    pub processed: usize,
    pub drafted: usize,
    pub kept: usize,
    /// Whether a request ends at a token.
    pub stops: Option<fn(usize, u32) -> bool>,
}

impl Sink for Gather {
    fn generated(&mut self, request: usize, token: u32) -> ModelResult<Next> {
        self.reported.entry(request).or_default().push(token);
        Ok(if self.stops.is_some_and(|stops| stops(request, token)) { Next::Stop } else { Next::GoOn })
    }

    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        assert!(self.completions.insert(request, completion).is_none(), "request {request} was completed twice");
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.processed += count;
        Ok(())
    }

    fn drafted(&mut self, tried: usize, kept: usize) {
        self.drafted += tried;
        self.kept += kept;
    }
}

/// Everything of a completion, gaps by their bits.
pub fn all(completion: &Completion) -> impl PartialEq + std::fmt::Debug + use<> {
    let bits = |gaps: &[f32]| gaps.iter().map(|gap| gap.to_bits()).collect::<Vec<_>>();
    let probe_gaps: Vec<_> = completion.probe_gaps.iter().map(|gaps| bits(gaps)).collect();
    (completion.tokens.clone(), completion.stop, completion.probes.clone(), probe_gaps, bits(&completion.logit_gaps))
}
