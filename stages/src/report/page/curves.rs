//! Training step by step, and where it left the margin of every pair.

use maud::{Markup, html};

use super::super::findings::Findings;
use super::super::format::{fixed, percent, scientific, signed};
use super::super::training::{Curve, Margins, Split, Training, thinned};
use super::plot::{Scale, path, place, rows, tick_text, ticks, widen};
use super::{figure, minus};
use crate::contract::StageResult;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 290.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 150.0;
/// More points than this are averaged in groups; more would lie closer than a pixel.
const MOST_POINTS: usize = 240;
/// Up to this many points each gets a dot.
const DOTTED: usize = 60;

/// The figures of training; `None` when neither steps nor margins are there.
///
/// # Errors
/// `Internal` when a curve cannot be thinned.
pub(super) fn section(findings: &Findings) -> StageResult<Option<Markup>> {
    if findings.training.is_none() && findings.margins.is_none() {
        return Ok(None);
    }
    let curves = findings.training.as_ref().map(training).transpose()?;
    Ok(Some(html! {
        section {
            h2 { "Training" }
            @if let Some(curves) = curves { (curves) }
            @if let Some(all) = &findings.margins { (margins(all)) }
        }
    }))
}

fn training(training: &Training) -> StageResult<Markup> {
    let shown: Vec<&Curve> = training.curves.iter().filter(|curve| !curve.points.is_empty()).collect();
    let panels = shown.iter().map(|curve| panel(curve, training.preference)).collect::<StageResult<Vec<Markup>>>()?;
    let averaged = training.steps > MOST_POINTS;
    let caption = html! {
        "The " (training.steps) " optimiser steps (" (fixed(training.epochs, 1)) " epochs)."
        @if training.preference {
            " The loss starts at ln 2 (dashed), where policy and reference agree; margin and accuracy are of each step's own batch."
        }
        " The gradient norm is that before clipping."
        @if averaged { " Each point is the mean of " (training.steps.div_ceil(MOST_POINTS)) " steps." }
    };
    Ok(figure(html! { div class="multiples" { @for panel in panels { (panel) } } }, caption))
}

fn panel(curve: &Curve, preference: bool) -> StageResult<Markup> {
    let points = thinned(&curve.points, MOST_POINTS)?;
    let last = curve.points.last().map_or(0.0, |point| point.1);
    let (name, guide, last) = match curve.name {
        "loss" => ("loss", preference.then_some(std::f64::consts::LN_2), fixed(last, 4)),
        "margin" => ("margin", Some(0.0), signed(last, 4)),
        "accuracy" => ("accuracy", Some(0.5), fixed(last, 2)),
        "grad_norm" => ("gradient norm", None, fixed(last, 3)),
        _ => ("learning rate", None, scientific(last)),
    };
    let fixed_range = matches!(curve.name, "accuracy");
    let from_zero = matches!(curve.name, "grad_norm" | "learning_rate");
    let (mut low, mut high) =
        points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |range, point| widen(range, point.1));
    if let Some(guide) = guide {
        (low, high) = widen((low, high), guide);
    }
    if fixed_range {
        (low, high) = (0.0, 1.0);
    } else {
        let room = if high > low { 0.06 * (high - low) } else { (0.1 * high.abs()).max(1e-6) };
        (low, high) = (if from_zero { 0.0 } else { low - room }, high + room);
    }
    let y = Scale { low, high, from: BOTTOM, to: TOP };
    let ends = (points.first().map_or(0.0, |point| point.0), points.last().map_or(1.0, |point| point.0));
    let x = Scale { low: ends.0, high: ends.1, from: LEFT + 6.0, to: RIGHT - 4.0 };
    let steps: Vec<f64> = ticks(ends.0, ends.1, 5).into_iter().filter(|step| step.fract() == 0.0).collect();
    Ok(html! {
        div class="multiple" {
            h3 { (name) span class="last" { (minus(&last)) } }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("{name} by step")) {
                (rows(&ticks(low, high, 4), (LEFT, RIGHT), &y))
                @if let Some(guide) = guide {
                    line class="guide" x1=(place(LEFT)) x2=(place(RIGHT)) y1=(place(y.at(guide))) y2=(place(y.at(guide))) {}
                }
                @for &step in &steps {
                    text class="tick" x=(place(x.at(step))) y=(place(BOTTOM + 16.0)) text-anchor="middle" { (tick_text(step, &steps)) }
                }
                text class="axis" x=(place(f64::midpoint(LEFT, RIGHT))) y=(place(HEIGHT - 6.0)) text-anchor="middle" { "step" }
                polyline class="curve" points=(path(&points, &x, &y)) {}
                @if points.len() <= DOTTED {
                    @for &(step, value) in &points {
                        circle class="curve-dot" cx=(place(x.at(step))) cy=(place(y.at(value))) r="2.6" {
                            title { "step " (step) ": " (value) }
                        }
                    }
                }
            }
        }
    })
}

