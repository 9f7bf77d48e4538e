//! `retmask cache du`: where the space goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use retmask_cache::{Digest, Inventory, Store};
use serde_json::json;

use super::super::Settings;
use super::runs;
use crate::error::Result;
use crate::output::{Align, Table};
use crate::run::report::bytes;

/// What `retmask cache du` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What results are summed up by; one that several pipelines or runs use counts in each of them
    #[arg(long, value_name = "WHAT", default_value = "kind")]
    by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The kind of stage that made them
    Kind,
    /// The pipelines whose runs used them
    Pipeline,
    /// The runs that used them
    Run,
}

impl By {
    const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Pipeline => "pipeline",
            Self::Run => "run",
        }
    }
}

/// What results without a run are summed up under.
const NO_RUN: &str = "(no run)";

/// The results that stand in one line.
#[derive(Debug, Default)]
struct Group<'i> {
    records: u64,
    /// Bytes of the records themselves.
    files: u64,
    blobs: BTreeSet<&'i Digest>,
}

/// Executes `retmask cache du`. With `--json` one object.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = settings.printer;
    let inventory = store.inventory()?;
    let runs = runs::read(&store, printer)?;
    let groups = groups(&inventory, &runs, arguments.by);
    // In how many groups each blob is.
    let mut shared: HashMap<&Digest, u64> = HashMap::new();
    for digest in groups.values().flat_map(|group| &group.blobs) {
        *shared.entry(digest).or_default() += 1;
    }
    let size = |digest: &Digest| inventory.blobs.get(digest).copied().unwrap_or(0);
    let mut table = Table::new([
        (arguments.by.name(), Align::Left),
        ("results", Align::Right),
        ("size", Align::Right),
        ("not shared", Align::Right),
    ]);
    let mut objects = Vec::new();
    let mut rows: Vec<(u64, u64, &str, u64)> = Vec::new();
    for (name, group) in &groups {
        let all = group.files + group.blobs.iter().map(|digest| size(digest)).sum::<u64>();
        let own = group.blobs.iter().filter(|digest| shared[**digest] == 1).map(|digest| size(digest)).sum::<u64>();
        rows.push((all, own + group.files, name, group.records));
    }
    // The largest first; of equal ones by name.
    rows.sort_by(|left, right| right.0.cmp(&left.0).then(left.2.cmp(right.2)));
    for (all, own, name, records) in rows {
        table.row([name.to_owned(), records.to_string(), bytes(all), bytes(own)]);
        objects.push(json!({ "name": name, "results": records, "bytes": all, "not_shared_bytes": own }));
    }
    let orphans = inventory.orphans();
    let orphaned: u64 = orphans.values().sum();
    let files: u64 = inventory.records.values().map(|stored| stored.file).sum();
    let blobs: u64 = inventory.blobs.values().sum();
    let total = files + blobs - orphaned;
    table.row(["all results".to_owned(), inventory.records.len().to_string(), bytes(total), String::new()]);
    let areas = store.areas()?;
    // By kind and, as rows of several scopes are, together.
    let mut rows: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for map in store.row_maps()? {
        let sum = rows.entry(map.kind().to_owned()).or_default();
        *sum = (sum.0 + map.rows, sum.1 + map.bytes);
    }
    if printer.json() {
        let areas: BTreeMap<&str, _> = areas
            .iter()
            .map(|area| (area.name.as_str(), json!({ "files": area.files, "bytes": area.bytes })))
            .collect();
        let object = json!({
            "by": arguments.by.name(), "groups": objects, "results": inventory.records.len(), "bytes": total,
            "unreferenced": { "files": orphans.len(), "bytes": orphaned }, "rows": rows_json(&rows), "folders": areas,
        });
        return printer.data(&format!("{object}\n"));
    }
    let mut of_rows = Table::new([("rows of", Align::Left), ("rows", Align::Right), ("size", Align::Right)]);
    for (kind, (count, size)) in &rows {
        of_rows.row([kind.clone(), count.to_string(), bytes(*size)]);
    }
    let of_rows = if rows.is_empty() { String::new() } else { format!("{}\n", of_rows.render(printer)) };
    let mut rest = Table::new([("besides", Align::Left), ("files", Align::Right), ("size", Align::Right)]);
    rest.row(["stored files that no result refers to".to_owned(), orphans.len().to_string(), bytes(orphaned)]);
    for area in areas.iter().filter(|area| !matches!(area.name.as_str(), "cas" | "ac" | "rows")) {
        rest.row([format!("{}/", area.name), area.files.to_string(), bytes(area.bytes)]);
    }
    printer.data(&format!("{}\n{of_rows}{}", table.render(printer), rest.render(printer)))
}

fn rows_json(rows: &BTreeMap<String, (u64, u64)>) -> serde_json::Value {
    rows.iter().map(|(kind, (rows, bytes))| json!({ "kind": kind, "rows": rows, "bytes": bytes })).collect()
}

fn groups<'i>(inventory: &'i Inventory, runs: &'i [runs::RunUses], by: By) -> BTreeMap<String, Group<'i>> {
    let uses = runs::uses(runs);
    let mut groups: BTreeMap<String, Group<'i>> = BTreeMap::new();
    for stored in inventory.records.values() {
        let used = uses.get(&stored.record.key).map(Vec::as_slice).unwrap_or_default();
        let mut names: BTreeSet<&str> = match by {
            By::Kind => BTreeSet::from([stored.record.provenance.kind.as_str()]),
            By::Pipeline => used.iter().map(|used| used.run.pipeline.as_str()).collect(),
            By::Run => used.iter().map(|used| used.run.run.as_str()).collect(),
        };
        if names.is_empty() {
            names.insert(NO_RUN);
        }
        for name in names {
            let group = groups.entry(name.to_owned()).or_default();
            group.records += 1;
            group.files += stored.file;
            group.blobs.extend(stored.blobs.keys());
        }
    }
    groups
}
