//! Losses over preference pairs.

use retmask_model::train::{Evaluation, Measured, Objective};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which loss is minimised. With r the log-ratio of policy and reference, and m = beta · (r of chosen − r of rejected):
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// −ln sigmoid(m), that of direct preference optimisation (arXiv 2305.18290).
    #[default]
    Sigmoid,
    /// (m / beta − 1 / (2 · beta))² with log-ratios per token, as in TRL (arXiv 2310.12036).
    Ipo,
    /// max(0, 1 − m) (arXiv 2305.10425).
    Hinge,
    /// −ln sigmoid(m − `target-margin`) with log-probabilities per token and no reference (arXiv 2405.14734).
    Simpo,
}

/// A loss over the pairs of one micro-batch; sequences stand as chosen, rejected, chosen, rejected, …
#[derive(Debug, Clone)]
pub struct PreferenceLoss {
    pub loss: Loss,
    /// How strongly the policy is held to the reference.
    pub beta: f64,
    /// The probability that a label is wrong, for the sigmoid loss.
    pub label_smoothing: f64,
    /// What SimPO wants the margin to be above.
    pub target_margin: f64,
    /// Weight of the chosen side's mean negative log-probability per token, added to the loss.
    pub nll_weight: f64,
    /// Log-probability sums of [chosen, rejected] under the reference, a row per pair.
    pub reference: Vec<[f64; 2]>,
    /// Pairs of the whole step: loss and statistics are means over them.
    pub step_pairs: usize,
}

/// Places of the statistics in [`Evaluation::statistics`]; each is a mean over the pairs of a step.
pub mod statistic {
    pub const MARGIN: usize = 0;
    pub const ACCURACY: usize = 1;
    pub const CHOSEN_LOGPROB: usize = 2;
    pub const REJECTED_LOGPROB: usize = 3;
    pub const COUNT: usize = 4;
}

impl Loss {
    /// Whether log-probabilities count per token, not as sums.
    fn is_per_token(self) -> bool {
        matches!(self, Self::Ipo | Self::Simpo)
    }

    /// Whether the loss reads the reference.
    pub fn has_reference(self) -> bool {
        self != Self::Simpo
    }

    /// m: positive when the policy prefers the chosen side (more than the reference does). `policy` and `reference` are
    /// sums over `tokens` tokens, each of [chosen, rejected].
    pub fn margin(self, beta: f64, policy: [f64; 2], tokens: [usize; 2], reference: [f64; 2]) -> f64 {
        let reference = if self.has_reference() { reference } else { [0.0; 2] };
        if self.is_per_token() {
            let ratio = |side: usize| (policy[side] - reference[side]) / tokens[side] as f64;
            beta * (ratio(0) - ratio(1))
        } else {
            beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]))
        }
    }
}

impl PreferenceLoss {
    /// The loss at a margin, and its derivative by the chosen side's log-probability (a sum, or per token).
    fn at(&self, margin: f64) -> (f64, f64) {
        let beta = self.beta;
        match self.loss {
            Loss::Sigmoid if self.label_smoothing == 0.0 => negative_log_sigmoid(margin, beta),
            Loss::Sigmoid => {
                let (right, wrong) = (negative_log_sigmoid(margin, beta), negative_log_sigmoid(-margin, beta));
                let smoothing = self.label_smoothing;
                let mixed = |right: f64, wrong: f64| (1.0 - smoothing) * right + smoothing * wrong;
                (mixed(right.0, wrong.0), mixed(right.1, -wrong.1))
            }
            Loss::Ipo => {
                let distance = (margin - 0.5) / beta;
                (distance * distance, 2.0 * distance)
            }
            Loss::Hinge if margin < 1.0 => (1.0 - margin, -beta),
            Loss::Hinge => (0.0, 0.0),
            Loss::Simpo => negative_log_sigmoid(margin - self.target_margin, beta),
        }
    }
}

/// −ln sigmoid(x) = ln(1 + e^−x), without overflow, and `scale` times its slope, −sigmoid(−x).
fn negative_log_sigmoid(x: f64, scale: f64) -> (f64, f64) {
    ((-x).max(0.0) + libm::log1p(libm::exp(-x.abs())), -scale / (1.0 + libm::exp(x)))
}

/// The loss of one pair.
struct OfPair {
    loss: f64,
    margin: f64,
    /// Derivatives by the log-probability of each token of [chosen, rejected].
    slopes: [f64; 2],
}

impl PreferenceLoss {
    /// `policy` and `reference` are sums over `tokens` tokens; what the pair adds to a mean over the step.
    fn of_pair(&self, policy: [f64; 2], tokens: [usize; 2], reference: [f64; 2]) -> OfPair {
        let weight = 1.0 / self.step_pairs.max(1) as f64;
        let margin = self.loss.margin(self.beta, policy, tokens, reference);
        let (loss, slope) = self.at(margin);
        let (mut loss, slope) = (loss * weight, slope * weight);
        let per_token = |side: usize| if self.loss.is_per_token() { slope / tokens[side] as f64 } else { slope };
        let mut slopes = [per_token(0), -per_token(1)];
        if self.nll_weight != 0.0 {
            let nll_weight = self.nll_weight * weight / tokens[0] as f64;
            loss -= policy[0] * nll_weight;
            slopes[0] -= nll_weight;
        }
        OfPair { loss, margin, slopes }
    }

    /// Adds a pair to a mean over the step.
    fn add(&self, pair: &OfPair, policy: [f64; 2], loss: &mut f64, statistics: &mut [f64]) {
        let weight = 1.0 / self.step_pairs.max(1) as f64;
        *loss += pair.loss;
        statistics[statistic::MARGIN] += pair.margin * weight;
        statistics[statistic::ACCURACY] += f64::from(u8::from(pair.margin > 0.0)) * weight;
        statistics[statistic::CHOSEN_LOGPROB] += policy[0] * weight;
        statistics[statistic::REJECTED_LOGPROB] += policy[1] * weight;
    }

