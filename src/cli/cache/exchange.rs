//! `retmask cache push` and `pull`: results given to a remote and taken from it, because somebody asks for it.

use std::collections::BTreeMap;

use retmask_cache::{Key, MissReason, Pulled, Pushed, Remote, RowsMoved, Store};
use serde_json::json;

use super::super::{RemoteArguments, Settings};
use super::archive::is_of_run;
use super::items::{self, Meant, short};
use crate::error::{Error, Result};
use crate::output::{Align, Table};
use crate::run::report::bytes;

/// What `retmask cache push` takes.
#[derive(Debug, clap::Args)]
pub struct PushArguments {
    /// A run with all its results and its record, STAGE[@RUN], or at least eight digits of a key
    #[arg(value_name = "ITEM", required = true)]
    items: Vec<String>,
    /// Leave out the rows that the results were put together from
    #[arg(long)]
    no_rows: bool,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// What `retmask cache pull` takes.
#[derive(Debug, clap::Args)]
pub struct PullArguments {
    /// A run with all its results and its record, STAGE@RUN, or a key
    #[arg(value_name = "ITEM", required = true)]
    items: Vec<String>,
    /// Leave out the rows that the results were put together from
    #[arg(long)]
    no_rows: bool,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// One line of what was done.
struct Transfer {
    key: Key,
    name: String,
    state: &'static str,
    files: u64,
    bytes: u64,
}

fn open(arguments: &RemoteArguments) -> Result<Remote> {
    arguments.open()?.ok_or_else(|| {
        Error::input("no remote is named")
            .with_hint("give one with --remote URL or RETMASK_REMOTE, e.g. s3://team/retmask")
    })
}

/// Executes `retmask cache push`.
///
/// # Errors
/// `Input` when nothing is meant by an item or no remote is named; `Environment` when the remote cannot be written, or a
/// result is lost.
pub fn push(arguments: &PushArguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let _in_use = store.begin_use()?;
    let remote = open(&arguments.remote)?;
    let meant = items::find(&store, &arguments.items)?;
    let mut done = Vec::new();
    for (key, name) in meant.results {
        let (pushed, state) = match store.push(&remote, &key, &|| false)? {
            Ok(pushed) => (pushed, if pushed.fresh { "given" } else { "there already" }),
            Err(MissReason::Private) => (Pushed::default(), "private"),
            Err(reason) => {
                return Err(Error::environment(format!("{name} cannot be given: {reason}"))
                    .with_hint("run the pipeline again: what is lost is made again"));
            }
        };
        done.push(Transfer { key, name, state, files: pushed.blobs, bytes: pushed.bytes });
    }
    if !arguments.no_rows {
        let keys: Vec<Key> = done.iter().map(|transfer| transfer.key).collect();
        for scope in items::row_scopes(&store, keys.iter())? {
            let moved = store.push_rows(&remote, &scope, &|| false)?;
            done.push(of_rows(scope, "given", "there already", &moved, settings));
        }
    }
    for run in &meant.runs {
        let folder = store.runs_folder()?.join(run);
        let files = super::archive::files_of(&folder)?;
        store.push_run(&remote, run, &files)?;
    }
    tell(&done, settings)
}

/// Executes `retmask cache pull`.
///
/// # Errors
/// `Input` when nothing is meant by an item or no remote is named; `Environment` when the remote cannot be read, or lacks
/// something that was asked for.
pub fn pull(arguments: &PullArguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let _in_use = store.begin_use()?;
    let remote = open(&arguments.remote)?;
    let (mut done, mut absent) = (Vec::new(), Vec::new());
    for (key, name) in meant_there(&store, &remote, &arguments.items)? {
        let (state, files, bytes) = match store.pull(&remote, &key, &|| false)? {
            Pulled::Known => ("here already", 0, 0),
            Pulled::Arrived { blobs, bytes } => ("taken", blobs, bytes),
            Pulled::Absent { problems } => {
                absent.push(if problems.is_empty() {
                    name.clone()
                } else {
                    format!("{name} ({})", problems.join("; "))
                });
                ("not there", 0, 0)
            }
        };
        done.push(Transfer { key, name, state, files, bytes });
    }
    if !arguments.no_rows {
        let keys: Vec<Key> = done.iter().map(|transfer| transfer.key).collect();
        for scope in items::row_scopes(&store, keys.iter())? {
            let here = store.kept_rows(&scope)?;
            let moved = store.pull_rows(&remote, &scope, &|row| !here.contains(row), &|| false)?;
            done.push(of_rows(scope, "taken", "nothing new", &moved, settings));
        }
    }
    tell(&done, settings)?;
    if absent.is_empty() {
        return Ok(());
    }
    Err(Error::environment(format!("the remote {} has no sound result of {}", remote.address(), absent.join(", "))))
}

/// The results that are meant, in runs that the remote may be first to know.
fn meant_there(store: &Store, remote: &Remote, items: &[String]) -> Result<BTreeMap<Key, String>> {
    let mut results = BTreeMap::new();
    for item in items {
        if let Ok(key) = item.parse::<Key>() {
            results.insert(key, format!("key {}", short(&key)));
            continue;
        }
        let run = item.rsplit_once('@').map_or(item.as_str(), |(_, run)| run);
        if run != "latest" && (item.contains('@') || run.starts_with(|first: char| first.is_ascii_digit())) {
            store.pull_run(remote, run, &is_of_run)?;
        }
        let Meant { results: found, .. } = items::find(store, std::slice::from_ref(item))?;
        results.extend(found);
    }
    Ok(results)
}

/// The line of a scope's rows. What is not sound is warned about: rows only save time.
fn of_rows(scope: Key, some: &'static str, none: &'static str, moved: &RowsMoved, settings: &Settings) -> Transfer {
    for problem in &moved.problems {
        settings.printer.warn(&format!("{problem}; it was left"));
    }
    let state = if moved.segments > 0 { some } else { none };
    Transfer { key: scope, name: format!("{} rows", moved.rows), state, files: moved.segments, bytes: moved.bytes }
}

fn tell(done: &[Transfer], settings: &Settings) -> Result<()> {
    let printer = settings.printer;
    if printer.json() {
        let lines = done.iter().map(|Transfer { key, name, state, files, bytes }| {
            format!("{}\n", json!({ "key": key, "name": name, "state": state, "files": files, "bytes": bytes }))
        });
        return printer.data(&lines.collect::<String>());
    }
    let columns = [("key", Align::Left), ("result", Align::Left), ("state", Align::Left), ("files", Align::Right)];
    let mut table = Table::new(columns.into_iter().chain([("size", Align::Right)]));
    for Transfer { key, name, state, files, bytes: size } in done {
        table.row([short(key), name.clone(), (*state).to_owned(), files.to_string(), bytes(*size)]);
    }
    printer.data(&table.render(printer))
}
