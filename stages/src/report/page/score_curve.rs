//! All scores from the best head down, with the mask's threshold, beside the best heads by name.

use maud::{Markup, html};

use super::super::format::fixed;
use super::super::heads::Heads;
use super::colour::Mark;
use super::figure;
use super::plot::{Scale, marker, place, rows, ticks, widen};

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 256.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 488.0;
/// How many heads are listed by name.
const NAMED: usize = 12;

/// The curve and the list.
pub(super) fn section(heads: &Heads) -> Markup {
    let ranked = heads.ranked();
    let zero = ranked.iter().filter(|(_, score)| *score == 0.0).count();
    let picture = html! {
        div class="beside" {
            (curve(heads))
            table class="plain" {
                thead { tr { th { "rank" } th { "head" } th class="number" { "score" } th { "masked" } } }
                tbody {
                    @for (index, (head, score)) in ranked.iter().take(NAMED).enumerate() {
                        tr {
                            td { (index + 1) }
                            td { (head) }
                            td class="number" { (fixed(*score, 3)) }
                            td { @if heads.is_masked(*head) { "yes" } @else { "no" } }
                        }
                    }
                }
            }
        }
    };
    let caption = html! {
        "Scores of all heads from the best down (rank on a logarithmic axis)"
        @if heads.masked() > 0 { "; masked heads are filled" }
        ". " (zero) " of " (heads.len()) " heads have a score of exactly 0."
        @if let Some(lowest) = heads.threshold() {
            " The mask holds every head from " (fixed(lowest, 3)) " upwards."
        } @else if heads.masked() > 0 {
            " The mask is not a threshold on these scores."
        }
        " On the right, the best heads by name (layer-head, from 0)."
    };
    figure(picture, caption)
}

fn curve(heads: &Heads) -> Markup {
    let ranked = heads.ranked();
    let best = ranked.first().map_or(0.0, |(_, score)| *score);
    let (low, high) = widen((0.0, best), if best > 0.0 { best * 1.04 } else { 1.0 });
    let y = Scale { low, high, from: BOTTOM, to: TOP };
    let x = Scale { low: 0.0, high: libm::log10(ranked.len() as f64), from: LEFT + 8.0, to: RIGHT };
    let across = |rank: usize| x.at(libm::log10(rank as f64));
    let size = if ranked.len() > 400 { 4.0 } else { 5.5 };
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Sorted retrieval scores" {
            (rows(&ticks(low, high, 6), (LEFT, RIGHT), &y))
            @for rank in ranks(ranked.len()) {
                line class="mark" x1=(place(across(rank))) x2=(place(across(rank))) y1=(place(BOTTOM)) y2=(place(BOTTOM + 4.0)) {}
                text class="tick" x=(place(across(rank))) y=(place(BOTTOM + 17.0)) text-anchor="middle" { (rank) }
            }
            text class="axis" x=(place(f64::midpoint(LEFT, RIGHT))) y=(place(HEIGHT - 6.0)) text-anchor="middle" { "rank of the head" }
            @if let Some(lowest) = heads.threshold() {
                line class="threshold" x1=(place(LEFT)) x2=(place(RIGHT)) y1=(place(y.at(lowest))) y2=(place(y.at(lowest))) {}
                text class="note" x=(place(RIGHT)) y=(place(y.at(lowest) - 6.0)) text-anchor="end" {
                    (heads.masked()) " heads masked, score \u{2265} " (fixed(lowest, 3))
                }
            }
            // From the tail up, so that the few high ones lie on top.
            @for (index, (head, score)) in ranked.iter().enumerate().rev() {
                @let class = if heads.is_masked(*head) { "dot in" } else { "dot out" };
                g {
                    title { "rank " (index + 1) ": head " (head) ", " (fixed(*score, 3)) }
                    (marker(Mark::Circle, class, across(index + 1), y.at(*score), size))
                }
            }
        }
    }
}

/// 1, 2, 5, 10, 20, 50, … up to `last`.
fn ranks(last: usize) -> Vec<usize> {
    let mut ranks = Vec::new();
    let mut power = 1;
    while power <= last {
        ranks.extend([power, 2 * power, 5 * power].into_iter().filter(|&rank| rank <= last));
        power *= 10;
    }
    ranks
}

#[cfg(test)]
mod tests {
    #[test]
    fn rank_ticks_stop_at_the_last_head() {
        assert_eq!(super::ranks(270), [1, 2, 5, 10, 20, 50, 100, 200]);
        assert_eq!(super::ranks(1), [1]);
    }
}
