//! `retmask helmet score`: metrics of predictions made by any system.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use retmask_stages::helmet::category;
use retmask_stages::helmet::dataset::{self, Answered, MetricValue, Named};
use retmask_stages::helmet::golds;
use retmask_stages::helmet::score::without_thoughts;
use retmask_stages::helmet_score::{ExampleScore, SummaryRow, aggregate, metrics_of};
use retmask_stages::metrics::bootstrap::RESAMPLES;
use serde_json::{Map, Value, json};

use super::lines::{BadLine, Line, Lines};
use super::written::Written;
use crate::cli::Settings;
use crate::error::{Error, Result};
use crate::output::{Align, Printer, Table};
use crate::pipeline::suggest;

/// What `retmask helmet score` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The dataset, by HELMET's name, with or without the size behind it: `kilt_nq`, `alce_asqa_30`
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// JSON lines with the `output` of a system and what is right
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,
    /// JSON lines with what is right, line by line, where it is not in the predictions
    #[arg(long, value_name = "FILE")]
    gold: Option<PathBuf>,
    /// Where to write the lines of the predictions with their `metrics`, from 0 to 1
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave out what stands before the last `</think>` of an output, as HELMET does for models that think aloud
    #[arg(long)]
    thinking: bool,
    /// Seed of the bootstrap behind the intervals
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

/// Lines read before they are scored together.
const CHUNK: usize = 256;
/// Faults that are listed; there are rarely more kinds of them.
const LISTED: usize = 20;
/// Fields that together name an example: a question asked at several depths, rows of several files put together.
const IDENTITY: [&str; 3] = ["id", "depth", "file"];
/// Fields that a line of predictions and its line of golds must agree on where both have them.
const SHARED: [&str; 4] = ["id", "qid", "depth", "question"];

/// Executes `retmask helmet score`. With `--json` one object, means from 0 to 100.
///
/// # Errors
/// `Input` for an unknown dataset, and with every line that cannot be scored; then nothing is written. `Environment`
/// when a file cannot be read or written.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let name = arguments.dataset.as_str();
    let named = dataset::by_config_name(name).ok_or_else(|| unknown(name))?;
    for read in std::iter::once(&arguments.predictions).chain(&arguments.gold) {
        if let Some(out) = &arguments.out
            && same_file(read, out)
        {
            return Err(Error::input(format!("--out {} is read from; name another file", out.display())));
        }
    }
    let mut scoring = Scoring {
        named,
        thinking: arguments.thinking,
        predictions: Lines::open(&arguments.predictions)?,
        gold: arguments.gold.as_deref().map(Lines::open).transpose()?,
        seen: BTreeMap::new(),
        scores: Vec::new(),
        examples: 0,
        unknown_passages: 0,
        faults: Vec::new(),
    };
    let mut written = arguments.out.as_deref().map(Written::new).transpose()?;
    while scoring.chunk(written.as_mut())? {}
    scoring.finish()?;
    if let Some(written) = written {
        written.keep()?;
    }
    let rows: Vec<SummaryRow> = aggregate(&scoring.scores, RESAMPLES, arguments.seed)
        .into_iter()
        .filter(|row| !row.dataset.is_empty())
        .collect();
    let summary = Summary { name, named, examples: scoring.examples, clusters: scoring.clusters(), rows };
    let printer = settings.printer;
    if printer.json() {
        return printer.data(&format!("{}\n", summary.json()));
    }
    printer.data(&summary.text(printer))?;
    if scoring.unknown_passages > 0 {
        printer.note(&format!(
            "{} rankings name passages that are not judged; these take a rank and gain nothing",
            scoring.unknown_passages
        ));
    }
    summary.not_scored().iter().for_each(|(metric, why)| printer.note(&format!("{metric}: {why}")));
    Ok(())
}

