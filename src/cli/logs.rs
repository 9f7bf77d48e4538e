//! `retmask logs`: what stages of a run have logged.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::Style;
use retmask_cache::Store;

use super::Settings;
use crate::error::{Error, Result};
use crate::run::{Standing, facts_of, find_run, log_of, maker, run_folders, run_name, stages_of, standing};

/// What `retmask logs` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// STAGE[@RUN], or @RUN for all stages of a run; all of the latest run when left out. Of a stage that was a hit, the
    /// log of the run that made the result
    #[arg(value_name = "STAGE", default_value = "")]
    stage: String,
    /// Go on printing what is logged until the run ends
    #[arg(long, short)]
    follow: bool,
}

/// How often a log is looked at again.
const PAUSE: Duration = Duration::from_millis(200);

/// Executes `retmask logs`.
///
/// # Errors
/// `Input` when there is no such run or stage, or it has no log; `Environment` when a log cannot be read.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let (name, run) = match arguments.stage.rsplit_once('@') {
        Some((name, run)) => (name, Some(run)),
        None => (arguments.stage.as_str(), None),
    };
    let runs = run_folders(&store)?;
    let folder = find_run(&store, &runs, run)?;
    let stages = stages_of(folder)?;
    let logs: Vec<(String, PathBuf)> = if name.is_empty() {
        let logs = stages.iter().map(|stage| (stage.stage.clone(), log_of(folder, &stage.stage)));
        logs.filter(|(_, log)| arguments.follow || log.is_file()).collect()
    } else {
        let Some(stage) = stages.iter().find(|stage| stage.stage == name) else {
            let names = stages.iter().map(|stage| stage.stage.as_str());
            return Err(Error::input(format!("run {} has no stage `{name}`", run_name(folder)))
                .with_hint(crate::pipeline::suggest(name, "its stages", names).join("; ")));
        };
        let mut log = log_of(folder, name);
        if !log.is_file()
            && let Some(key) = &stage.key
            && let Some(by) = maker(&store, key)?
            && let Some(made_in) = runs.iter().find(|folder| run_name(folder) == by.run)
        {
            log = log_of(made_in, &by.stage);
        }
        if !log.is_file() && !arguments.follow {
            return Err(Error::input(format!("stage `{name}` has logged nothing in run {}", run_name(folder))));
        }
        vec![(name.to_owned(), log)]
    };
    let mut tails: Vec<Tail> = logs.into_iter().map(|(stage, path)| Tail { stage, path, read: 0 }).collect();
    let heads = tails.len() > 1;
    let mut last = None;
    loop {
        // Looked at before the logs, so that what is logged last is printed.
        let goes_on = arguments.follow && standing(folder, &facts_of(folder)?)? == Standing::Running;
        for (index, tail) in tails.iter_mut().enumerate() {
            let text = tail.more()?;
            if text.is_empty() {
                continue;
            }
            if heads && last != Some(index) {
                let gap = if last.is_some() { "\n" } else { "" };
                let head = settings.printer.paint(Style::new().bold(), &tail.stage);
                settings.printer.data(&format!("{gap}{head}\n"))?;
                last = Some(index);
            }
            settings.printer.data(&text)?;
        }
        if !goes_on {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// A log, and how far it was read.
struct Tail {
    stage: String,
    path: PathBuf,
    read: u64,
}

impl Tail {
    /// The whole lines that were added; a log that is not there yet has none. What a program wrote that is no text, or
    /// would steer the terminal, is made visible.
    fn more(&mut self) -> Result<String> {
        let failed = |error: std::io::Error| unreadable(&self.path, &error);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read)).and_then(|_| file.read_to_end(&mut bytes)).map_err(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let visible = |character: char| match character {
            '\n' | '\t' => character,
            control if control.is_control() => char::REPLACEMENT_CHARACTER,
            other => other,
        };
        Ok(text.chars().map(visible).collect())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot read the log {}: {error}", path.display()))
}
