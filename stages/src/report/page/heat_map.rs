//! Retrieval scores, layers across and heads down; masked heads carry a frame.

use maud::{Markup, html};
use retmask_model::heads::Head;

use super::super::format::fixed;
use super::super::heads::Heads;
use super::plot::{Scale, place, tick_text, ticks};
use super::{colour, figure};

const LEFT: f64 = 44.0;
const TOP: f64 = 8.0;

/// The share of the colour scale for a score: its square root, for most scores lie near 0.
fn share(score: f64, best: f64) -> f64 {
    if best > 0.0 { (score / best).sqrt() } else { 0.0 }
}

/// The heat map with its legend.
pub(super) fn section(heads: &Heads) -> Markup {
    let best = heads.ranked().first().map_or(0.0, |(_, score)| *score);
    let picture = html! { (map(heads, best)) (legend(best, heads.masked() > 0)) };
    let caption = html! {
        "Retrieval score of each of the " (heads.len()) " heads: the mean, over the trials counted, of the share of the "
        "needle a head copies. The colour follows the square root of the score."
        @if heads.masked() > 0 { " The " (heads.masked()) " masked heads are framed." }
    };
    html! { section { h2 { "Retrieval scores" } (figure(picture, caption)) } }
}

fn map(heads: &Heads, best: f64) -> Markup {
    let cell = (900.0 / heads.layers as f64).min(640.0 / heads.per_layer as f64).clamp(4.0, 26.0);
    let (width, height) = (cell * heads.layers as f64, cell * heads.per_layer as f64);
    let all = (LEFT + width + 12.0, TOP + height + 38.0);
    // Every index where there is room for it, else every second, fifth or tenth.
    let every =
        |room: f64| [1, 2, 5, 10, 20, 50, 100].into_iter().find(|&every| cell * every as f64 >= room).unwrap_or(200);
    let gap = if cell >= 10.0 { 1.0 } else { 0.4 };
    let order = (0..heads.per_layer)
        .flat_map(|head| (0..heads.layers).map(move |layer| Head { layer: layer as u32, head: head as u32 }));
    let corner = |head: Head| (LEFT + cell * f64::from(head.layer), TOP + cell * f64::from(head.head));
    html! {
        svg viewBox=(format!("0 0 {} {}", place(all.0), place(all.1))) style=(format!("width:{}px", place(all.0)))
            class="map" role="img" aria-label="Heat map of retrieval scores by layer and head" {
            @for head in order.clone() {
                @let (x, y) = corner(head);
                rect class=(colour::fill_class(share(heads.score(head), best))) x=(place(x + gap / 2.0)) y=(place(y + gap / 2.0))
                    width=(place(cell - gap)) height=(place(cell - gap)) {
                    title {
                        "layer " (head.layer) ", head " (head.head) ": " (fixed(heads.score(head), 3))
                        @if heads.is_masked(head) { ", masked" }
                    }
                }
            }
            @for head in order.filter(|&head| heads.is_masked(head)) {
                @let (x, y) = corner(head);
                rect class="masked" x=(place(x + 0.5)) y=(place(y + 0.5)) width=(place(cell - 1.0)) height=(place(cell - 1.0)) {}
            }
            @for layer in (0..heads.layers).step_by(every(18.0)) {
                text class=(if layer / every(18.0) % 2 == 0 { "tick" } else { "tick second" }) x=(place(LEFT + cell * (layer as f64 + 0.5))) y=(place(TOP + height + 14.0)) text-anchor="middle" { (layer) }
            }
            @for head in (0..heads.per_layer).step_by(every(13.0)) {
                text class="tick" x=(place(LEFT - 6.0)) y=(place(TOP + cell * (head as f64 + 0.5) + 3.5)) text-anchor="end" { (head) }
            }
            text class="axis" x=(place(LEFT + width / 2.0)) y=(place(TOP + height + 32.0)) text-anchor="middle" { "layer" }
            text class="axis" x="12" y=(place(TOP + height / 2.0)) text-anchor="middle"
                transform=(format!("rotate(-90 12 {})", place(TOP + height / 2.0))) { "head" }
        }
    }
}

fn legend(best: f64, masked: bool) -> Markup {
    const WIDTH: f64 = 300.0;
    let step = WIDTH / colour::LEVELS as f64;
    let marks = ticks(0.0, best, 6);
    let scale = Scale { low: 0.0, high: 1.0, from: 0.0, to: WIDTH };
    html! {
        svg viewBox="0 0 470 42" style="width:470px" class="wide legend" role="img" aria-label="Colour scale of the score" {
            g transform="translate(44 4)" {
                @for level in 0..colour::LEVELS {
                    rect class=(format!("r{level}")) x=(place(step * level as f64)) y="0" width=(place(step + 0.3)) height="12" {}
                }
                rect class="frame" x="0" y="0" width=(place(WIDTH)) height="12" {}
                @for &mark in &marks {
                    @let x = scale.at(share(mark, best));
                    line class="mark" x1=(place(x)) x2=(place(x)) y1="12" y2="16" {}
                    text class="tick" x=(place(x)) y="28" text-anchor="middle" { (tick_text(mark, &marks)) }
                }
                @if masked {
                    rect class="r0" x="330" y="0" width="12" height="12" {}
                    rect class="masked" x="330" y="0" width="12" height="12" {}
                    text class="axis" x="350" y="10" { "masked" }
                }
            }
        }
    }
}
