//! `retmask show`: an artifact of a run, as a table, a list of files, or text.

use std::path::Path;

use retmask_cache::{Form, Store};
use retmask_stages::artifact::{self, Media};
use serde_json::json;

use super::Settings;
use crate::error::{Error, Result};
use crate::output::{Align, Table};
use crate::run::report::bytes;
use crate::show::{Item, View, find, json_lines, table};

/// What `retmask show` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to show: STAGE[.PORT][@RUN]; the stage's first output and the latest run by default
    #[arg(value_name = "ITEM")]
    item: String,
    /// Rows of a table to show; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 20)]
    rows: usize,
    /// Columns of a table to show, in this order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// Sort a table by this column first; a leading `-` puts the largest first
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
}

/// Executes `retmask show`. With `--json` a table is given in full, one object per row.
///
/// # Errors
/// `Input` when there is no such item or column; `Environment` when the stored content is lost.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let item = find(&store, &arguments.item)?;
    let media = Media::from_name(&item.output.media);
    let readable = item.read(&store)?;
    let path = readable.path();
    let printer = &settings.printer;
    if media.is_some_and(|media| media.form() == artifact::Form::Table) {
        if printer.json() {
            return printer.data(&json_lines(&artifact::table::read_any(path)?)?);
        }
        let rows = (arguments.rows > 0).then_some(arguments.rows);
        let view = View { rows, columns: arguments.columns.clone(), sort: arguments.sort.clone() };
        let text = table(path, &view, *printer)?;
        describe(&item, settings);
        return printer.data(&text);
    }
    if arguments.sort.is_some() || !arguments.columns.is_empty() {
        return Err(Error::input(format!("`{}` is no table: it has no columns", arguments.item)));
    }
    match item.output.form {
        Form::Tree => show_folder(&item, path, settings),
        Form::File => show_file(&item, path, settings),
    }
}

/// Says on standard error what is shown, and what else there is.
fn describe(item: &Item, settings: &Settings) {
    if settings.printer.json() {
        return;
    }
    let others = match item.others.as_slice() {
        [] => String::new(),
        others => format!("; other outputs: {}", others.join(", ")),
    };
    let Item { stage, run, output, .. } = item;
    settings.printer.note(&format!("{stage}.{} of run {run} ({}){others}", output.port, output.media));
}

fn show_folder(item: &Item, folder: &Path, settings: &Settings) -> Result<()> {
    let mut files = Vec::new();
    list(folder, folder, &mut files)?;
    files.sort_unstable();
    if settings.printer.json() {
        let lines = files.iter().map(|(path, size)| format!("{}\n", json!({ "path": path, "size": size })));
        return settings.printer.data(&lines.collect::<String>());
    }
    let mut table = Table::new([("file", Align::Left), ("size", Align::Right)]);
    for (path, size) in &files {
        table.row([path.clone(), bytes(*size)]);
    }
    describe(item, settings);
    settings.printer.data(&table.render(settings.printer))
}

fn list(root: &Path, folder: &Path, files: &mut Vec<(String, u64)>) -> Result<()> {
    let failed = |error: std::io::Error| Error::environment(format!("cannot read {}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let facts = std::fs::metadata(&path).map_err(failed)?;
        if facts.is_dir() {
            list(root, &path, files)?;
        } else {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            files.push((relative.display().to_string(), facts.len()));
        }
    }
    Ok(())
}

fn show_file(item: &Item, path: &Path, settings: &Settings) -> Result<()> {
    let content =
        std::fs::read(path).map_err(|error| Error::environment(format!("cannot read {}: {error}", path.display())))?;
    let text = String::from_utf8(content).map_err(|_| {
        let address = format!("{}.{}@{}", item.stage, item.output.port, item.run);
        Error::input(format!("`{address}` is not text")).with_hint(format!("`retmask export {address} PATH` copies it"))
    })?;
    if settings.printer.json() {
        let Item { stage, run, output, .. } = item;
        let object = json!({ "run": run, "stage": stage, "port": output.port, "media": output.media, "text": text });
        return settings.printer.data(&format!("{object}\n"));
    }
    describe(item, settings);
    settings.printer.data(&text)
}
