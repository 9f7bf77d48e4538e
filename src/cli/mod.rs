//! The command line: what was typed. What it means is in [`settings`]; each command has its own file.

mod cache;
mod check;
mod completions;
mod diff;
mod explain;
mod export;
mod graph;
mod helmet;
mod init;
mod lock;
mod logs;
mod man;
mod model;
mod plan;
mod remote;
mod run;
mod runs;
mod schema;
mod settings;
mod show;
mod status;
mod why;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use remote::RemoteArguments;
pub use settings::Settings;

use crate::error::{Error, Result};
use crate::memory;
use crate::output::{ColorChoice, Printer};
use crate::pipeline::{self, Pipeline, StageIndex};

/// From attention-head interpretability to better long-context models, as a cached declarative pipeline.
#[derive(Debug, Parser)]
#[command(name = "retmask", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: GlobalArguments,
    #[command(subcommand)]
    command: Command,
}

/// Flags every command takes, as typed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArguments {
    /// The folder of the result store [default: retmask in the user's cache folder]
    #[arg(long, global = true, value_name = "DIR", env = "RETMASK_CACHE")]
    cache: Option<PathBuf>,
    /// Threads for computing [default: RAYON_NUM_THREADS, else the CPUs this process may use]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Write machine-readable JSON: data on standard output, errors on standard error
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing on standard error but errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a pipeline; what is in the store already is not computed again
    Run(run::Arguments),
    /// Say what a run would do and why, without doing it
    Plan(plan::Arguments),
    /// Say why a stage is a hit or will run, and what it will cost
    Explain(explain::Arguments),
    /// Say where an artifact, or a row of one, comes from
    Why(why::Arguments),
    /// Write down what the sources from the Hugging Face hub are now, for `run --locked`
    Lock(lock::Arguments),
    /// Show an artifact as a table
    Show(show::Arguments),
    /// Copy an artifact out of the store
    Export(export::Arguments),
    /// List runs, the latest first
    Runs(runs::Arguments),
    /// Say what runs now, how far it is and what it waits for
    Status(status::Arguments),
    /// Print what stages of a run have logged
    Logs(logs::Arguments),
    /// Say how two runs differ: parameters, masks, scores of heads, metrics, pairs
    Diff(diff::Arguments),
    /// Look after the result store: list, measure, verify, clean up
    Cache(cache::Arguments),
    /// Draw a pipeline's stages and what flows between them
    Graph(graph::Arguments),
    /// Check a pipeline file and say what is wrong with it
    Check(check::Arguments),
    /// Write a commented pipeline for a model
    Init(init::Arguments),
    /// Write the JSON schema of a pipeline file, for editors
    Schema(schema::Arguments),
    /// Ask a model directly
    Model(model::Arguments),
    /// The HELMET benchmark outside of pipelines: score predictions of any system
    Helmet(helmet::Arguments),
    /// Write what a shell needs to complete commands and flags
    Completions(completions::Arguments),
    /// Write the manual page
    Man(man::Arguments),
}

impl Command {
    /// Whether it reads and writes records and little else; a run does, until a stage begins.
    const fn is_light(&self) -> bool {
        !matches!(self, Self::Show(_) | Self::Diff(_) | Self::Model(_) | Self::Helmet(_))
    }
}

/// A pipeline file and what overrides it.
#[derive(Debug, Clone, Args)]
pub struct PipelineArguments {
    /// The pipeline file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Override a value of the file, e.g. `--set params.tau=0.2`; may be given more than once
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

impl PipelineArguments {
    /// Reads and checks the pipeline.
    ///
    /// # Errors
    /// `Input` with every fault of the file and its place.
    pub fn read(&self) -> Result<Pipeline> {
        pipeline::read(&self.file, &self.set)
    }
}

/// The stages of a pipeline that are wanted.
#[derive(Debug, Clone, Args)]
pub struct OnlyArguments {
    /// Only the stages whose names match, and all they need; `*` and `?` stand for any characters, brackets for
    /// themselves, e.g. `--only 'helmet[mask=random*]'`; may be given more than once
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
}

/// The stages that are to run although their results are there.
#[derive(Debug, Clone, Args)]
pub struct ForceArguments {
    /// Run the stages whose names match again, whatever is in the store; patterns as for --only
    #[arg(long, value_name = "GLOB")]
    force: Vec<String>,
    /// Run the stages whose names match again, and all that read their results
    #[arg(long, value_name = "GLOB")]
    from: Vec<String>,
}

impl ForceArguments {
    /// The stages that are meant.
    ///
    /// # Errors
    /// `Input` for a pattern that names no stage.
    pub fn stages(&self, pipeline: &Pipeline) -> Result<BTreeSet<StageIndex>> {
        let mut stages = pipeline.from(pipeline.named("--from ", &self.from)?);
        stages.extend(pipeline.named("--force ", &self.force)?);
        Ok(stages)
    }
}

/// Parses the command line, runs the command, reports its error and gives the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let printer = Printer::new(arguments.global.color, arguments.global.quiet, arguments.global.json);
    settings::install_panic_message();
    if !arguments.command.is_light() {
        memory::let_grow();
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let settings = Settings::resolve(&arguments.global, printer)?;
        execute(&arguments.command, &settings)
    }));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            printer.error(&error);
            ExitCode::from(error.exit_code())
        }
        // The panic hook has already said what happened.
        Err(_) => ExitCode::from(Error::internal("").exit_code()),
    }
}

/// The commands as they are declared.
fn command() -> clap::Command {
    Arguments::command()
}

fn execute(command: &Command, settings: &Settings) -> Result<()> {
    match command {
        Command::Run(arguments) => run::execute(arguments, settings),
        Command::Plan(arguments) => plan::execute(arguments, settings),
        Command::Explain(arguments) => explain::execute(arguments, settings),
        Command::Why(arguments) => why::execute(arguments, settings),
        Command::Lock(arguments) => lock::execute(arguments, settings),
        Command::Show(arguments) => show::execute(arguments, settings),
        Command::Export(arguments) => export::execute(arguments, settings),
        Command::Runs(arguments) => runs::execute(arguments, settings),
        Command::Status(arguments) => status::execute(arguments, settings),
        Command::Logs(arguments) => logs::execute(arguments, settings),
        Command::Diff(arguments) => diff::execute(arguments, settings),
        Command::Cache(arguments) => cache::execute(arguments, settings),
        Command::Graph(arguments) => graph::execute(arguments, settings),
        Command::Check(arguments) => check::execute(arguments, settings),
        Command::Init(arguments) => init::execute(arguments, settings),
        Command::Schema(arguments) => schema::execute(arguments, settings),
        Command::Model(arguments) => model::execute(arguments, settings),
        Command::Helmet(arguments) => helmet::execute(arguments, settings),
        Command::Completions(arguments) => completions::execute(arguments, settings),
        Command::Man(arguments) => man::execute(arguments, settings),
    }
}
