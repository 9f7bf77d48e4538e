//! The choice of the next token from a row of logits.

use std::cell::RefCell;
use std::collections::HashMap;

use super::{Sampling, SamplingRules};
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

/// Chooses the token after `prompt` and `response`. Probabilities are f32 exponentials, added in f64 in order of token id
/// (or of probability, where rules cut): one random number decides.
pub fn choose(sampling: &mut Sampling, logits: &[f32], prompt: &[u32], response: &[u32]) -> usize {
    let Sampling::Random { rules, stream } = sampling else { return best_and_gap(logits).0 };
    let penalised = rules.penalise(logits, prompt, response);
    let logits = penalised.as_deref().unwrap_or(logits);
    if rules.temperature == 0.0 {
        return best_and_gap(logits).0;
    }
    let set = InstructionSet::best();
    WEIGHTS.with_borrow_mut(|weights| {
        weights.resize(logits.len(), 0.0);
        exp_of_scaled(set, logits, maximum(set, logits), (1.0 / rules.temperature) as f32, weights);
        let draw = stream.uniform();
        if rules.top_p >= 1.0 && rules.top_k == 0 && rules.min_p == 0.0 {
            return pick_of_all(weights, draw);
        }
        let (order, kept) = rules.cut(weights);
        pick(order.into_iter().map(|token| (token, weights[token])), 0.0, draw * kept)
    })
}

