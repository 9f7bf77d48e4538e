//! The choice of the next token from a row of logits.

use super::Sampling;
use crate::kernels::InstructionSet;
use crate::kernels::elementwise::{exp_of_scaled, maximum};

/// Index of the largest logit, the lowest index on equal logits, and its lead over the second.
pub fn best_and_gap(logits: &[f32]) -> (usize, f32) {
    let (mut best, mut second) = ((f32::NEG_INFINITY, 0), f32::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        if logit > best.0 {
            second = best.0;
            best = (logit, index);
        } else if logit > second {
            second = logit;
        }
    }
    (best.1, best.0 - second)
}

/// Chooses a token. Probabilities are f32 exponentials, added in f64 in order of token id (or of probability,
/// where `top_p` cuts): one random number decides.
pub fn choose(sampling: &mut Sampling, logits: &[f32]) -> usize {
    let (temperature, top_p, stream) = match sampling {
        Sampling::Greedy => return best_and_gap(logits).0,
        Sampling::Random { temperature, .. } if *temperature == 0.0 => return best_and_gap(logits).0,
        Sampling::Random { temperature, top_p, stream } => (*temperature, *top_p, stream),
    };
    let set = InstructionSet::best();
    let weights = exp_of_scaled(set, logits, maximum(set, logits), (1.0 / temperature) as f32);
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let draw = stream.uniform();
    if top_p >= 1.0 {
        return pick((0..weights.len()).map(|token| (token, weights[token])), draw * total);
    }
    let mut order: Vec<usize> = (0..weights.len()).filter(|&token| weights[token] > 0.0).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    let mut kept = 0.0;
    let mut count = 0;
    for &token in &order {
        kept += f64::from(weights[token]);
        count += 1;
        if kept >= top_p * total {
            break;
        }
    }
    pick(order[..count].iter().map(|&token| (token, weights[token])), draw * kept)
}

/// The first token at which the running sum passes `threshold`; the last one of any weight if rounding keeps it below.
fn pick(weighted: impl Iterator<Item = (usize, f32)>, threshold: f64) -> usize {
    let (mut sum, mut last) = (0.0, 0);
    for (token, weight) in weighted {
        if weight > 0.0 {
            sum += f64::from(weight);
            last = token;
            if sum > threshold {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn frequencies(temperature: f64, top_p: f64, draws: u32) -> Vec<f64> {
        let logits = [1.0f32, 3.0, 2.0, -1.0];
        let mut sampling = Sampling::Random { temperature, top_p, stream: Stream::derive(3, &[b"frequencies"]) };
        let mut counts = [0u32; 4];
        (0..draws).for_each(|_| counts[choose(&mut sampling, &logits)] += 1);
        counts.iter().map(|&count| f64::from(count) / f64::from(draws)).collect()
    }

    #[test]
    fn draws_follow_the_softmax() {
        let weights: Vec<f64> = [1.0f64, 3.0, 2.0, -1.0].iter().map(|logit| (logit / 0.6).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (found, weight) in frequencies(0.6, 1.0, 40_000).iter().zip(&weights) {
            // Five standard errors of a frequency over 40,000 draws: 5 * 0.5 / 200.
            assert!((found - weight / total).abs() < 0.0125);
        }
    }

    #[test]
    fn top_p_keeps_the_smallest_sufficient_set() {
        // At temperature 1 the probabilities are 0.090, 0.665, 0.245, 0.012 (before normalisation of rounding).
        let found = frequencies(1.0, 0.8, 4_000);
        assert_eq!((found[0], found[3]), (0.0, 0.0));
        assert!(found[2] > 0.2 && found[1] > 0.6);
        assert_eq!(frequencies(1.0, 0.1, 100), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn greedy_takes_the_lowest_id_on_equal_logits() {
        assert_eq!(best_and_gap(&[0.5, 2.0, 2.0]), (1, 0.0));
        assert_eq!(choose(&mut Sampling::Greedy, &[-3.0, -2.5, -9.0]), 1);
    }
}
