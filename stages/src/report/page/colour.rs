//! The sequential colour scale of heat maps, and the colours and marks of labels.
//!
//! One hue from the page's background to full ink, even in lightness, so that it reads in grey print and with
//! any colour vision; the dark scheme runs from dark to bright.

use std::fmt::Write as _;

/// Steps of the scale.
pub(super) const LEVELS: usize = 25;

/// Anchors from low to high, even in lightness between neighbours.
const LIGHT: [[u8; 3]; 5] = [[244, 246, 248], [190, 215, 236], [107, 168, 213], [33, 107, 174], [9, 42, 94]];
const DARK: [[u8; 3]; 5] = [[30, 35, 42], [25, 62, 102], [33, 110, 172], [105, 178, 229], [226, 242, 255]];

/// Shape drawn for a label's points, so that colour is never the only difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// The step of the scale for a share from 0 to 1.
pub(super) fn level(share: f64) -> usize {
    ((share.clamp(0.0, 1.0) * (LEVELS - 1) as f64).round() as usize).min(LEVELS - 1)
}

/// The class that fills with a step of the scale.
pub(super) fn fill_class(share: f64) -> String {
    format!("r{}", level(share))
}

/// The class of text that stands on a step of the scale.
pub(super) fn text_class(share: f64) -> String {
    format!("t{}", level(share))
}

/// The class of the label at a place: the baseline is grey, the others take colours in turn.
pub(super) fn series_class(index: usize, baseline: usize) -> String {
    if index == baseline { "s0".into() } else { format!("s{}", 1 + others_before(index, baseline) % 6) }
}

/// The mark of the label at a place.
pub(super) fn mark(index: usize, baseline: usize) -> Mark {
    if index == baseline {
        return Mark::Circle;
    }
    [Mark::Square, Mark::Triangle, Mark::Diamond][others_before(index, baseline) % 3]
}

fn others_before(index: usize, baseline: usize) -> usize {
    if index > baseline { index - 1 } else { index }
}

fn scale(anchors: &[[u8; 3]; 5], level: usize) -> [u8; 3] {
    let place = level * (anchors.len() - 1);
    let (below, part) = (place / (LEVELS - 1), place % (LEVELS - 1));
    let above = (below + 1).min(anchors.len() - 1);
    let between = |channel: usize| {
        let (from, to) = (i32::from(anchors[below][channel]), i32::from(anchors[above][channel]));
        let step = (to - from) * part as i32 / (LEVELS - 1) as i32;
        (from + step).clamp(0, 255) as u8
    };
    [between(0), between(1), between(2)]
}

/// Whether dark text reads better on a colour (relative luminance, Rec. 709 weights).
fn is_bright([red, green, blue]: [u8; 3]) -> bool {
    213 * u32::from(red) + 715 * u32::from(green) + 72 * u32::from(blue) > 140_000
}

fn variables(anchors: &[[u8; 3]; 5]) -> String {
    let mut text = String::new();
    for level in 0..LEVELS {
        let colour = scale(anchors, level);
        let ink = if is_bright(colour) { "#111" } else { "#fff" };
        let [red, green, blue] = colour;
        // Writing to a String cannot fail.
        let _ = write!(text, "--r{level}:#{red:02x}{green:02x}{blue:02x};--t{level}:{ink};");
    }
    text
}

/// The style rules of the scale for both schemes; on paper it is always the light one.
pub(super) fn style() -> String {
    let mut text = format!(":root{{{}}}\n", variables(&LIGHT));
    let _ = writeln!(text, "@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}", variables(&DARK));
    for level in 0..LEVELS {
        let _ = write!(text, ".r{level}{{fill:var(--r{level})}}.t{level}{{fill:var(--t{level})}}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_runs_from_end_to_end_in_even_lightness() {
        for anchors in [&LIGHT, &DARK] {
            assert_eq!(scale(anchors, 0), anchors[0]);
            assert_eq!(scale(anchors, LEVELS - 1), anchors[4]);
            let lightness = |level| {
                let [red, green, blue] = scale(anchors, level);
                213 * i32::from(red) + 715 * i32::from(green) + 72 * i32::from(blue)
            };
            let rising = lightness(LEVELS - 1) > lightness(0);
            assert!((1..LEVELS).all(|level| (lightness(level) > lightness(level - 1)) == rising));
        }
    }

    #[test]
    fn shares_outside_the_scale_take_its_ends() {
        assert_eq!((level(-1.0), level(0.0), level(0.5), level(1.0), level(7.0)), (0, 0, 12, 24, 24));
    }

    #[test]
    fn the_baseline_is_grey_wherever_it_stands() {
        let classes = |baseline| (0..3).map(|index| series_class(index, baseline)).collect::<Vec<_>>();
        assert_eq!(classes(0), ["s0", "s1", "s2"]);
        assert_eq!(classes(2), ["s1", "s2", "s0"]);
        assert_eq!(mark(2, 0), Mark::Triangle);
    }
}
