//! What training minimises, as a function of token log-probabilities alone.

/// The value of an objective and how it depends on each log-probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    pub loss: f64,
    /// Per sequence, per scored token: the derivative of the loss by its log-probability.
    pub coefficients: Vec<Vec<f64>>,
    /// What the objective wants averaged over the step and written down, in its own order.
    pub statistics: Vec<f64>,
}

/// A loss over the scored tokens of one micro-batch. Losses and statistics of the micro-batches of a step are
/// added, so an objective divides by the size of the whole step.
pub trait Objective {
    /// `logprobs` holds, per sequence in order, the log-probability of each scored token.
    fn evaluate(&self, logprobs: &[Vec<f64>]) -> Evaluation;
}

/// Mean negative log-probability over the scored tokens of a step.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy {
    /// Scored tokens of the whole step.
    pub step_tokens: usize,
}

impl Objective for CrossEntropy {
    fn evaluate(&self, logprobs: &[Vec<f64>]) -> Evaluation {
        let weight = 1.0 / self.step_tokens.max(1) as f64;
        let sum: f64 = logprobs.iter().flatten().sum();
        Evaluation {
            loss: -sum * weight,
            coefficients: logprobs.iter().map(|sequence| vec![-weight; sequence.len()]).collect(),
            statistics: Vec::new(),
        }
    }
}