thread_local! {
    /// Of the tokens of one row.
    static WEIGHTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Tokens whose sum is noted, so that the token of a draw is looked for among so many only.
const NOTED: usize = 256;

/// The token at which the running sum passes `draw` times the sum of all, all added in order.
fn pick_of_all(weights: &[f32], draw: f64) -> usize {
    let mut sum = 0.0;
    // What comes before each chunk.
    let mut before = Vec::with_capacity(weights.len().div_ceil(NOTED));
    for chunk in weights.chunks(NOTED) {
        before.push(sum);
        chunk.iter().for_each(|&weight| sum += f64::from(weight));
    }
    let threshold = draw * sum;
    // The last chunk before which the threshold was not passed. If it is not passed at all, the token is that of the last
    // weight, which may be in an earlier chunk.
    let chunk = before.partition_point(|&before| before <= threshold).saturating_sub(1);
    let first = if sum > threshold { chunk * NOTED } else { 0 };
    let start = if sum > threshold { before.get(chunk).copied().unwrap_or(0.0) } else { 0.0 };
    pick((first..weights.len()).map(|token| (token, weights[token])), start, threshold)
}

fn sum(weights: &[f32]) -> f64 {
    weights.iter().map(|&weight| f64::from(weight)).sum()
}

impl SamplingRules {
    /// The logits after penalties, in f64 rounded once; `None` when there are no penalties.
    fn penalise(&self, logits: &[f32], prompt: &[u32], response: &[u32]) -> Option<Vec<f32>> {
        let Self { repetition_penalty, frequency_penalty, .. } = *self;
        if repetition_penalty == 1.0 && frequency_penalty == 0.0 {
            return None;
        }
        let mut counts: HashMap<u32, u32> = HashMap::new();
        prompt.iter().for_each(|&token| {
            counts.entry(token).or_default();
        });
        response.iter().for_each(|&token| *counts.entry(token).or_default() += 1);
        let mut penalised = logits.to_vec();
        // Every token's logit by itself: the map's order does not matter.
        for (token, count) in counts {
            let Some(logit) = penalised.get_mut(token as usize) else { continue };
            let value = f64::from(*logit);
            let value = if value > 0.0 { value / repetition_penalty } else { value * repetition_penalty };
            *logit = (value - frequency_penalty * f64::from(count)) as f32;
        }
        Some(penalised)
    }

    /// The tokens that are left, most probable first (the lowest id on equal ones), and the sum of their weights.
    fn cut(&self, weights: &[f32]) -> (Vec<usize>, f64) {
        let mut order: Vec<usize> = (0..weights.len()).filter(|&token| weights[token] > 0.0).collect();
        order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
        let mut total = sum(weights);
        if self.top_k > 0 && self.top_k < order.len() {
            order.truncate(self.top_k);
            total = order.iter().map(|&token| f64::from(weights[token])).sum();
        }
        let least = order.first().map_or(0.0, |&best| f64::from(weights[best]) * self.min_p);
        let (mut kept, mut count) = (0.0, 0);
        for &token in &order {
            let weight = f64::from(weights[token]);
            // The best one always stays.
            if count > 0 && weight < least {
                break;
            }
            kept += weight;
            count += 1;
            if kept >= self.top_p * total {
                break;
            }
        }
        order.truncate(count);
        (order, kept)
    }
}

/// The first token at which the running sum, from `sum` on, passes `threshold`; the last one of any weight if rounding keeps
/// it below.
fn pick(weighted: impl Iterator<Item = (usize, f32)>, mut sum: f64, threshold: f64) -> usize {
    let mut last = 0;
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

    const LOGITS: [f32; 4] = [1.0, 3.0, 2.0, -1.0];

    fn frequencies_by(rules: SamplingRules, prompt: &[u32], response: &[u32], draws: u32) -> Vec<f64> {
        let mut sampling = Sampling::Random { rules, stream: Stream::derive(3, &[b"frequencies"]) };
        let mut counts = [0u32; 4];
        (0..draws).for_each(|_| counts[choose(&mut sampling, &LOGITS, prompt, response)] += 1);
        counts.iter().map(|&count| f64::from(count) / f64::from(draws)).collect()
    }

    fn frequencies(temperature: f64, top_p: f64, draws: u32) -> Vec<f64> {
        frequencies_by(SamplingRules { temperature, top_p, ..SamplingRules::default() }, &[], &[], draws)
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
    fn noted_sums_change_no_draw() {
        let mut weights: Vec<f32> = (0..3_000).map(|i| ((i * 7_919) % 1_009) as f32 * 1e-3).collect();
        weights[700..1_200].fill(0.0);
        weights[2_500..].fill(0.0);
        let all = || weights.iter().copied().enumerate();
        for step in 0..=1_000 {
            let draw = f64::from(step) / 1_000.0;
            assert_eq!(pick_of_all(&weights, draw), pick(all(), 0.0, draw * sum(&weights)), "{draw}");
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
        assert_eq!(choose(&mut Sampling::Greedy, &[-3.0, -2.5, -9.0], &[], &[]), 1);
    }

    /// The weights of tokens that are left, as shares.
    fn close_to(found: &[f64], logits: [f64; 4]) {
        let weights = logits.map(f64::exp);
        let total: f64 = weights.iter().sum();
        for (found, weight) in found.iter().zip(weights) {
            // Five standard errors of a frequency over 20,000 draws.
            assert!((found - weight / total).abs() < 0.018, "{found} {}", weight / total);
        }
    }

    #[test]
    fn top_k_and_min_p_keep_the_best() {
        let none = f64::NEG_INFINITY;
        let by = |rules| frequencies_by(rules, &[], &[], 20_000);
        close_to(&by(SamplingRules { top_k: 2, ..SamplingRules::default() }), [none, 3.0, 2.0, none]);
        close_to(&by(SamplingRules { top_k: 9, ..SamplingRules::default() }), [1.0, 3.0, 2.0, -1.0]);
        assert_eq!(by(SamplingRules { top_k: 1, ..SamplingRules::default() }), [0.0, 1.0, 0.0, 0.0]);
        // e^-2 = 0.135 of the best stays at 0.1, and goes at 0.2; e^-1 = 0.37.
        close_to(&by(SamplingRules { min_p: 0.1, ..SamplingRules::default() }), [1.0, 3.0, 2.0, none]);
        close_to(&by(SamplingRules { min_p: 0.2, ..SamplingRules::default() }), [none, 3.0, 2.0, none]);
        assert_eq!(by(SamplingRules { min_p: 1.0, ..SamplingRules::default() }), [0.0, 1.0, 0.0, 0.0]);
        // Of the best two the first has 0.73: enough for 0.7, of all four it would have 0.66.
        assert_eq!(by(SamplingRules { top_k: 2, top_p: 0.7, ..SamplingRules::default() }), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn penalties_count_what_was_said() {
        let by = |rules, prompt: &[u32], response: &[u32]| frequencies_by(rules, prompt, response, 20_000);
        let repetition = SamplingRules { repetition_penalty: 2.0, ..SamplingRules::default() };
        close_to(&by(repetition, &[1, 1], &[3, 3]), [1.0, 1.5, 2.0, -2.0]);
        let frequency = SamplingRules { frequency_penalty: 0.5, ..SamplingRules::default() };
        close_to(&by(frequency, &[1, 1], &[2, 2, 0]), [0.5, 3.0, 1.0, -1.0]);
        // Greedy after penalties; a token that is not in the vocabulary is nobody's.
        let greedy = SamplingRules { temperature: 0.0, repetition_penalty: 2.0, ..SamplingRules::default() };
        assert_eq!(by(greedy, &[1, 77], &[]), [0.0, 0.0, 1.0, 0.0]);
    }
}
