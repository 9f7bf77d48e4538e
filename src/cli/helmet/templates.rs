//! `retmask helmet templates`: the benchmark's own wording, from its own program.

use std::path::PathBuf;

use retmask_stages::helmet::checkout;
use retmask_stages::helmet::dataset;
use retmask_stages::helmet::template::Templates;
use serde_json::Value;

use super::written::Written;
use crate::cli::Settings;
use crate::error::Result;

/// What `retmask helmet templates` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A checkout of HELMET's repository (princeton-nlp/HELMET); its sources are read, never executed
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Where to write the templates; to standard output by default
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Executes `retmask helmet templates`: JSON, dataset -> part -> text.
///
/// # Errors
/// `Input` when a constant is not where HELMET's program has it; `Environment` when a file cannot be read or written.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let templates = Value::Object(checkout::templates(&arguments.from)?);
    let text = format!("{templates:#}\n");
    let read = Templates::from_json(&text, "the templates")?;
    let mut other = Vec::new();
    for dataset in dataset::ALL {
        if !read.of(dataset.name())?.is_benchmarks() {
            other.push(dataset.name());
        }
    }
    match &arguments.out {
        None => settings.printer.data(&text)?,
        Some(path) => {
            let mut written = Written::new(path)?;
            written.text(&text)?;
            written.keep()?;
        }
    }
    let count = dataset::ALL.len();
    if other.is_empty() {
        settings.printer.note(&format!("the wording of all {count} datasets is that of the published numbers"));
    } else {
        let names = other.join(", ");
        settings.printer.warn(&format!("not the wording of the published numbers: {names}"));
    }
    Ok(())
}
