//! Numbers as people read them, the same on the page and in the terminal.

use crate::metrics::bootstrap::Interval;

/// A number with a fixed count of decimals, never `-0.0`.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|digit| matches!(digit, '0' | '.')) => rest.to_owned(),
        _ => text,
    }
}

/// A number with its sign, `+` included; 0 has none.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let zero = text.chars().all(|digit| matches!(digit, '0' | '.'));
    if zero || text.starts_with('-') { text } else { format!("+{text}") }
}

/// A share from 0 to 1 in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", fixed(100.0 * share, 0))
}

/// A difference with its interval: `+1.2 [-0.3, 2.7]`.
pub(super) fn difference(interval: &Interval, decimals: usize) -> String {
    format!(
        "{} [{}, {}]",
        signed(interval.value, decimals),
        fixed(interval.low, decimals),
        fixed(interval.high, decimals)
    )
}

/// Whether an interval leaves out 0, so that the sign of the difference is not in doubt at its level.
pub(super) fn excludes_zero(interval: &Interval) -> bool {
    interval.low > 0.0 || interval.high < 0.0
}

/// A learning rate or another very small number: `5.0e-7`.
pub(super) fn scientific(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_a_negative_zero() {
        assert_eq!(fixed(-0.004, 2), "0.00");
        assert_eq!(fixed(-0.006, 2), "-0.01");
        assert_eq!(signed(0.04, 1), "0.0");
        assert_eq!(signed(1.25, 1), "+1.2");
        assert_eq!(signed(-1.0, 1), "-1.0");
        assert_eq!(scientific(5e-7), "5.0e-7");
        assert_eq!(percent(0.625), "62 %");
    }

    #[test]
    fn an_interval_that_touches_zero_does_not_exclude_it() {
        let interval = |low, high| Interval { value: 0.5, low, high };
        assert!(!excludes_zero(&interval(0.0, 1.0)));
        assert!(excludes_zero(&interval(0.1, 1.0)));
        assert!(excludes_zero(&interval(-1.0, -0.1)));
        assert_eq!(difference(&interval(-0.04, 1.0), 1), "+0.5 [0.0, 1.0]");
    }
}
