//! Attention against its definition in f64, its gradients against finite differences, its bits against itself.

use super::*;
use crate::Numerics;
use crate::kernels::InstructionSet;

const LAYOUT: HeadLayout = HeadLayout { query_heads: 6, key_value_heads: 2, head_dim: 20 };

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i * 7_919 + seed * 104_729) % 1_999) as f32 / 700.0 - 1.4).sin()).collect()
}

struct Case {
    tokens: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

fn case(tokens: usize) -> Case {
    let HeadLayout { query_heads, key_value_heads, head_dim } = LAYOUT;
    Case {
        tokens,
        q: values(tokens * query_heads * head_dim, 1),
        k: values(tokens * key_value_heads * head_dim, 2),
        v: values(tokens * key_value_heads * head_dim, 3),
    }
}

/// The definition, in f64.
fn definition(q: &[f64], k: &[f64], v: &[f64], tokens: usize, span: AttentionSpan, masked: &[bool]) -> Vec<f64> {
    let HeadLayout { query_heads, key_value_heads, head_dim } = LAYOUT;
    let mut out = vec![0.0; q.len()];
    for token in 0..tokens {
        for head in (0..query_heads).filter(|&head| !masked[head]) {
            let kv = head / LAYOUT.group();
            let q = &q[(token * query_heads + head) * head_dim..][..head_dim];
            let scores: Vec<f64> = (first_key(span, token)..=token)
                .map(|key| {
                    let k = &k[(key * key_value_heads + kv) * head_dim..][..head_dim];
                    (q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (head_dim as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = scores.iter().sum();
            for (key, score) in (first_key(span, token)..).zip(&scores) {
                for d in 0..head_dim {
                    out[(token * query_heads + head) * head_dim + d] +=
                        score / sum * v[(key * key_value_heads + kv) * head_dim + d];
                }
            }
        }
    }
    out
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn run_whole(
    set: InstructionSet,
    numerics: Numerics,
    case: &Case,
    span: AttentionSpan,
    masked: &[bool],
) -> (Vec<f32>, Vec<f32>) {
    let mut key_values = KeyValues::new(LAYOUT, span, numerics);
    key_values.append(&case.k, &case.v);
    let run = Run {
        first_row: 0,
        tokens: case.tokens,
        position: 0,
        key_values: &key_values,
        masked_heads: Some(masked),
        probed: 0,
    };
    let mut log_sums = vec![0.0; case.tokens * LAYOUT.query_heads];
    let (out, _) = forward(set, LAYOUT, span, &[run], &case.q, Some(&mut log_sums));
    (out, log_sums)
}

#[test]
fn matches_the_definition_in_f64() {
    let masked = [false, true, false, false, false, true];
    for (tokens, span) in [(1, AttentionSpan::Full), (300, AttentionSpan::Full), (290, AttentionSpan::Window(37))] {
        let case = case(tokens);
        let (out, _) = run_whole(InstructionSet::best(), Numerics::F32, &case, span, &masked);
        let expected = definition(&wide(&case.q), &wide(&case.k), &wide(&case.v), tokens, span, &masked);
        for (found, expected) in out.iter().zip(&expected) {
            // f32 softmax over at most 300 keys of values below 1.
            assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} {expected}");
        }
        // In bf16 the exponentials are rounded too: relative errors of 2^-9 at most, of values below 1.
        let rounded =
            |values: &[f32]| values.iter().map(|&value| half::bf16::from_f32(value).to_f64()).collect::<Vec<_>>();
        let (out, _) = run_whole(InstructionSet::best(), Numerics::Bf16, &case, span, &masked);
        let expected = definition(&rounded(&case.q), &rounded(&case.k), &rounded(&case.v), tokens, span, &masked);
        for (found, expected) in out.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 2.0f64.powi(-9), "{found} {expected}");
        }
    }
}

#[test]
fn chunks_and_instruction_sets_change_no_bit() {
    let case = case(301);
    let width = LAYOUT.query_heads * LAYOUT.head_dim;
    let kv_width = LAYOUT.key_value_heads * LAYOUT.head_dim;
    let none = [false; 6];
    let spans = [AttentionSpan::Full, AttentionSpan::Window(1), AttentionSpan::Window(40), AttentionSpan::Window(150)];
    for (span, numerics) in spans.into_iter().flat_map(|span| Numerics::ALL.map(|numerics| (span, numerics))) {
        let (expected, _) = run_whole(InstructionSet::Portable, numerics, &case, span, &none);
        for set in InstructionSet::available() {
            let mut alone = Vec::new();
            for chunk in [1, 7, 128, 301] {
                let mut key_values = KeyValues::new(LAYOUT, span, numerics);
                let (mut out, mut found) = (Vec::new(), Vec::new());
                for start in (0..case.tokens).step_by(chunk) {
                    let end = (start + chunk).min(case.tokens);
                    key_values
                        .append(&case.k[start * kv_width..end * kv_width], &case.v[start * kv_width..end * kv_width]);
                    let run = Run {
                        first_row: 0,
                        tokens: end - start,
                        position: start,
                        key_values: &key_values,
                        masked_heads: None,
                        probed: (end - start).min(2),
                    };
                    let (part, probes) = forward(set, LAYOUT, span, &[run], &case.q[start * width..end * width], None);
                    assert_eq!(probes.len(), (end - start).min(2));
                    found.extend(probes);
                    out.extend(part);
                    let most = KeyValues::most_bytes(LAYOUT, span, numerics, case.tokens, chunk);
                    assert!(key_values.held_bytes() <= most, "{} of {most}", key_values.held_bytes());
                }
                assert_eq!(key_values.len(), case.tokens);
                assert!(out.iter().map(|x| x.to_bits()).eq(expected.iter().map(|x| x.to_bits())), "{set:?} {chunk}");
                // Token by token all are probed, in chunks the last two of each.
                if chunk == 1 {
                    alone = found;
                } else {
                    let last_two = |start: usize| (start + chunk).min(case.tokens).saturating_sub(2).max(start);
                    let places = (0..case.tokens)
                        .step_by(chunk)
                        .flat_map(|start| last_two(start)..(start + chunk).min(case.tokens));
                    let expected: Vec<_> = places.map(|place| alone[place].clone()).collect();
                    assert_eq!(found, expected, "{set:?} {chunk}");
                }
            }
        }
    }
}

#[test]
fn the_probe_names_the_strongest_key() {
    let mut case = case(200);
    let HeadLayout { query_heads, key_value_heads, head_dim } = LAYOUT;
    // Key 150 of head group 1 points where the last query of head 4 points.
    let q = case.q[(199 * query_heads + 4) * head_dim..][..head_dim].to_vec();
    case.k[(150 * key_value_heads + 1) * head_dim..][..head_dim]
        .iter_mut()
        .zip(&q)
        .for_each(|(key, query)| *key = query * 5.0);
    let mut key_values = KeyValues::new(LAYOUT, AttentionSpan::Full, Numerics::F32);
    key_values.append(&case.k, &case.v);
    let base = Run { first_row: 0, tokens: 200, position: 0, key_values: &key_values, masked_heads: None, probed: 1 };
    let (_, probes) = forward(InstructionSet::best(), LAYOUT, AttentionSpan::Full, &[base], &case.q, None);
    assert_eq!(probes[0][4].key, 150);
    assert!(probes[0][4].gap > 0.5 && probes[0][0].key < 200);
}

#[test]
fn gradients_match_finite_differences_in_f64() {
    let tokens = 45;
    let masked = [false, false, true, false, false, false];
    let case = case(tokens);
    for span in [AttentionSpan::Full, AttentionSpan::Window(9)] {
        let (out, log_sums) = run_whole(InstructionSet::best(), Numerics::F32, &case, span, &masked);
        let grad_out = values(out.len(), 9);
        let sequence = Sequence {
            tokens,
            before: None,
            queries: &case.q,
            keys: &case.k,
            values: &case.v,
            out: &out,
            log_sums: &log_sums,
            grad_out: &grad_out,
            masked_heads: Some(&masked),
        };
        let found = backward(InstructionSet::best(), LAYOUT, span, &[sequence]).remove(0);
        let inputs = [wide(&case.q), wide(&case.k), wide(&case.v)];
        let grad = wide(&grad_out);
        for (which, found) in [&found.queries, &found.keys, &found.values].into_iter().enumerate() {
            for i in (0..found.len()).step_by(61) {
                let loss = |step: f64| {
                    let mut inputs = inputs.clone();
                    inputs[which][i] += step;
                    let out = definition(&inputs[0], &inputs[1], &inputs[2], tokens, span, &masked);
                    out.iter().zip(&grad).map(|(out, grad)| out * grad).sum::<f64>()
                };
                let expected = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                // f32 sums over 45 keys and 3 heads; the differences themselves are good to 1e-9.
                assert!((expected - f64::from(found[i])).abs() < 2e-5, "{which} {i}: {expected} {}", found[i]);
            }
        }
    }
}

#[test]
fn a_window_keeps_no_more_than_itself_a_tile_and_a_chunk() {
    let (window, chunk, tokens) = (40, 10, 2_000);
    let case = case(tokens);
    let width = LAYOUT.key_value_heads * LAYOUT.head_dim;
    let mut key_values = KeyValues::new(LAYOUT, AttentionSpan::Window(window), Numerics::F32);
    let mut largest = 0;
    for (keys, values) in case.k.chunks(chunk * width).zip(case.v.chunks(chunk * width)) {
        key_values.append(keys, values);
        largest = largest.max(key_values.held_bytes());
    }
    // 39 + 127 + 10 tokens fill 6 panels of 32 at most; all 2,000 would fill 63.
    assert_eq!(KeyValues::most_bytes(LAYOUT, AttentionSpan::Window(window), Numerics::F32, tokens, chunk), largest);
    assert_eq!(KeyValues::most_bytes(LAYOUT, AttentionSpan::Full, Numerics::F32, tokens, chunk), largest / 6 * 63);
}

#[test]
fn what_is_taken_back_leaves_nothing() {
    let case = case(70);
    let width = LAYOUT.key_value_heads * LAYOUT.head_dim;
    for (numerics, tokens) in Numerics::ALL.into_iter().flat_map(|numerics| [31, 32, 45, 66].map(|t| (numerics, t))) {
        let mut direct = KeyValues::new(LAYOUT, AttentionSpan::Window(9), numerics);
        direct.append(&case.k[..tokens * width], &case.v[..tokens * width]);
        let mut taken_back = direct.clone();
        for drafted in [1, 4] {
            taken_back.append(&case.v[..drafted * width], &case.k[..drafted * width]);
            taken_back.truncate(tokens);
            assert_eq!(format!("{taken_back:?}"), format!("{direct:?}"), "{numerics} {tokens} {drafted}");
        }
        taken_back.truncate(tokens + 1);
        assert_eq!(taken_back.len(), tokens, "there is nothing to take back");
    }
}

#[test]
fn a_beginning_holds_what_appending_so_far_would() {
    let case = case(70);
    let width = LAYOUT.key_value_heads * LAYOUT.head_dim;
    for numerics in Numerics::ALL {
        let mut whole = KeyValues::new(LAYOUT, AttentionSpan::Full, numerics);
        whole.append(&case.k, &case.v);
        // Within a panel at an odd and an even place, at its border, and all.
        for tokens in [1, 32, 45, 64, 66, 70] {
            let mut direct = KeyValues::new(LAYOUT, AttentionSpan::Full, numerics);
            direct.append(&case.k[..tokens * width], &case.v[..tokens * width]);
            let mut beginning = whole.beginning(tokens).expect("nothing was dropped");
            // What is appended to it goes where nothing is left of what was cut off.
            direct.append(&case.v[..3 * width], &case.k[..3 * width]);
            beginning.append(&case.v[..3 * width], &case.k[..3 * width]);
            assert_eq!(format!("{beginning:?}"), format!("{direct:?}"), "{numerics} {tokens}");
        }
    }
}
