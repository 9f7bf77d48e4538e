//! Direct preference optimisation (arXiv 2305.18290), equation 7.

use retmask_model::train::{Evaluation, Objective};

/// The sigmoid loss over the pairs of one micro-batch; sequences stand as chosen, rejected, chosen, rejected, …
#[derive(Debug, Clone)]
pub struct DpoLoss {
    /// How strongly the policy is held to the reference.
    pub beta: f64,
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

/// beta times the difference of the log-ratios: positive when the policy prefers the chosen side more than the
/// reference does.
pub fn margin(beta: f64, policy: [f64; 2], reference: [f64; 2]) -> f64 {
    beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]))
}

impl Objective for DpoLoss {
    fn evaluate(&self, logprobs: &[Vec<f64>]) -> Evaluation {
        let weight = 1.0 / self.step_pairs.max(1) as f64;
        let mut evaluation =
            Evaluation { loss: 0.0, coefficients: Vec::new(), statistics: vec![0.0; statistic::COUNT] };
        for (sides, &reference) in logprobs.chunks_exact(2).zip(&self.reference) {
            let policy = [sides[0].iter().sum::<f64>(), sides[1].iter().sum::<f64>()];
            let margin = margin(self.beta, policy, reference);
            // -ln sigmoid(m) = ln(1 + e^-m), without overflow; its slope is -sigmoid(-m).
            let softplus = (-margin).max(0.0) + libm::log1p(libm::exp(-margin.abs()));
            let slope = -self.beta / (1.0 + libm::exp(margin)) * weight;
            evaluation.loss += softplus * weight;
            evaluation.coefficients.push(vec![slope; sides[0].len()]);
            evaluation.coefficients.push(vec![-slope; sides[1].len()]);
            evaluation.statistics[statistic::MARGIN] += margin * weight;
            evaluation.statistics[statistic::ACCURACY] += f64::from(u8::from(margin > 0.0)) * weight;
            evaluation.statistics[statistic::CHOSEN_LOGPROB] += policy[0] * weight;
            evaluation.statistics[statistic::REJECTED_LOGPROB] += policy[1] * weight;
        }
        evaluation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_is_ln_2_and_the_coefficients_are_its_slope() {
        let logprobs = vec![vec![-1.0, -2.0], vec![-3.0], vec![-0.5], vec![-4.0, -0.25]];
        let loss = DpoLoss { beta: 0.1, reference: vec![[-3.0, -3.0], [-0.5, -4.25]], step_pairs: 2 };
        let start = loss.evaluate(&logprobs);
        assert!((start.loss - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(start.statistics[statistic::MARGIN], 0.0);

        let loss = DpoLoss { beta: 0.3, reference: vec![[-2.0, -3.5], [-9.0, -1.0]], step_pairs: 2 };
        let found = loss.evaluate(&logprobs);
        for sequence in 0..4 {
            for token in 0..logprobs[sequence].len() {
                let at = |step: f64| {
                    let mut moved = logprobs.clone();
                    moved[sequence][token] += step;
                    loss.evaluate(&moved).loss
                };
                let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                // Central differences of a smooth function in f64.
                assert!((expected - found.coefficients[sequence][token]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn extreme_margins_stay_finite() {
        for sign in [1.0, -1.0] {
            let loss = DpoLoss { beta: 1.0, reference: vec![[0.0, sign * 1e4]], step_pairs: 1 };
            let found = loss.evaluate(&[vec![0.0], vec![0.0]]);
            assert!(found.loss.is_finite() && found.coefficients[0][0].is_finite());
        }
    }
}