fn margins(margins: &Margins) -> Markup {
    let picture = html! { div class="beside" { (strips(margins)) (table(margins)) } };
    let caption = html! {
        "The preference margin of every pair after training: \u{3b2} times how much more the log-probability of the chosen "
        "response rose than that of the rejected one. Before training it is 0 for every pair by definition, and so is the accuracy, the share of pairs with a margin above 0. "
        "Bars mark the means. \u{201c}Chosen likelier\u{201d} compares the log-probability sums themselves, before and after."
    };
    figure(picture, caption)
}

fn table(margins: &Margins) -> Markup {
    html! {
        table class="plain" {
            thead { tr {
                th { "split" } th class="number" { "pairs" } th class="number" { "mean margin" }
                th class="number" { "accuracy" } th class="number" { "chosen likelier" }
            } }
            tbody {
                @for split in &margins.splits {
                    tr {
                        td { (split.name) }
                        td class="number" { (split.margins.len()) }
                        td class="number" { (minus(&signed(split.mean_margin(), 4))) }
                        td class="number" { (percent(split.accuracy())) }
                        td class="number" { (percent(split.likelier_before)) " \u{2192} " (percent(split.likelier_after)) }
                    }
                }
            }
        }
    }
}

fn strips(margins: &Margins) -> Markup {
    const STRIP: f64 = 58.0;
    let all = margins.splits.iter().flat_map(|split| split.margins.iter().copied());
    let (low, high) = all.fold((0.0, 0.0), widen);
    let room = if high > low { 0.05 * (high - low) } else { 1.0 };
    let x = Scale { low: low - room, high: high + room, from: 78.0, to: 480.0 };
    let height = STRIP * margins.splits.len() as f64 + 40.0;
    let bottom = height - 34.0;
    let marks = ticks(x.low, x.high, 6);
    html! {
        svg viewBox=(format!("0 0 490 {}", place(height))) role="img" aria-label="Margins of all pairs after training" {
            @for &mark in &marks {
                line class="grid" x1=(place(x.at(mark))) x2=(place(x.at(mark))) y1="4" y2=(place(bottom)) {}
                text class="tick" x=(place(x.at(mark))) y=(place(bottom + 14.0)) text-anchor="middle" { (tick_text(mark, &marks)) }
            }
            line class="guide" x1=(place(x.at(0.0))) x2=(place(x.at(0.0))) y1="4" y2=(place(bottom)) {}
            text class="axis" x="279" y=(place(height - 5.0)) text-anchor="middle" { "margin after training" }
            @for (index, split) in margins.splits.iter().enumerate() {
                (strip(split, &x, 4.0 + STRIP * (index as f64 + 0.5)))
            }
        }
    }
}

fn strip(split: &Split, x: &Scale, middle: f64) -> Markup {
    // More than a few hundred dots say no more than the first few hundred.
    let every = split.margins.len().div_ceil(600).max(1);
    let mean = x.at(split.mean_margin());
    html! {
        text class="axis" x="70" y=(place(middle + 4.0)) text-anchor="end" { (split.name) }
        @for (index, &margin) in split.margins.iter().enumerate().step_by(every) {
            // Spread over five rows in turn, so that near dots do not hide each other.
            circle class="pair-dot" cx=(place(x.at(margin))) cy=(place(middle + 7.0 * ((index * 2 % 5) as f64 - 2.0))) r="3" {
                title { "pair " (index) ": " (minus(&signed(margin, 4))) }
            }
        }
        line class="mean" x1=(place(mean)) x2=(place(mean)) y1=(place(middle - 22.0)) y2=(place(middle + 22.0)) {}
    }
}
