//! Requests whose prompts begin alike share the work, and nothing else changes.

#[path = "support/generation.rs"]
mod generation;

use generation::{Gather, all, decoder, text};
use retmask_model::Numerics;
use retmask_model::decoder::Decoder;
use retmask_model::generate::{Limits, Request, Sampling, SamplingRules, generate};
use retmask_model::heads::HeadMask;
use retmask_model::random::Stream;
use retmask_model::spec::AttentionSpan;

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

fn run(decoder: &Decoder, requests: &[Request], limits: &Limits) -> Gather {
    let mask = HeadMask::from_json("[[0, 1], [1, 2]]").expect("a mask");
    let mut gather = Gather::default();
    generate(decoder, &[mask], requests, limits, &mut gather).expect("generated");
    gather
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
