//! Drafted tokens save passes, and change nothing of what is generated.

#[path = "support/generation.rs"]
mod generation;

use generation::{Gather, all, decoder, text};
use retmask_model::Numerics;
use retmask_model::decoder::Decoder;
use retmask_model::generate::{Limits, Request, Sampling, SamplingRules, StopReason, generate};
use retmask_model::heads::HeadMask;
use retmask_model::random::Stream;
use retmask_model::spec::AttentionSpan;

/// Greedy and sampled, with penalties and cuts, masked, stopped; over texts that repeat and texts that do not.
fn requests() -> Vec<Request> {
    let phrase = text("phrase", 11);
    let prompts = [text("plain", 90), phrase.repeat(9), [text("before", 40), phrase.repeat(2)].concat(), vec![3]];
    let rules = [
        None,
        Some(SamplingRules { temperature: 0.0, ..SamplingRules::default() }),
        Some(SamplingRules { temperature: 0.2, ..SamplingRules::default() }),
        Some(SamplingRules { temperature: 0.5, top_k: 3, top_p: 0.8, min_p: 0.05, ..SamplingRules::default() }),
        Some(SamplingRules {
            temperature: 0.3,
            repetition_penalty: 1.1,
            frequency_penalty: 0.1,
            ..SamplingRules::default()
        }),
    ];
    let mut requests = Vec::new();
    for prompt in prompts {
        for rules in rules {
            for mask in [None, Some(0)] {
                let sample = requests.len();
                requests.push(Request {
                    prompt: prompt.clone(),
                    mask,
                    max_new_tokens: [60, 1, 25, 2, 90][sample % 5],
                    stop_tokens: if sample % 4 == 1 { vec![5] } else { Vec::new() },
                    sampling: rules.map_or(Sampling::Greedy, |rules| Sampling::Random {
                        rules,
                        stream: Stream::derive(sample as u64, &[]),
                    }),
                    probe: sample % 3 != 0,
                    logit_gaps: sample % 3 != 1,
                });
            }
        }
    }
    requests
}

fn run(decoder: &Decoder, requests: &[Request], limits: &Limits) -> Gather {
    let mask = HeadMask::from_json("[[0, 1], [1, 2]]").expect("a mask");
    let stops = |request: usize, token: u32| request.is_multiple_of(7) && token % 9 == 2;
    let mut gather = Gather { stops: Some(stops), ..Gather::default() };
    generate(decoder, &[mask], requests, limits, &mut gather).expect("generated");
    gather
}

#[test]
fn drafts_change_no_completion() {
    let requests = requests();
    let spans = [AttentionSpan::Full, AttentionSpan::Window(20)];
    for (span, numerics) in spans.into_iter().flat_map(|span| Numerics::ALL.map(|numerics| (span, numerics))) {
        let decoder = decoder(span, numerics);
        let without = run(&decoder, &requests, &Limits { drafts: false, ..Limits::default() });
        assert_eq!(without.drafted, 0);
        let reasons: Vec<StopReason> = without.completions.values().map(|completion| completion.stop).collect();
        for reason in [StopReason::StopToken, StopReason::Length, StopReason::Sink] {
            assert!(reasons.contains(&reason), "{reason:?} ends none of the requests");
        }
        for (slots, rows_per_pass) in [(1, 512), (1, 3), (5, 9), (64, 512)] {
            let limits = Limits { slots, rows_per_pass, ..Limits::default() };
            let with = run(&decoder, &requests, &limits);
            assert!(with.kept > 0 && with.kept < with.drafted, "{} of {}, {limits:?}", with.kept, with.drafted);
            assert_eq!(with.reported, without.reported, "{limits:?}");
            for (index, without) in &without.completions {
                assert_eq!(all(&with.completions[index]), all(without), "request {index}, {limits:?}");
            }
        }
    }
}
