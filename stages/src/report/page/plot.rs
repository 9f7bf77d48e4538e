//! Scales, ticks and the few shapes all figures are made of.

use maud::{Markup, html};

use super::colour::Mark;

/// A straight map from values to picture coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
}

impl Scale {
    /// The place of a value; a scale without extent puts everything in its middle.
    pub fn at(&self, value: f64) -> f64 {
        if self.high <= self.low {
            return f64::midpoint(self.from, self.to);
        }
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

/// A coordinate with at most two decimals: finer than any screen, and short.
pub(super) fn place(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// Round values within `low..=high`, 1, 2 or 5 times a power of ten apart, about `wanted` of them.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let extent = high - low;
    if !extent.is_finite() || extent <= 0.0 || wanted == 0 {
        return vec![low];
    }
    let least = extent / wanted as f64;
    let mut power = 1.0_f64;
    while power > least {
        power /= 10.0;
    }
    while power * 10.0 <= least {
        power *= 10.0;
    }
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|&step| step >= least);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    // At most about `wanted` of them: the step is no smaller than the wanted one.
    let count = ((last - first).max(0.0) as usize).min(10 * wanted);
    (0..=count).map(|index| (first + index as f64) * step).collect()
}

/// Extends a range to contain `value`.
pub(super) fn widen((low, high): (f64, f64), value: f64) -> (f64, f64) {
    (low.min(value), high.max(value))
}

/// A tick as text: as many decimals as the step between ticks needs; very small ones in powers of ten.
pub(super) fn tick_text(value: f64, ticks: &[f64]) -> String {
    let step = match ticks {
        [first, second, ..] => second - first,
        _ => value.abs(),
    };
    if value == 0.0 {
        return "0".into();
    }
    if step < 1e-3 {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e").replace('-', "\u{2212}");
    }
    let decimals = (0..=3).find(|&decimals| step * [1.0, 10.0, 100.0, 1000.0][decimals] >= 0.999).unwrap_or(3);
    super::minus(&super::super::format::fixed(value, decimals))
}

/// A mark of about `size` across, centred at a place.
pub(super) fn marker(mark: Mark, class: &str, x: f64, y: f64, size: f64) -> Markup {
    let half = size / 2.0;
    let points = |corners: &[(f64, f64)]| {
        corners.iter().map(|(dx, dy)| format!("{},{}", place(x + dx), place(y + dy))).collect::<Vec<_>>().join(" ")
    };
    html! {
        @match mark {
            Mark::Circle => { circle class=(class) cx=(place(x)) cy=(place(y)) r=(place(half)) {} }
            Mark::Square => {
                rect class=(class) x=(place(x - half * 0.88)) y=(place(y - half * 0.88)) width=(place(size * 0.88)) height=(place(size * 0.88)) {}
            }
            Mark::Triangle => {
                polygon class=(class) points=(points(&[(0.0, -half * 1.15), (half * 1.1, half * 0.85), (-half * 1.1, half * 0.85)])) {}
            }
            Mark::Diamond => {
                polygon class=(class) points=(points(&[(0.0, -half * 1.2), (half * 1.2, 0.0), (0.0, half * 1.2), (-half * 1.2, 0.0)])) {}
            }
        }
    }
}

/// The points of a line.
pub(super) fn path(points: &[(f64, f64)], x: &Scale, y: &Scale) -> String {
    let points = points.iter().map(|&(across, up)| format!("{},{}", place(x.at(across)), place(y.at(up))));
    points.collect::<Vec<_>>().join(" ")
}

/// Horizontal grid lines with their values on the left.
pub(super) fn rows(ticks: &[f64], x: (f64, f64), y: &Scale) -> Markup {
    html! {
        @for &tick in ticks {
            line class="grid" x1=(place(x.0)) x2=(place(x.1)) y1=(place(y.at(tick))) y2=(place(y.at(tick))) {}
            text class="tick" x=(place(x.0 - 6.0)) y=(place(y.at(tick) + 3.5)) text-anchor="end" { (tick_text(tick, ticks)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(0.0, 100.0, 4), [0.0, 50.0, 100.0]);
        assert_eq!(ticks(3.0, 3.0, 4), [3.0]);
        assert_eq!(ticks(1.0, 16.0, 5), [5.0, 10.0, 15.0]);
        assert_eq!(ticks(f64::NEG_INFINITY, 1.0, 5), [f64::NEG_INFINITY]);
    }

    #[test]
    fn tick_texts_have_the_decimals_of_their_step() {
        assert_eq!(tick_text(0.6000000000000001, &[0.0, 0.2]), "0.6");
        assert_eq!(tick_text(0.25, &[0.0, 0.25]), "0.2");
        assert_eq!(tick_text(-5.0, &[-5.0, 0.0]), "\u{2212}5");
        assert_eq!(tick_text(2e-6, &[0.0, 2e-6]), "2e\u{2212}6");
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([place(1.0), place(-0.001), place(2.345), place(10.0)], ["1", "0", "2.35", "10"].map(String::from));
    }

    #[test]
    fn a_scale_without_extent_uses_its_middle() {
        let scale = Scale { low: 2.0, high: 2.0, from: 0.0, to: 10.0 };
        assert_eq!(scale.at(2.0), 5.0);
    }
}
