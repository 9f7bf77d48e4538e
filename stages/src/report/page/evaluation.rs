//! The models side by side: a table with intervals and paired differences, and the same as a picture.

use maud::{Markup, html};

use super::super::evaluation::{Evaluation, Row, Score, Subject};
use super::super::format::{difference, excludes_zero, fixed};
use super::needle_grid::verdict;
use super::plot::{Scale, marker, place, tick_text, ticks, widen};
use super::{colour, figure, minus};

const LABELS: f64 = 180.0;
const WIDTH: f64 = 500.0;

/// The table and the pictures.
pub(super) fn section(evaluation: &Evaluation) -> Markup {
    let baseline = &evaluation.labels[evaluation.baseline];
    let picture = html! {
        (key(evaluation))
        div class="pictures" {
            (dots(evaluation, Panel::Scores))
            @if evaluation.paired { (dots(evaluation, Panel::Differences)) }
        }
    };
    let caption = html! {
        "Scores with their 95\u{a0}% bootstrap intervals"
        @if evaluation.paired {
            ", and the differences to " (baseline) " with paired intervals: both models are resampled by the same examples. "
            "Filled marks are differences whose interval leaves out 0."
        } @else { ". Without the scores of every example there are no paired differences." }
    };
    html! {
        section {
            h2 { "Evaluation" }
            (table(evaluation))
            (figure(picture, caption))
        }
    }
}

/// What a row is called, with its length where it has one.
fn name(subject: &Subject) -> (String, Option<u32>) {
    match subject {
        Subject::Measure { dataset, length, .. } => (dataset.clone(), Some(*length)),
        Subject::Category { name, length } => (name.clone(), Some(*length)),
        Subject::Average { length: Some(length) } => ("average".into(), Some(*length)),
        Subject::Average { length: None } => ("average over lengths".into(), None),
    }
}

fn table(evaluation: &Evaluation) -> Markup {
    let baseline = &evaluation.labels[evaluation.baseline];
    let compared: Vec<usize> =
        (0..evaluation.labels.len()).filter(|&index| evaluation.paired && index != evaluation.baseline).collect();
    let noted = evaluation.rows.iter().any(|row| !row.notes.is_empty());
    html! {
        div class="scroll" {
            table class="plain evaluation" {
                thead { tr {
                    th { "dataset" } th class="number" { "length" } th class="minor" { "metric" } th class="number minor" { "examples" }
                    @for label in &evaluation.labels { th class="number" { (label) } }
                    @for &index in &compared { th class="number" { (evaluation.labels[index]) " \u{2212} " (baseline) } }
                    @if noted { th class="minor" { "notes" } }
                } }
                tbody {
                    @for row in &evaluation.rows {
                        @let (name, length) = name(&row.subject);
                        @let class = match row.subject {
                            Subject::Measure { .. } => "measure",
                            Subject::Category { .. } => "category",
                            Subject::Average { .. } => "average",
                        };
                        tr class=(class) {
                            th scope="row" { (name) }
                            td class="number" { @if let Some(length) = length { (length) } @else { "\u{2013}" } }
                            @if let Subject::Measure { metric, examples, .. } = &row.subject {
                                td class="minor" { (metric.replace('_', " ")) }
                                td class="number minor" { (examples) }
                            } @else { td class="minor" { "mean" } td class="minor" {} }
                            @for score in &row.scores { td class="number" { (score_cell(score.as_ref())) } }
                            @for &index in &compared { td class="number" { (change_cell(row, index)) } }
                            @if noted { td class="minor" { (row.notes.join("; ")) } }
                        }
                    }
                }
            }
        }
        p class="note" {
            "Scores from 0 to 100; the average is the unweighted mean of the categories, a category that of its datasets."
            @if evaluation.partial { " Fewer datasets were evaluated than HELMET averages, so these means are not comparable with its published ones." }
            @if evaluation.paired {
                " Brackets: 95\u{a0}% bootstrap intervals; \u{25b2} and \u{25bc} mark differences whose paired interval leaves out 0, all others are not told apart from 0."
            } @else { " Brackets: 95\u{a0}% bootstrap intervals." }
        }
    }
}

fn score_cell(score: Option<&Score>) -> Markup {
    html! {
        @if let Some(score) = score {
            (fixed(score.value, 1))
            @if let Some((low, high)) = score.interval { span class="interval" { "[" (fixed(low, 1)) ", " (fixed(high, 1)) "]" } }
        } @else { "\u{2013}" }
    }
}

fn change_cell(row: &Row, index: usize) -> Markup {
    let Some(change) = &row.differences[index] else { return html! { "\u{2013}" } };
    let text = minus(&difference(change, 1));
    let (value, interval) = text.split_once(' ').unwrap_or((text.as_str(), ""));
    html! {
        span class=(if excludes_zero(change) { "clear" } else { "unclear" }) {
            (value)
            @if excludes_zero(change) { (verdict(change.value)) }
        }
        span class="interval" { (interval) }
    }
}

/// What a picture shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Panel {
    Scores,
    Differences,
}

/// A point with its interval.
struct Point {
    value: f64,
    interval: Option<(f64, f64)>,
    /// Filled: a score, or a difference told apart from 0.
    clear: bool,
}

fn points(row: &Row, panel: Panel) -> Vec<Option<Point>> {
    match panel {
        Panel::Scores => row
            .scores
            .iter()
            .map(|score| score.map(|score| Point { value: score.value, interval: score.interval, clear: true }))
            .collect(),
        Panel::Differences => row
            .differences
            .iter()
            .map(|change| {
                change.map(|change| Point {
                    value: change.value,
                    interval: Some((change.low, change.high)),
                    clear: excludes_zero(&change),
                })
            })
            .collect(),
    }
}