fn unknown(name: &str) -> Error {
    let names = dataset::ALL.iter().map(|dataset| dataset.name());
    let near = dataset::without_size(name).unwrap_or(name);
    Error::input(format!("there is no dataset `{name}`"))
        .with_hint(suggest(near, "HELMET's datasets", names).join("\n        "))
}

/// Whether two paths are one file that exists.
fn same_file(left: &Path, right: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    real(left).zip(real(right)).is_some_and(|(left, right)| left == right)
}

/// The work: two files read line by line, and what came of it.
struct Scoring {
    named: Named,
    thinking: bool,
    predictions: Lines,
    gold: Option<Lines>,
    /// The line of every example that has a name.
    seen: BTreeMap<String, usize>,
    scores: Vec<ExampleScore>,
    examples: u32,
    /// Rankings with ids that no judgment names.
    unknown_passages: usize,
    /// Each with its file, line and field.
    faults: Vec<String>,
}

/// A line of predictions with its line of golds, where those are apart.
struct Pair {
    prediction: Line,
    gold: Option<Line>,
}

impl Scoring {
    /// Scores the next lines; false at the end.
    fn chunk(&mut self, written: Option<&mut Written>) -> Result<bool> {
        let mut pairs = Vec::with_capacity(CHUNK);
        let mut more = true;
        while pairs.len() < CHUNK && more {
            more = self.next_pair(&mut pairs)?;
        }
        let scored: Vec<_> = pairs.par_iter().map(|pair| self.score(pair)).collect();
        let mut lines = Vec::with_capacity(pairs.len());
        for (pair, scored) in pairs.into_iter().zip(scored) {
            match scored {
                Ok(scored) => lines.push(self.keep(pair.prediction, scored)),
                Err(fault) => self.faults.push(fault),
            }
        }
        if let Some(written) = written
            && self.faults.is_empty()
        {
            lines.iter().try_for_each(|row| written.text(&format!("{}\n", Value::Object(row.clone()))))?;
        }
        Ok(more)
    }

    /// Reads the next line of each file; false at the end.
    fn next_pair(&mut self, pairs: &mut Vec<Pair>) -> Result<bool> {
        let prediction = self.predictions.next()?;
        let gold = self.gold.as_mut().map(Lines::next).transpose()?;
        let (prediction, gold) = match (prediction, gold) {
            (None, None | Some(None)) => return Ok(false),
            (Some(prediction), None) => (prediction, None),
            (Some(prediction), Some(Some(gold))) => (prediction, Some(gold)),
            (prediction, _) => {
                self.say_counts(prediction.is_some())?;
                return Ok(false);
            }
        };
        self.examples = self.examples.saturating_add(1);
        let path = self.gold.as_ref().map_or(Path::new(""), Lines::path);
        let bad = |path: &Path, BadLine { number, why }: BadLine| format!("{}:{number}: {why}", path.display());
        let prediction = prediction.map_err(|line| bad(self.predictions.path(), line));
        let gold = gold.transpose().map_err(|line| bad(path, line));
        match (prediction, gold) {
            (Ok(prediction), Ok(gold)) => {
                let pair = Pair { prediction, gold };
                match self.repeated(&pair).or_else(|| self.disagreement(&pair)) {
                    Some(fault) => self.faults.push(fault),
                    None => pairs.push(pair),
                }
            }
            (prediction, gold) => self.faults.extend(prediction.err().into_iter().chain(gold.err())),
        }
        Ok(true)
    }

    /// One file has ended and the other has not: says how many lines each has.
    fn say_counts(&mut self, more_predictions: bool) -> Result<()> {
        let Some(gold) = &mut self.gold else { return Ok(()) };
        let shorter = self.examples as usize;
        // The line that told.
        let mut longer = shorter + 1;
        let rest = if more_predictions { &mut self.predictions } else { gold };
        while rest.next()?.is_some() {
            longer += 1;
        }
        let (predictions, golds) = if more_predictions { (longer, shorter) } else { (shorter, longer) };
        let gold = self.gold.as_ref().map_or(Path::new(""), Lines::path);
        self.faults.push(format!(
            "{} has {predictions} lines and {} has {golds}; they belong together line by line",
            self.predictions.path().display(),
            gold.display()
        ));
        Ok(())
    }

