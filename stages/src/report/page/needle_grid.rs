//! Needle recall by context length and depth: the mean over the needles, then each needle; the models side by side.

use maud::{Markup, html};

use super::super::format::{difference, excludes_zero, fixed};
use super::super::needles::{Needles, Series};
use super::plot::place;
use super::{colour, figure, minus};

/// How many needles have grids of their own.
const MOST_NEEDLES: usize = 6;
const LEFT: f64 = 38.0;
const TOP: f64 = 6.0;

/// The grids and the table of means.
pub(super) fn section(needles: &Needles) -> Markup {
    let several = needles.needles.len() > 1;
    let each = several && needles.needles.len() <= MOST_NEEDLES;
    let mut panels: Vec<(String, Option<&u32>)> = vec![match needles.needles[..] {
        [only] => (format!("needle {only}"), None),
        _ => (format!("mean of {} needles", needles.needles.len()), None),
    }];
    if each {
        panels.extend(needles.needles.iter().map(|needle| (format!("needle {needle}"), Some(needle))));
    }
    let picture = html! {
        div class="panels" style=(format!("--columns:{}", needles.series.len())) {
            @for (index, (name, needle)) in panels.iter().enumerate() {
                @for series in &needles.series {
                    div {
                        @if index == 0 { h3 { (series.label) } }
                        p class="panel-name" { (name) }
                        (grid(needles, series, *needle))
                    }
                }
            }
        }
        (legend())
    };
    let caption = html! {
        "ROUGE-1 recall of the needle in the answer, by context length (tokens, across) and depth of the needle (percent, down)."
        @if several && !each { " The " (needles.needles.len()) " needles are shown as their mean only." }
        @if needles.differences.iter().any(Option::is_some) {
            " Differences are of the same trials, with paired 95\u{a0}% bootstrap intervals over trials; "
            "\u{25b2} and \u{25bc} mark those whose interval leaves out 0."
        }
    };
    html! {
        section {
            h2 { "Needle recall" }
            (figure(picture, caption))
            (means(needles))
        }
    }
}

fn means(needles: &Needles) -> Markup {
    html! {
        div class="scroll" {
            table class="plain" {
                thead { tr { th { "model" } th class="number" { "mean recall" } th class="number" { "trials counted" } th { "difference to " (needles.series[0].label) } } }
                tbody {
                    @for (series, change) in needles.series.iter().zip(&needles.differences) {
                        tr {
                            td { (series.label) }
                            td class="number" { (fixed(series.mean(), 3)) }
                            td class="number" { (series.counted) " of " (series.trials()) }
                            td {
                                @if let Some(change) = change {
                                    (minus(&difference(change, 3)))
                                    @if excludes_zero(change) { (verdict(change.value)) }
                                } @else { "\u{2013}" }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The mark of a difference whose interval leaves out 0.
pub(super) fn verdict(value: f64) -> Markup {
    html! {
        @if value > 0.0 { span class="up" title="the interval lies above 0" { " \u{25b2}" } }
        @else { span class="down" title="the interval lies below 0" { " \u{25bc}" } }
    }
}

fn grid(needles: &Needles, series: &Series, needle: Option<&u32>) -> Markup {
    let (columns, rows) = (needles.lengths.len(), needles.depths.len());
    let (wide, high) = ((240.0 / columns as f64).clamp(5.0, 60.0), (140.0 / rows as f64).clamp(5.0, 20.0));
    let (width, height) = (wide * columns as f64, high * rows as f64);
    let (all_width, all_height) = (LEFT + width + 14.0, TOP + height + 18.0);
    let numbers = wide >= 26.0 && high >= 13.0;
    let every = |size: f64, room: f64| (room / size).ceil().max(1.0) as usize;
    html! {
        svg viewBox=(format!("0 0 {} {}", place(all_width), place(all_height))) style=(format!("max-width:{}px", place(all_width * 1.1)))
            role="img" aria-label=(format!("Needle recall of the {} model by length and depth", series.label)) {
            @for (row, &depth) in needles.depths.iter().enumerate() {
                @for (column, &length) in needles.lengths.iter().enumerate() {
                    @let (x, y) = (LEFT + wide * column as f64, TOP + high * row as f64);
                    @match series.cell(needle, length, depth, &needles.needles) {
                        None => { rect class="absent" x=(place(x + 0.5)) y=(place(y + 0.5)) width=(place(wide - 1.0)) height=(place(high - 1.0)) {
                            title { (length) " tokens, depth " (depth) " %: not tried" }
                        } }
                        Some(recall) => {
                            rect class=(colour::fill_class(recall)) x=(place(x + 0.5)) y=(place(y + 0.5)) width=(place(wide - 1.0)) height=(place(high - 1.0)) {
                                title { (length) " tokens, depth " (depth) " %: recall " (fixed(recall, 2)) }
                            }
                            @if numbers {
                                text class=(format!("cell {}", colour::text_class(recall))) x=(place(x + wide / 2.0)) y=(place(y + high / 2.0 + 3.5)) text-anchor="middle" {
                                    (fixed(recall, 2))
                                }
                            }
                        }
                    }
                }
            }
            @for (row, depth) in needles.depths.iter().enumerate().step_by(every(high, 12.0)) {
                text class="tick" x=(place(LEFT - 5.0)) y=(place(TOP + high * (row as f64 + 0.5) + 3.5)) text-anchor="end" { (depth) }
            }
            @for (column, length) in needles.lengths.iter().enumerate().step_by(every(wide, 34.0)) {
                text class="tick" x=(place(LEFT + wide * (column as f64 + 0.5))) y=(place(TOP + height + 13.0)) text-anchor="middle" { (length) }
            }
        }
    }
}

fn legend() -> Markup {
    let step = 200.0 / colour::LEVELS as f64;
    html! {
        svg viewBox="0 0 260 34" style="width:260px" class="wide legend" role="img" aria-label="Colour scale of recall" {
            @for level in 0..colour::LEVELS {
                rect class=(format!("r{level}")) x=(place(38.0 + step * level as f64)) y="2" width=(place(step + 0.3)) height="10" {}
            }
            rect class="frame" x="38" y="2" width="200" height="10" {}
            @for (x, text) in [(38, "0"), (138, "0.5"), (238, "1")] {
                text class="tick" x=(x) y="26" text-anchor="middle" { (text) }
            }
        }
    }
}
