//! Scores of heads before and after training: a point for each, beside those that changed most.

use maud::{Markup, html};

use super::super::format::{fixed, signed};
use super::super::head_changes::HeadChanges;
use super::super::heads::ScoreSpread;
use super::colour::Mark;
use super::plot::{Scale, marker, place, rows, ticks, widen};
use super::{figure, minus};

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 276.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 488.0;
/// How many heads are listed by name.
const NAMED: usize = 12;

/// The points and the list. `spreads` are those of the scores before and after, where they are given.
pub(super) fn section(heads: &HeadChanges, spreads: Option<[&ScoreSpread; 2]>) -> Markup {
    let picture = html! {
        div class="beside" {
            (points(heads))
            table class="plain" {
                thead { tr { th { "head" } th class="number" { "before" } th class="number" { "after" } th class="number" { "change" } th { "masked" } } }
                tbody {
                    @for change in heads.changes.iter().take(NAMED) {
                        tr {
                            td { (change.head) }
                            td class="number" { (fixed(change.before, 3)) }
                            td class="number" { (fixed(change.after, 3)) }
                            td class="number" { (minus(&signed(change.after - change.before, 3))) }
                            td { @if change.masked { "yes" } @else { "no" } }
                        }
                    }
                }
            }
        }
    };
    let caption = html! {
        "Each head\u{2019}s score before training (across) and after (up); on the line nothing changed. "
        (heads.changed()) " of " (heads.changes.len()) " heads have another score."
        @for (name, masked) in [("masked", true), ("other", false)] {
            @if let Some([before, after]) = heads.means(masked) {
                " Mean of the " (name) " heads: " (fixed(before, 4)) " \u{2192} " (fixed(after, 4)) "."
            }
        }
        @if let Some([before, after]) = spreads {
            " Gini coefficient of all scores: " (fixed(before.gini, 3)) " \u{2192} " (fixed(after.gini, 3)) "."
        }
        " On the right, the heads that changed most."
    };
    html! {
        section {
            h2 { "Heads after training" }
            (figure(picture, caption))
        }
    }
}

fn points(heads: &HeadChanges) -> Markup {
    let best = heads.changes.iter().fold(0.0, |best: f64, change| best.max(change.before).max(change.after));
    let (low, high) = widen((0.0, best), if best > 0.0 { best * 1.04 } else { 1.0 });
    let x = Scale { low, high, from: LEFT + 8.0, to: RIGHT };
    let y = Scale { low, high, from: BOTTOM, to: TOP };
    let size = if heads.changes.len() > 400 { 4.0 } else { 5.5 };
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Scores of heads before and after training" {
            (rows(&ticks(low, high, 6), (LEFT, RIGHT), &y))
            @for tick in ticks(low, high, 6) {
                line class="mark" x1=(place(x.at(tick))) x2=(place(x.at(tick))) y1=(place(BOTTOM)) y2=(place(BOTTOM + 4.0)) {}
                text class="tick" x=(place(x.at(tick))) y=(place(BOTTOM + 17.0)) text-anchor="middle" { (fixed(tick, 2)) }
            }
            text class="axis" x=(place(f64::midpoint(LEFT, RIGHT))) y=(place(HEIGHT - 8.0)) text-anchor="middle" { "score before training" }
            line class="threshold" x1=(place(x.at(low))) y1=(place(y.at(low))) x2=(place(x.at(high))) y2=(place(y.at(high))) {}
            // The largest changes last, so that they lie on top.
            @for change in heads.changes.iter().rev() {
                @let class = if change.masked { "dot in" } else { "dot out" };
                g {
                    title { "head " (change.head) ": " (fixed(change.before, 3)) " \u{2192} " (fixed(change.after, 3)) }
                    (marker(Mark::Circle, class, x.at(change.before), y.at(change.after), size))
                }
            }
        }
    }
}
