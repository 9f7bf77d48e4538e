//! Long inputs: what stays in memory while a text passes in chunks, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use retmask_model::Numerics;
use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::logprobs::token_logprobs_in_passes;
use retmask_model::random::Stream;
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator; the counters do not touch memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WINDOW: usize = 100;
const CHUNK: usize = 64;
const LAYERS: usize = 4;

/// Olmo-3's alternation, or windows nowhere.
fn spec(windows: bool) -> ModelSpec {
    let span = |layer: usize| {
        if windows && !(layer + 1).is_multiple_of(4) { AttentionSpan::Window(WINDOW) } else { AttentionSpan::Full }
    };
    ModelSpec {
        family: Family::Olmo3,
        vocabulary_size: 31,
        hidden_size: 16,
        intermediate_size: 24,
        query_heads: 8,
        key_value_heads: 8,
        head_dim: 32,
        context_length: 1 << 20,
        norm_epsilon: 1e-5,
        norm_placement: NormPlacement::Post,
        query_key_norm: QueryKeyNorm::FullWidth,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        tied_embeddings: true,
        rotary: vec![RotarySpec { theta: 500_000.0, scaling: RotaryScaling::None }],
        layers: (0..LAYERS).map(|layer| LayerSpec { span: span(layer), rotary: 0 }).collect(),
    }
}

fn decoder(spec: ModelSpec) -> Decoder {
    Decoder::build(spec, Purpose::Inference(Numerics::F32), &mut |name, shape| {
        let mut stream = Stream::derive(7, &[name.as_bytes()]);
        Ok((0..shape.iter().product()).map(|_| (0.2 * stream.normal()) as f32).collect())
    })
    .expect("a decoder")
}

fn ids(length: usize) -> Vec<u32> {
    let mut stream = Stream::derive(1, &[b"long"]);
    (0..length).map(|_| stream.below(31) as u32).collect()
}

/// Most bytes beyond those before the call.
fn peak(decoder: &Decoder, ids: &[u32]) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let found = token_logprobs_in_passes(decoder, None, &[ids], CHUNK, &mut |_| Ok(())).expect("log-probabilities");
    assert_eq!(found[0].len(), ids.len() - 1);
    PEAK.load(Ordering::Relaxed) - before
}

#[test]
fn a_long_text_takes_its_keys_and_values_and_one_chunk() {
    let (short, long) = (ids(2_000), ids(6_000));
    for windows in [true, false] {
        let decoder = decoder(spec(windows));
        // The first call starts threads and fills their buffers.
        peak(&decoder, &short[..500]);
        let (of_short, of_long) = (peak(&decoder, &short), peak(&decoder, &long));
        let kept = |tokens: usize| decoder.spec().key_value_bytes(Numerics::F32, tokens, CHUNK);
        let grown = of_long - of_short;
        let expected = kept(long.len()) - kept(short.len());
        // What grows with the text: keys and values, and 8 bytes of result per token; positions of panels besides.
        assert!(grown <= expected + expected / 20 + 16 * 4_000, "windows {windows}: {grown} of {expected}");
        // One chunk: a few dozen vectors of the widest size per row, and a row of logits.
        let row = 40 * size_of::<f32>() * (decoder.spec().query_width() + decoder.spec().vocabulary_size);
        let limit = kept(long.len()) + CHUNK * row + 16 * long.len();
        assert!(of_long <= limit, "windows {windows}: {of_long} of {limit}");
    }
    // Three of four layers keep 100 to 291 tokens instead of 6,000.
    assert!(
        spec(true).key_value_bytes(Numerics::F32, long.len(), CHUNK) * 3
            < spec(false).key_value_bytes(Numerics::F32, long.len(), CHUNK)
    );
}