    /// An example that stands there twice.
    fn repeated(&mut self, pair: &Pair) -> Option<String> {
        let field = |name: &str| pair.prediction.row.get(name).or_else(|| pair.gold.as_ref()?.row.get(name));
        field("id")?;
        let identity = Value::from_iter(IDENTITY.map(|name| field(name).cloned().unwrap_or_default())).to_string();
        let line = pair.prediction.number;
        let first = *self.seen.entry(identity).or_insert(line);
        (first != line).then(|| {
            let id = field("id").map(Value::to_string).unwrap_or_default();
            self.at(pair, &format!("field `id`: {id} stands in line {first} already"))
        })
    }

    /// A line of predictions and one of golds that are of different examples.
    fn disagreement(&self, pair: &Pair) -> Option<String> {
        let gold = pair.gold.as_ref()?;
        let differs = |name: &&&str| {
            let values = (pair.prediction.row.get(**name), gold.row.get(**name));
            matches!(values, (Some(here), Some(there)) if here != there)
        };
        let name = SHARED.iter().find(differs)?;
        let path = self.gold.as_ref().map_or(Path::new(""), Lines::path);
        let (here, there) = (&pair.prediction.row[*name], &gold.row[*name]);
        let there = format!("{there} in {}:{}", path.display(), gold.number);
        Some(self.at(pair, &format!("field `{name}`: {here} here, but {there}; the lines are of different examples")))
    }

    fn at(&self, pair: &Pair, why: &str) -> String {
        format!("{}:{}: {why}", self.predictions.path().display(), pair.prediction.number)
    }

    /// The metrics of a line, or its fault.
    fn score(&self, pair: &Pair) -> std::result::Result<Scored, String> {
        let dataset = self.named.dataset;
        let output = golds::output(&pair.prediction.row).map_err(|fault| self.at(pair, &fault.to_string()))?;
        let output = if self.thinking { without_thoughts(output) } else { output };
        let source = pair.gold.as_ref().unwrap_or(&pair.prediction);
        let golds = dataset.golds().read(&source.row).map_err(|fault| {
            let lines = if pair.gold.is_some() { self.gold.as_ref() } else { None }.unwrap_or(&self.predictions);
            format!("{}:{}: {fault}", lines.path().display(), source.number)
        })?;
        let answered = Answered { output, answers: &golds.answers, facts: &golds.facts };
        let metrics = metrics_of(dataset, answered).map_err(|why| self.at(pair, &format!("field `output`: {why}")))?;
        let cluster = |name: &str| source.row.get(name).or_else(|| pair.prediction.row.get(name));
        // Of RAG and Re-rank, the rows of one question are no independent examples.
        let cluster = match category::of(dataset.name()).map(|category| category.name) {
            Some("RAG") => cluster("id").or_else(|| cluster("question")),
            Some("Re-rank") => cluster("qid"),
            _ => None,
        };
        let cluster = cluster.map_or_else(|| format!("line {}", pair.prediction.number), Value::to_string);
        Ok(Scored { metrics, cluster, unknown_passage: golds.names_unknown_passage(output) })
    }

    /// Takes the scores of a line and gives it with them.
    fn keep(&mut self, line: Line, scored: Scored) -> Map<String, Value> {
        let example = u32::try_from(line.number).unwrap_or(u32::MAX);
        self.unknown_passages += usize::from(scored.unknown_passage);
        let mut row = line.row;
        row.insert(
            "metrics".into(),
            scored.metrics.iter().map(|&(name, value)| (name.to_owned(), json!(value))).collect(),
        );
        self.scores.extend(scored.metrics.into_iter().map(|(metric, value)| ExampleScore {
            dataset: self.named.dataset.name().into(),
            length: 0,
            example,
            cluster: scored.cluster.clone(),
            metric,
            value,
        }));
        row
    }

