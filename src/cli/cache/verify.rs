//! `retmask cache verify`: whether every stored file is what it was.

use retmask_cache::Store;
use serde_json::json;

use super::super::Settings;
use crate::error::{Error, Result};
use crate::run::report::bytes;

/// What `retmask cache verify` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Put damaged files aside and remove results that lost a file, so that the next run makes them again
    #[arg(long)]
    repair: bool,
}

/// Executes `retmask cache verify`. With `--json` one object.
///
/// # Errors
/// `Environment` when something is wrong and was not put right, or the store cannot be read.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = settings.printer;
    let check = store.check(arguments.repair)?;
    let left = check.problems.iter().filter(|problem| problem.repair.is_none()).count();
    if printer.json() {
        let problems = check.problems.iter().map(
            |problem| json!({ "path": problem.path.display().to_string(), "what": problem.what, "repair": problem.repair }),
        );
        let object = json!({
            "records": check.records, "blobs": check.blobs, "bytes": check.bytes, "row_segments": check.segments, "unknown_records": check.unknown,
            "problems": problems.collect::<Vec<_>>(),
        });
        printer.data(&format!("{object}\n"))?;
    } else {
        let mut text = String::new();
        for problem in &check.problems {
            text += &format!("{}\n  {}\n", problem.path.display(), problem.what);
            if let Some(repair) = &problem.repair {
                text += &format!("  {repair}\n");
            }
        }
        text +=
            &format!("{} results and {} stored files ({}) are sound", check.records, check.blobs, bytes(check.bytes));
        if check.segments > 0 {
            text += &format!(", and so are {} segments of rows", check.segments);
        }
        if check.unknown > 0 {
            text += &format!("; {} results of another version of retmask were not looked at", check.unknown);
        }
        match (check.problems.len(), left) {
            (0, _) => {}
            (found, 0) => text += &format!("; {found} problems, all dealt with"),
            (found, _) => text += &format!("; {found} problems"),
        }
        printer.data(&format!("{text}\n"))?;
    }
    match left {
        0 => Ok(()),
        _ => Err(Error::environment(format!("{left} problems in {}", store.root().display())).with_hint(
            "`retmask cache verify --repair` puts damaged files aside; the next run makes their results again",
        )),
    }
}
