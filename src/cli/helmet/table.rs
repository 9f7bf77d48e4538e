//! `retmask helmet table`: the paper's table from runs.

use std::path::PathBuf;

use retmask_cache::Store;

use super::comparison::Comparison;
use super::formats::{Format, render, report};
use super::published::Published;
use super::systems::systems;
use crate::cli::Settings;
use crate::error::{Error, Result};

/// What `retmask helmet table` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Runs, as `retmask runs` lists them, or stages that scored: [LABEL=]RUN, [LABEL=]STAGE[@RUN]; the instances of a
    /// stage over `matrix.length` are one system, and the first system is what the others are compared with
    #[arg(value_name = "RUN", default_value = "latest")]
    runs: Vec<String>,
    /// How to write it
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Format,
    /// Show the numbers behind each category too
    #[arg(long)]
    datasets: bool,
    /// The label of the system that the others are compared with [default: the first]
    #[arg(long, value_name = "LABEL")]
    baseline: Option<String>,
    /// Published numbers to stand beside: JSON, model -> measure -> length -> score from 0 to 100; or CSV
    #[arg(long, value_name = "FILE")]
    published: Option<PathBuf>,
    /// The model of that file
    #[arg(long, value_name = "NAME", requires = "published")]
    published_model: Option<String>,
    /// The length of a CSV file of categories that does not say it in its name
    #[arg(long, value_name = "TOKENS", requires = "published")]
    published_length: Option<u32>,
    /// Seed of the paired bootstrap behind the intervals of the differences
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

/// Executes `retmask helmet table`. With `--json` an object per row.
///
/// # Errors
/// `Input` when there is no such run, stage or label, or the published numbers cannot be used; `Environment` when a
/// result is lost.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let published = match &arguments.published {
        Some(path) => Some(Published::read(path, arguments.published_model.as_deref(), arguments.published_length)?),
        None => None,
    };
    let store = Store::open(&settings.cache_folder()?)?;
    let mut systems = systems(&store, &arguments.runs)?;
    if let Some(label) = &arguments.baseline {
        let place = systems.iter().position(|system| system.label == *label).ok_or_else(|| {
            let labels: Vec<&str> = systems.iter().map(|system| system.label.as_str()).collect();
            Error::input(format!("no system is called `{label}`"))
                .with_hint(format!("there are: {}", labels.join(", ")))
        })?;
        systems[..=place].rotate_right(1);
    }
    let comparison = Comparison::new(&systems, published.as_ref(), arguments.datasets, arguments.seed);
    let printer = settings.printer;
    if printer.json() {
        return printer.data(&report(&comparison));
    }
    printer.data(&render(&comparison, arguments.format, printer))
}
