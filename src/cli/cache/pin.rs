//! `retmask cache pin` and `unpin`: results that are kept whatever happens.

use retmask_cache::{Lookup, Store};
use serde_json::json;

use super::super::Settings;
use super::items::{self, short};
use crate::error::{Error, Result};
use crate::output::{Align, Table};

/// What `retmask cache pin` and `unpin` take.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A run, STAGE[@RUN], or at least eight digits of a key
    #[arg(value_name = "ITEM", required = true)]
    items: Vec<String>,
    /// Why, for those who read `retmask cache ls --pinned --json` [default: what was named]
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Executes `retmask cache pin`.
///
/// # Errors
/// `Input` when nothing is meant by an item; `Environment` when a result is lost or the store cannot be changed.
pub fn pin(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let mut changed = Vec::new();
    for (key, name) in items::find(&store, &arguments.items)?.results {
        let fresh = store.pin(&key, arguments.note.as_deref().unwrap_or(&name))?;
        // Pinned first: what is there now stays.
        if let Lookup::Miss(reason) = store.lookup(&key)? {
            if fresh {
                store.unpin(&key)?;
            }
            return Err(Error::environment(format!("{name} cannot be pinned: {reason}"))
                .with_hint("run the pipeline again: what is lost is made again"));
        }
        changed.push((key, name, fresh));
    }
    tell(&changed, ["pinned", "pinned before"], settings)
}

/// Executes `retmask cache unpin`.
///
/// # Errors
/// `Input` when nothing is meant by an item; `Environment` when the store cannot be changed.
pub fn unpin(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let mut changed = Vec::new();
    for (key, name) in items::find(&store, &arguments.items)?.results {
        let was = store.unpin(&key)?;
        changed.push((key, name, was));
    }
    tell(&changed, ["unpinned", "was not pinned"], settings)
}

fn tell(changed: &[(retmask_cache::Key, String, bool)], words: [&str; 2], settings: &Settings) -> Result<()> {
    let printer = settings.printer;
    let word = |did: bool| if did { words[0] } else { words[1] };
    if printer.json() {
        let lines = changed.iter().map(|(key, name, did)| json!({ "key": key, "name": name, "state": word(*did) }));
        return printer.data(&lines.map(|line| format!("{line}\n")).collect::<String>());
    }
    let mut table = Table::new([("key", Align::Left), ("result", Align::Left), ("state", Align::Left)]);
    for (key, name, did) in changed {
        table.row([short(key), name.clone(), word(*did).to_owned()]);
    }
    printer.data(&table.render(printer))
}
