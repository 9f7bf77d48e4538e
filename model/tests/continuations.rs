//! Endings of texts have the log-probabilities that they have alone, whatever is shared.

use retmask_model::continuations::{Endings, ending_logprobs};
use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::heads::HeadMask;
use retmask_model::logprobs::token_logprobs;
use retmask_model::random::Stream;
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
};
use retmask_model::{ModelResult, Numerics};

const VOCABULARY: usize = 31;

fn decoder(span: AttentionSpan) -> Decoder {
    let spec = ModelSpec {
        family: Family::Llama,
        vocabulary_size: VOCABULARY,
        hidden_size: 16,
        intermediate_size: 24,
        query_heads: 4,
        key_value_heads: 2,
        head_dim: 4,
        context_length: 512,
        norm_epsilon: 1e-5,
        norm_placement: NormPlacement::Pre,
        query_key_norm: QueryKeyNorm::None,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        tied_embeddings: true,
        rotary: vec![RotarySpec { theta: 10_000.0, scaling: RotaryScaling::None }],
        layers: [AttentionSpan::Full, span].map(|span| LayerSpec { span, rotary: 0 }).to_vec(),
    };
    Decoder::build(spec, Purpose::Inference(Numerics::F32), &mut |name, shape| {
        let mut stream = Stream::derive(5, &[name.as_bytes()]);
        Ok((0..shape.iter().product()).map(|_| (0.4 * stream.normal()) as f32).collect())
    })
    .expect("a decoder")
}

fn text(name: &str, length: usize) -> Vec<u32> {
    let mut stream = Stream::derive(3, &[name.as_bytes()]);
    (0..length).map(|_| stream.below(VOCABULARY) as u32).collect()
}

fn ignore(_: usize) -> ModelResult<()> {
    Ok(())
}

#[test]
fn endings_have_the_bits_that_they_have_alone() {
    let shared = text("demonstrations", 150);
    let beginnings: Vec<Vec<u32>> = ["a", "b", "c"]
        .map(|name| [shared.clone(), text(name, 40)].concat())
        .into_iter()
        // Nothing shared, one token, and one that is the beginning of another.
        .chain([text("other", 20), text("one", 1), shared.clone(), shared[..70].to_vec()])
        .collect();
    let endings = [vec![3], vec![4], text("long", 7), vec![3, 9]];
    for span in [AttentionSpan::Full, AttentionSpan::Window(24)] {
        let decoder = decoder(span);
        let heads = HeadMask::from_json("[[0, 1], [1, 2]]").unwrap();
        for mask in [None, Some(&heads)] {
            let texts: Vec<Endings<'_>> =
                beginnings.iter().map(|beginning| Endings { beginning, endings: &endings }).collect();
            let mut found = vec![Vec::new(); texts.len()];
            let mut tokens = 0;
            ending_logprobs(
                &decoder,
                mask,
                &texts,
                &mut |count| {
                    tokens += count;
                    Ok(())
                },
                &mut |place, sums| {
                    found[place] = sums;
                    Ok(())
                },
            )
            .unwrap();
            for (beginning, sums) in beginnings.iter().zip(&found) {
                for (ending, sum) in endings.iter().zip(sums) {
                    let whole = [beginning.as_slice(), ending].concat();
                    let alone = token_logprobs(&decoder, mask, &[&whole], &mut ignore).unwrap().remove(0);
                    let alone: f64 = alone[beginning.len() - 1..].iter().sum();
                    assert_eq!(alone.to_bits(), sum.to_bits(), "{span:?}, {} tokens", beginning.len());
                }
            }
            let one_by_one: usize =
                beginnings.iter().flat_map(|text| endings.iter().map(|ending| text.len() + ending.len() - 1)).sum();
            assert!(tokens * 4 < one_by_one, "{tokens} tokens in place of {one_by_one}");
        }
    }
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let decoder = decoder(AttentionSpan::Full);
    let refused = |beginning: &[u32], endings: &[Vec<u32>]| {
        let texts = [Endings { beginning, endings }];
        ending_logprobs(&decoder, None, &texts, &mut ignore, &mut |_, _| Ok(())).unwrap_err().message
    };
    assert_eq!(refused(&[], &[vec![1]]), "text 0 has an empty beginning or ending");
    assert_eq!(refused(&[1], &[vec![]]), "text 0 has an empty beginning or ending");
    assert_eq!(refused(&[1; 512], &[vec![1]]), "text 0 has 513 tokens; the model's context is 512");
}