fn dots(evaluation: &Evaluation, panel: Panel) -> Markup {
    let drawn: Vec<(&Row, Vec<Option<Point>>)> = evaluation
        .rows
        .iter()
        .map(|row| (row, points(row, panel)))
        .filter(|(_, points)| points.iter().any(Option::is_some))
        .collect();
    let band = 9.0 * evaluation.labels.len().max(2) as f64 + 7.0;
    let (top, bottom) = (24.0, 24.0 + band * drawn.len() as f64);
    let (low, high, title) = match panel {
        Panel::Scores => (0.0, 100.0, "score".to_owned()),
        Panel::Differences => {
            let all = drawn.iter().flat_map(|(_, points)| points.iter().flatten());
            let ends = all.flat_map(|point| point.interval.map(|(low, high)| [low, high]).into_iter().flatten());
            let (low, high) = ends.fold((0.0, 0.0), widen);
            let room = (0.06 * (high - low)).max(0.5);
            (low - room, high + room, format!("difference to {}", evaluation.labels[evaluation.baseline]))
        }
    };
    let x = Scale { low, high, from: LABELS, to: WIDTH - 14.0 };
    let marks = ticks(low, high, 7);
    let height = bottom + 22.0;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", place(height))) role="img" aria-label=(format!("{title} by dataset, with intervals")) {
            @for (index, _) in drawn.iter().enumerate().filter(|(_, (row, _))| is_mean(row)) {
                rect class="band" x="0" y=(place(top + band * index as f64)) width=(place(WIDTH)) height=(place(band)) {}
            }
            text class="axis" x=(place(f64::midpoint(LABELS, WIDTH - 14.0))) y="13" text-anchor="middle" { (title) }
            @for &mark in &marks {
                line class="grid" x1=(place(x.at(mark))) x2=(place(x.at(mark))) y1=(place(top)) y2=(place(bottom)) {}
                text class="tick" x=(place(x.at(mark))) y=(place(bottom + 15.0)) text-anchor="middle" { (tick_text(mark, &marks)) }
            }
            @if panel == Panel::Differences {
                line class="guide" x1=(place(x.at(0.0))) x2=(place(x.at(0.0))) y1=(place(top)) y2=(place(bottom)) {}
            }
            @for (index, (row, points)) in drawn.iter().enumerate() {
                (band_of(evaluation, row, points, &x, top + band * index as f64, band))
            }
        }
    }
}

/// Whether a row is a category or an average, set off from single datasets.
fn is_mean(row: &Row) -> bool {
    !matches!(row.subject, Subject::Measure { .. })
}

fn band_of(evaluation: &Evaluation, row: &Row, points: &[Option<Point>], x: &Scale, top: f64, band: f64) -> Markup {
    let (name, length) = name(&row.subject);
    let text = match length {
        Some(length) => format!("{name} {length}"),
        None => name,
    };
    let strong = is_mean(row);
    let drawn = points.iter().flatten().count() as f64;
    let step = (band - 8.0) / drawn.max(1.0);
    let places = points.iter().enumerate().filter_map(|(index, point)| point.as_ref().map(|point| (index, point)));
    html! {
        text class=(if strong { "row-name strong" } else { "row-name" }) x=(place(LABELS - 10.0)) y=(place(top + band / 2.0 + 4.0)) text-anchor="end" {
            (shortened(&text))
            title { (text) }
        }
        @for (order, (index, point)) in places.enumerate() {
            @let y = top + 4.0 + step * (order as f64 + 0.5);
            @let class = colour::series_class(index, evaluation.baseline);
            g class=(class) {
                title {
                    (evaluation.labels[index]) ": " (minus(&fixed(point.value, 1)))
                    @if let Some((low, high)) = point.interval { " [" (minus(&fixed(low, 1))) ", " (minus(&fixed(high, 1))) "]" }
                }
                @if let Some((low, high)) = point.interval {
                    line class="whisker" x1=(place(x.at(low))) x2=(place(x.at(high))) y1=(place(y)) y2=(place(y)) {}
                }
                (marker(colour::mark(index, evaluation.baseline), if point.clear { "point" } else { "point hollow" }, x.at(point.value), y, 7.0))
            }
        }
    }
}

fn key(evaluation: &Evaluation) -> Markup {
    html! {
        ul class="key" {
            @for (index, label) in evaluation.labels.iter().enumerate() {
                li {
                    svg viewBox="0 0 26 12" width="26" height="12" aria-hidden="true" {
                        g class=(colour::series_class(index, evaluation.baseline)) {
                            line class="whisker" x1="1" x2="25" y1="6" y2="6" {}
                            (marker(colour::mark(index, evaluation.baseline), "point", 13.0, 6.0, 8.0))
                        }
                    }
                    (label)
                }
            }
        }
    }
}

/// A name that fits beside its row.
fn shortened(text: &str) -> String {
    const FITS: usize = 27;
    if text.chars().count() <= FITS {
        return text.to_owned();
    }
    // The end holds the length, which tells rows apart.
    let (characters, keep): (Vec<char>, usize) = (text.chars().collect(), FITS - 1);
    let (head, tail) = (&characters[..keep - 10], &characters[characters.len() - 10..]);
    head.iter().chain(['\u{2026}'].iter()).chain(tail).collect()
}