    /// Mean loss and statistics of pairs whose log-probability sums, over so many tokens, are known.
    pub fn of_sums(&self, sums: &[[f64; 2]], tokens: &[[usize; 2]]) -> Measured {
        let mut measured = Measured { loss: 0.0, statistics: vec![0.0; statistic::COUNT] };
        for ((&policy, &tokens), &reference) in sums.iter().zip(tokens).zip(&self.reference) {
            let pair = self.of_pair(policy, tokens, reference);
            self.add(&pair, policy, &mut measured.loss, &mut measured.statistics);
        }
        measured
    }
}

impl Objective for PreferenceLoss {
    fn evaluate(&self, logprobs: &[Vec<f64>]) -> Evaluation {
        let mut evaluation =
            Evaluation { loss: 0.0, coefficients: Vec::new(), statistics: vec![0.0; statistic::COUNT] };
        for (sides, &reference) in logprobs.chunks_exact(2).zip(&self.reference) {
            let policy = [sides[0].iter().sum::<f64>(), sides[1].iter().sum::<f64>()];
            let pair = self.of_pair(policy, [sides[0].len(), sides[1].len()], reference);
            self.add(&pair, policy, &mut evaluation.loss, &mut evaluation.statistics);
            let coefficients = sides.iter().zip(pair.slopes).map(|(side, slope)| vec![slope; side.len()]);
            evaluation.coefficients.extend(coefficients);
        }
        evaluation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(loss: Loss, beta: f64, reference: Vec<[f64; 2]>) -> PreferenceLoss {
        let step_pairs = reference.len();
        PreferenceLoss { loss, beta, label_smoothing: 0.0, target_margin: 0.0, nll_weight: 0.0, reference, step_pairs }
    }

    fn logprobs() -> Vec<Vec<f64>> {
        vec![vec![-1.0, -2.0], vec![-3.0], vec![-0.5], vec![-4.0, -0.25]]
    }

    #[test]
    fn the_first_sigmoid_loss_is_ln_2() {
        let start = loss(Loss::Sigmoid, 0.1, vec![[-3.0, -3.0], [-0.5, -4.25]]).evaluate(&logprobs());
        assert!((start.loss - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(start.statistics[statistic::MARGIN], 0.0);
    }

    #[test]
    fn the_coefficients_of_every_loss_are_its_slope() {
        let reference = vec![[-2.0, -3.5], [-9.0, -1.0]];
        let base = |of| loss(of, 0.3, reference.clone());
        let forms = [
            base(Loss::Sigmoid),
            PreferenceLoss { label_smoothing: 0.2, ..base(Loss::Sigmoid) },
            base(Loss::Ipo),
            base(Loss::Hinge),
            base(Loss::Simpo),
            PreferenceLoss { target_margin: 0.7, ..base(Loss::Simpo) },
            PreferenceLoss { nll_weight: 0.4, ..base(Loss::Sigmoid) },
            PreferenceLoss { nll_weight: 1.5, ..base(Loss::Hinge) },
        ];
        for form in forms {
            let found = form.evaluate(&logprobs());
            for sequence in 0..4 {
                for token in 0..logprobs()[sequence].len() {
                    let at = |step: f64| {
                        let mut moved = logprobs();
                        moved[sequence][token] += step;
                        form.evaluate(&moved).loss
                    };
                    let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                    // Central differences in f64 of a function that is smooth here: rounding of 1e-16 over 2e-6.
                    let found = found.coefficients[sequence][token];
                    assert!((expected - found).abs() < 1e-8, "{form:?}: {expected} {found}");
                }
            }
        }
    }

    #[test]
    fn values_are_those_of_the_papers() {
        // One pair: sums -3 of two tokens and -3 of one, reference -2 and -3.5, so log-ratios -1 and 0.5.
        let pair = vec![vec![-1.0, -2.0], vec![-3.0]];
        let value = |form: PreferenceLoss| form.evaluate(&pair).loss;
        let base = |of| loss(of, 0.5, vec![[-2.0, -3.5]]);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-14, "{found} {expected}");
        let margin: f64 = 0.5 * (-1.0 - 0.5);
        close(value(base(Loss::Sigmoid)), -sigmoid(margin).ln());
        close(
            value(PreferenceLoss { label_smoothing: 0.1, ..base(Loss::Sigmoid) }),
            -0.9 * sigmoid(margin).ln() - 0.1 * sigmoid(-margin).ln(),
        );
        close(value(base(Loss::Hinge)), 1.75);
        // Per token: -0.5 and 0.5.
        close(value(base(Loss::Ipo)), (-1.0f64 - 1.0).powi(2));
        // Per token, without reference: -1.5 and -3.
        close(value(PreferenceLoss { target_margin: 0.2, ..base(Loss::Simpo) }), -sigmoid(0.5 * 1.5 - 0.2).ln());
        close(value(PreferenceLoss { nll_weight: 2.0, ..base(Loss::Hinge) }), 1.75 + 2.0 * 1.5);
    }

    #[test]
    fn extreme_margins_stay_finite() {
        for of in [Loss::Sigmoid, Loss::Ipo, Loss::Hinge, Loss::Simpo] {
            for sign in [1.0, -1.0] {
                let found = loss(of, 1.0, vec![[0.0, sign * 1e4]]).evaluate(&[vec![-sign * 1e4], vec![0.0]]);
                assert!(found.loss.is_finite() && found.coefficients[0][0].is_finite(), "{of:?}");
            }
        }
    }
}
