//! The learning rate of each step.

use serde::{Deserialize, Serialize};

/// How long the rate climbs from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Warmup {
    Steps(usize),
    /// A share of all steps, rounded up as the reference trainer does.
    Ratio(f64),
}

/// A schedule in the reference trainer's convention: step 0 of a warm-up has rate 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum LearningRate {
    Constant {
        peak: f64,
        warmup: Warmup,
    },
    /// Falls linearly to 0.
    Linear {
        peak: f64,
        warmup: Warmup,
    },
    /// Half a cosine from `peak` to `floor`.
    Cosine {
        peak: f64,
        floor: f64,
        warmup: Warmup,
    },
}

impl LearningRate {
    /// The rate of `step` (from 0) out of `steps`.
    pub fn at(&self, step: usize, steps: usize) -> f64 {
        let (peak, floor, warmup) = match *self {
            Self::Constant { peak, warmup } => (peak, peak, warmup),
            Self::Linear { peak, warmup } => (peak, 0.0, warmup),
            Self::Cosine { peak, floor, warmup } => (peak, floor, warmup),
        };
        let warmup = match warmup {
            Warmup::Steps(count) => count,
            Warmup::Ratio(ratio) => (ratio * steps as f64).ceil() as usize,
        };
        if step < warmup {
            return peak * step as f64 / warmup as f64;
        }
        let progress = ((step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64).min(1.0);
        let share = match self {
            Self::Constant { .. } => return peak,
            Self::Linear { .. } => 1.0 - progress,
            Self::Cosine { .. } => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress)),
        };
        floor + (peak - floor) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmup_climbs_from_zero_and_cosine_falls_to_its_floor() {
        let schedule = LearningRate::Cosine { peak: 1.0, floor: 0.1, warmup: Warmup::Ratio(0.1) };
        let rates: Vec<f64> = (0..=100).map(|step| schedule.at(step, 100)).collect();
        assert_eq!((rates[0], rates[5], rates[10]), (0.0, 0.5, 1.0));
        assert!((rates[55] - 0.55).abs() < 1e-12 && (rates[100] - 0.1).abs() < 1e-12);
        assert!(rates[10..].is_sorted_by(|a, b| a >= b));
        assert_eq!(LearningRate::Linear { peak: 2.0, warmup: Warmup::Steps(0) }.at(3, 4), 0.5);
        let constant = |warmup| LearningRate::Constant { peak: 3.0, warmup };
        assert_eq!(constant(Warmup::Steps(0)).at(9, 4), 3.0);
        assert_eq!([0, 1, 2, 9].map(|step| constant(Warmup::Steps(2)).at(step, 10)), [0.0, 1.5, 3.0, 3.0]);
    }
}
