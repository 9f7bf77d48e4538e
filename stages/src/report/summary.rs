//! The headline numbers as rows (section, item, value): what the terminal prints and the page opens with.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};

use super::evaluation::{Evaluation, Score, Subject};
use super::findings::Findings;
use super::format::{difference, excludes_zero, fixed, percent, signed};
use crate::artifact::{Media, schema};
use crate::contract::{StageError, StageResult};
use crate::metrics::bootstrap::Interval;

/// Between several figures of one value.
pub(super) const SEPARATOR: &str = " | ";

/// One line of the summary.
pub(super) struct Line {
    pub section: &'static str,
    pub item: String,
    pub value: String,
}

/// All lines in reading order.
pub(super) fn lines(findings: &Findings) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut say = |section: &'static str, item: &str, value: String| {
        lines.push(Line { section, item: item.to_owned(), value });
    };
    if let Some(spread) = &findings.spread {
        say("heads", "trials counted", format!("{} of {}", spread.counted, spread.trials));
    }
    if let Some(heads) = &findings.heads
        && let Some((head, score)) = heads.ranked().first()
    {
        say("heads", "best head", format!("{head} (score {})", fixed(*score, 3)));
    }
    if let Some(spread) = &findings.spread {
        say("heads", "Gini of scores", fixed(spread.gini, 3));
    }
    if let Some(masked) = findings.masked {
        let value = match &findings.heads {
            Some(heads) => {
                format!("{masked} of {} ({} %)", heads.len(), fixed(100.0 * masked as f64 / heads.len() as f64, 1))
            }
            None => masked.to_string(),
        };
        say("heads", "heads masked", value);
        if let Some(lowest) = findings.heads.as_ref().and_then(|heads| heads.threshold()) {
            say("heads", "lowest masked score", fixed(lowest, 3));
        }
    }
    if let (Some(before), Some(after)) = (&findings.spread, &findings.trained_spread) {
        say("heads", "Gini of scores, trained", format!("{} -> {}", fixed(before.gini, 3), fixed(after.gini, 3)));
    }
    if let Some(heads) = &findings.head_changes {
        for (name, masked) in [("masked heads", true), ("other heads", false)] {
            if let Some([before, after]) = heads.means(masked) {
                let value = format!("{} -> {}", fixed(before, 4), fixed(after, 4));
                say("heads", &format!("mean score of {name}, trained"), value);
            }
        }
        if let Some(change) = heads.changes.first() {
            let value = format!("{} ({} -> {})", change.head, fixed(change.before, 3), fixed(change.after, 3));
            say("heads", "most changed head, trained", value);
        }
    }
    if let Some(needles) = &findings.needles {
        let cells =
            |cell: &dyn Fn(usize) -> String| (0..needles.series.len()).map(cell).collect::<Vec<_>>().join(SEPARATOR);
        say("needles", "", cells(&|index| needles.series[index].label.to_owned()));
        say("needles", "mean ROUGE-1 recall", cells(&|index| fixed(needles.series[index].mean(), 3)));
        say(
            "needles",
            "trials counted",
            cells(&|index| format!("{}/{}", needles.series[index].counted, needles.series[index].trials())),
        );
        for (series, change) in needles.series.iter().zip(&needles.differences) {
            if let Some(change) = change {
                say("needles", &format!("{} - {}", series.label, needles.series[0].label), compared(change, 3));
            }
        }
    }
    if let Some(pairs) = &findings.pairs {
        say("pairs", "pairs kept", pairs.count.to_string());
        let value =
            format!("{} chosen, {} rejected", fixed(pairs.mean_chosen_tokens, 0), fixed(pairs.mean_rejected_tokens, 0));
        say("pairs", "mean response tokens", value);
    }
    if let Some(training) = &findings.training {
        let section = if training.preference { "DPO" } else { "training" };
        say(section, "steps", format!("{} ({} epochs)", training.steps, fixed(training.epochs, 1)));
        say(
            section,
            "loss, first and last step",
            format!("{} -> {}", fixed(training.first_loss, 4), fixed(training.last_loss, 4)),
        );
    }
    for split in findings.margins.iter().flat_map(|margins| &margins.splits) {
        let pairs = split.margins.len();
        say(
            "DPO",
            &format!("{} margin", split.name),
            format!("0 -> {} (mean of {pairs} pairs)", signed(split.mean_margin(), 4)),
        );
        say("DPO", &format!("{} accuracy", split.name), format!("0 -> {} (margin above 0)", percent(split.accuracy())));
        let value = format!("{} -> {} of pairs", percent(split.likelier_before), percent(split.likelier_after));
        say("DPO", &format!("{} chosen likelier", split.name), value);
    }
    if let Some(evaluation) = &findings.evaluation {
        evaluation_lines(evaluation, &mut say);
    }
    lines
}

fn evaluation_lines(evaluation: &Evaluation, say: &mut impl FnMut(&'static str, &str, String)) {
    say("evaluation", "0 to 100", evaluation.labels.join(SEPARATOR));
    for row in &evaluation.rows {
        let scores: Vec<String> = row.scores.iter().map(|score| value(score.as_ref())).collect();
        let item = match &row.subject {
            Subject::Measure { dataset, length, metric, .. } => format!("{dataset} {length} ({metric})"),
            // The page shows them; here they would repeat most rows.
            Subject::Category { .. } => continue,
            Subject::Average { length: Some(length) } => format!("average {length}"),
            Subject::Average { length: None } => "average".into(),
        };
        say("evaluation", &item, scores.join(SEPARATOR));
    }
    let Some(overall) = evaluation.overall() else { return };
    for (label, change) in evaluation.labels.iter().zip(&overall.differences) {
        if let Some(change) = change {
            let item = format!("{label} - {}, average", evaluation.labels[evaluation.baseline]);
            say("evaluation", &item, compared(change, 1));
        }
    }
}

fn value(score: Option<&Score>) -> String {
    score.map_or_else(|| "-".into(), |score| fixed(score.value, 1))
}

/// A difference with its interval, and what the interval says.
pub(super) fn compared(interval: &Interval, decimals: usize) -> String {
    let verdict = if excludes_zero(interval) { "" } else { ", not told apart from 0" };
    format!("{} (paired 95 %{verdict})", difference(interval, decimals))
}

/// The lines as a table of media `ReportSummary`.
///
/// # Errors
/// `Internal` when the columns do not fit the schema.
pub(super) fn batch(findings: &Findings) -> StageResult<RecordBatch> {
    let lines = lines(findings);
    let column = |of: fn(&Line) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(lines.iter().map(of))) };
    let columns = vec![column(|line| line.section), column(|line| &line.item), column(|line| &line.value)];
    let schema = schema::of(Media::ReportSummary).ok_or_else(|| StageError::internal("a report summary is a table"))?;
    RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("the report summary does not fit its schema: {error}")))
}
