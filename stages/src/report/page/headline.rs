//! The key figures above the pictures.

use maud::{Markup, html};

use super::super::evaluation::Row;
use super::super::findings::Findings;
use super::super::format::{difference, excludes_zero, fixed, percent, signed};
use super::minus;
use crate::metrics::bootstrap::Interval;

/// One figure: what it is, the figure, and what to know about it.
struct Figure {
    name: String,
    value: String,
    note: String,
}

/// All key figures that the inputs give.
pub(super) fn section(findings: &Findings) -> Markup {
    let figures: Vec<Figure> =
        [heads(findings), needles(findings), training(findings), evaluation(findings)].into_iter().flatten().collect();
    html! {
        @if !figures.is_empty() {
            dl class="figures" {
                @for figure in figures {
                    div {
                        dt { (figure.name) }
                        dd class="value" { (minus(&figure.value)) }
                        dd { (minus(&figure.note)) }
                    }
                }
            }
        }
    }
}

fn figure(name: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Figure {
    Figure { name: name.into(), value: value.into(), note: note.into() }
}

fn heads(findings: &Findings) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(spread) = &findings.spread {
        figures.push(figure(
            "trials counted",
            format!("{} of {}", spread.counted, spread.trials),
            "whose answer holds the needle",
        ));
    }
    if let Some((head, score)) = findings.heads.as_ref().and_then(|heads| heads.ranked().first().copied()) {
        figures.push(figure("best head", head.to_string(), format!("layer-head, score {}", fixed(score, 3))));
    }
    match (findings.masked, &findings.heads) {
        (Some(masked), Some(heads)) => {
            let share = fixed(100.0 * masked as f64 / heads.len() as f64, 1);
            let from = heads.threshold().map(|lowest| format!(", score from {}", fixed(lowest, 3))).unwrap_or_default();
            figures.push(figure("heads masked", format!("{masked} of {}", heads.len()), format!("{share} %{from}")));
        }
        (Some(masked), None) => figures.push(figure("heads masked", masked.to_string(), "")),
        (None, _) => {}
    }
    if let Some(spread) = &findings.spread {
        figures.push(figure("Gini of the scores", fixed(spread.gini, 3), "0 evenly spread, 1 all in one head"));
    }
    figures
}

fn needles(findings: &Findings) -> Vec<Figure> {
    let Some(needles) = &findings.needles else { return Vec::new() };
    let values: Vec<String> = needles.series.iter().map(|series| fixed(series.mean(), 2)).collect();
    let labels: Vec<&str> = needles.series.iter().map(|series| series.label).collect();
    let mut figures = vec![figure("needle recall", values.join(" / "), labels.join(" / "))];
    for (series, change) in needles.series.iter().zip(&needles.differences) {
        if let Some(change) = change {
            figures.push(compared(format!("recall, {} - {}", series.label, labels[0]), change, 2));
        }
    }
    figures
}

fn training(findings: &Findings) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(pairs) = &findings.pairs {
        let tokens = (fixed(pairs.mean_chosen_tokens, 0), fixed(pairs.mean_rejected_tokens, 0));
        figures.push(figure(
            "pairs kept",
            pairs.count.to_string(),
            format!("mean tokens {} chosen, {} rejected", tokens.0, tokens.1),
        ));
    }
    if let Some(training) = &findings.training {
        let name = if training.preference { "DPO loss" } else { "loss" };
        let value = format!("{} -> {}", fixed(training.first_loss, 3), fixed(training.last_loss, 3));
        figures.push(figure(name, value, format!("first and last of {} steps", training.steps)));
    }
    // Held-out pairs say more than those trained on; without them the training pairs stand in, by name.
    if let Some(split) = findings.margins.as_ref().and_then(|margins| margins.splits.first()) {
        let pairs = split.margins.len();
        let name = &split.name;
        figures.push(figure(
            format!("{name} margin"),
            format!("0 -> {}", signed(split.mean_margin(), 3)),
            format!("mean of {pairs} pairs"),
        ));
        let likelier =
            format!("chosen likelier: {} -> {}", percent(split.likelier_before), percent(split.likelier_after));
        figures.push(figure(
            format!("{name} accuracy"),
            format!("0 -> {}", percent(split.accuracy())),
            format!("margin above 0; {likelier}"),
        ));
    }
    figures
}

fn evaluation(findings: &Findings) -> Vec<Figure> {
    let Some(evaluation) = &findings.evaluation else { return Vec::new() };
    let Some(Row { scores, differences, .. }) = evaluation.overall() else { return Vec::new() };
    let value = |score: &Option<super::super::evaluation::Score>| {
        score.map_or_else(|| "\u{2013}".into(), |score| fixed(score.value, 1))
    };
    let values: Vec<String> = scores.iter().map(value).collect();
    let mut figures = vec![figure("evaluation average", values.join(" / "), evaluation.labels.join(" / "))];
    for (label, change) in evaluation.labels.iter().zip(differences) {
        if let Some(change) = change {
            figures.push(compared(format!("average, {label} - {}", evaluation.labels[evaluation.baseline]), change, 1));
        }
    }
    figures
}

/// A difference: its interval is the note, with what it says.
fn compared(name: String, change: &Interval, decimals: usize) -> Figure {
    let text = difference(change, decimals);
    let (value, interval) = text.split_once(' ').unwrap_or((text.as_str(), ""));
    let verdict = if excludes_zero(change) { "" } else { "; not told apart from 0" };
    figure(name.replace(" - ", " \u{2212} "), value, format!("paired 95\u{a0}% {interval}{verdict}"))
}