    /// All faults at once, or that there was nothing.
    fn finish(&self) -> Result<()> {
        if self.faults.is_empty() && self.examples == 0 {
            return Err(Error::input(format!("{} holds no prediction", self.predictions.path().display())));
        }
        let Some((first, others)) = self.faults.split_first() else { return Ok(()) };
        let mut message = first.clone();
        others.iter().take(LISTED - 1).for_each(|fault| message += &format!("\n{fault}"));
        if self.faults.len() > LISTED {
            message += &format!("\nand {} more", self.faults.len() - LISTED);
        }
        Err(Error::input(message)
            .with_hint("nothing was scored: a mean over the other lines would be of other examples"))
    }

    /// How many independent units the examples are.
    fn clusters(&self) -> usize {
        let mut clusters: Vec<&str> = self.scores.iter().map(|score| score.cluster.as_str()).collect();
        clusters.sort_unstable();
        clusters.dedup();
        clusters.len()
    }
}

/// What came of a line.
struct Scored {
    metrics: Vec<MetricValue>,
    cluster: String,
    unknown_passage: bool,
}

/// What is said of the file as a whole.
struct Summary<'a> {
    name: &'a str,
    named: Named,
    examples: u32,
    clusters: usize,
    /// Means from 0 to 100.
    rows: Vec<SummaryRow>,
}

impl Summary<'_> {
    /// The metrics that need a model beside the evaluated one, and what they need.
    fn not_scored(&self) -> Vec<(&'static str, String)> {
        let outside = self.named.dataset.outside().filter(|_| self.named.in_category);
        let metrics = outside.map_or(&[][..], |outside| outside.metrics());
        let why = |needs: &str| format!("not scored: needs {needs}");
        metrics.iter().map(|&metric| (metric, why(outside.map_or("", |outside| outside.needs())))).collect()
    }

    fn category(&self) -> Option<&'static str> {
        category::of(self.named.dataset.name()).filter(|_| self.named.in_category).map(|category| category.name)
    }

    fn reported(&self, row: &SummaryRow) -> bool {
        row.primary && self.named.in_category
    }

    fn json(&self) -> Value {
        let by_metric = |value: &dyn Fn(&SummaryRow) -> Value| -> Map<String, Value> {
            self.rows.iter().map(|row| (row.metric.to_owned(), value(row))).collect()
        };
        let reported = self.rows.iter().filter(|row| self.reported(row)).map(|row| row.metric);
        json!({
            "dataset": self.name,
            "scored_as": self.named.dataset.name(),
            "category": self.category(),
            "examples": self.examples,
            "clusters": self.clusters,
            "metrics": by_metric(&|row| json!(row.interval.value)),
            "intervals": by_metric(&|row| json!([row.interval.low, row.interval.high])),
            "reported": reported.collect::<Vec<_>>(),
            "not_scored": Map::from_iter(self.not_scored().into_iter().map(|(name, why)| (name.into(), why.into()))),
        })
    }

    fn text(&self, printer: Printer) -> String {
        let category = self.category().map(|category| format!(" ({category})")).unwrap_or_default();
        let clusters = match self.clusters == self.examples as usize {
            true => String::new(),
            false => format!(" of {} questions", self.clusters),
        };
        let examples = if self.examples == 1 { "1 example".into() } else { format!("{} examples", self.examples) };
        let mut table = Table::new([
            ("metric", Align::Left),
            ("mean", Align::Right),
            ("95 % interval", Align::Right),
            ("", Align::Left),
        ]);
        for row in &self.rows {
            let interval = format!("{:.2} to {:.2}", row.interval.low, row.interval.high);
            let reported = if self.reported(row) { "reported by HELMET" } else { "" };
            table.row([row.metric, &format!("{:.2}", row.interval.value), &interval, reported]);
        }
        format!("{}{category}: {examples}{clusters}\n\n{}", self.name, table.render(printer))
    }
}
