//! Planning again over the paper's 294,000 instructions: which rows are kept, and which are to be computed.
//!
//!     cargo bench --workspace --bench rows
//!
//! `sample-pairs` itself runs, on the built-in model, generated instructions and the store's row maps; the responses that
//! are kept are made up, for computing them would take hours. Where rows would be computed, it is told to stop.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use retmask_cache::{Claim as Kept, Key, RowMap, Store};
use retmask_stages::artifact::Media;
use retmask_stages::contract::{
    Cancel, Claim, Context, Inputs, Kind, Outputs, Progress, RowCounts, RowKeeper, RowKey, RowScope, Rows, StageError,
    StageResult,
};
use retmask_stages::rows::Writer;
use retmask_stages::sample_pairs::{Parameters, SamplePairs};

/// Instructions of the paper's run, and how many are added to them.
const INSTRUCTIONS: usize = 294_000;
const MORE: usize = 10_000;

/// Set for the process that does one run: the folder, and its line.
const FOLDER: &str = "RETMASK_BENCH_FOLDER";
const CASE: &str = "RETMASK_BENCH_CASE";

/// What is run, each in a process of its own: the line, the file, whether missing responses are made up.
const CASES: [(&str, &str, bool); 4] = [
    ("first time, responses made up and kept", "instructions.jsonl", true),
    ("again, as after the loss of the result", "instructions.jsonl", false),
    ("10,000 more at the end", "more.jsonl", false),
    ("the same in reverse order", "reversed.jsonl", false),
];

fn main() {
    if let (Some(folder), Ok(case)) = (std::env::var_os(FOLDER), std::env::var(CASE)) {
        return one(Path::new(&folder), case.parse().expect("a number"));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_files(folder.path());
    println!("seconds by the clock / of the processors; memory that is no file's, when all is planned");
    println!("{:<40} {:>15} {:>15} {:>15} {:>8}  rows", "", "read", "plan", "whole", "memory");
    for case in 0..CASES.len() {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
        let status = command.env(FOLDER, folder.path()).env(CASE, case.to_string()).status().expect("it starts");
        assert!(status.success(), "{status}");
    }
}

/// One run and its line.
fn one(folder: &Path, case: usize) {
    let (name, file, make_up) = CASES[case];
    let store = Store::open(&folder.join("cache")).expect("a store");
    let run = Run::of(folder, &folder.join(file), Keeper { store, make_up });
    let RowCounts { total, reused, computed } = run.rows;
    let time = |Time { wall, processors }: Time| format!("{wall:.2} / {processors:.2} s");
    println!(
        "{name:<40} {:>15} {:>15} {:>15} {:>4} MiB  {total} in all, {reused} kept, {computed} to compute",
        time(run.read),
        time(run.plan),
        time(run.whole),
        run.memory_mebibytes
    );
}

/// Seconds since the process began to work, by the clock and of all processors.
#[derive(Debug, Clone, Copy)]
struct Time {
    wall: f64,
    processors: f64,
}

impl Time {
    fn now(began: Instant) -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
        // Behind the name in brackets: the 12th and 13th field count hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks = |place: usize| fields[place].parse::<f64>().expect("a number");
        Self { wall: began.elapsed().as_secs_f64(), processors: (ticks(11) + ticks(12)) / 100.0 }
    }

    fn since(self, before: Self) -> Self {
        Self { wall: self.wall - before.wall, processors: self.processors - before.processors }
    }
}

/// What the runs read.
fn write_files(folder: &Path) {
    let lines: Vec<String> = (0..INSTRUCTIONS + MORE).map(line).collect();
    let write = |name: &str, lines: &mut dyn Iterator<Item = &String>| {
        let mut file = BufWriter::new(std::fs::File::create(folder.join(name)).expect("a file"));
        lines.for_each(|line| file.write_all(line.as_bytes()).expect("written"));
        file.flush().expect("written");
    };
    write("instructions.jsonl", &mut lines[..INSTRUCTIONS].iter());
    write("more.jsonl", &mut lines.iter());
    write("reversed.jsonl", &mut lines[..INSTRUCTIONS].iter().rev());
    std::fs::create_dir(folder.join("model")).expect("a folder");
    for (name, bytes) in retmask_model::embedded::find("tiny").expect("the built-in model") {
        std::fs::write(folder.join("model").join(name), bytes).expect("written");
    }
    let head = retmask_model::heads::Head { layer: 0, head: 0 };
    let mask = [head].into_iter().collect();
    retmask_stages::artifact::mask::write(&folder.join("mask"), &mask).expect("a mask");
}

/// An instruction of about 70 words, as users of chat models write them on average.
fn line(number: usize) -> String {
    let mut text = format!("Instruction {number}:");
    let mut state = number as u64;
    for _ in 0..70 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write!(text, " word{}", state >> 54).expect("a string grows");
    }
    format!("{{\"prompt\": \"{text}\", \"language\": \"English\"}}\n")
}

/// One run of the stage.
struct Run {
    /// Reading the instructions, to the line in the log that counts them.
    read: Time,
    /// From there until it is known which rows are kept.
    plan: Time,
    whole: Time,
    rows: RowCounts,
    memory_mebibytes: u64,
}

impl Run {
    fn of(folder: &Path, instructions: &Path, keeper: Keeper) -> Self {
        let stop = !keeper.make_up;
        let told = Arc::new(Told { began: Instant::now(), cancel: Cancel::default(), stop, seen: Mutex::default() });
        let begun = Time::now(told.began);
        let context = Context::new(told.clone(), told.cancel.clone(), folder).with_rows(Arc::new(keeper));
        let mut inputs = Inputs::default();
        inputs.insert("model", "", Media::Model, folder.join("model"));
        inputs.insert("mask", "", Media::Mask, folder.join("mask"));
        inputs.insert("instructions", "", Media::Instructions, instructions);
        let outputs = folder.join("outputs");
        std::fs::create_dir_all(&outputs).expect("a folder");
        let parameters = Parameters { max_new_tokens: 128, ..Parameters::default() };
        let ran = SamplePairs::run(&parameters, &inputs, &Outputs::new(&outputs), &context);
        let whole = Time::now(told.began).since(begun);
        let seen = std::mem::take(&mut *told.seen.lock().expect("no panic"));
        let (rows, planned, memory_mebibytes) = seen.planned.expect("it planned");
        assert!(ran.is_ok() || rows.computed > 0, "{ran:?}");
        let read = seen.read.expect("it read");
        Self { read: read.since(begun), plan: planned.since(read), whole, rows, memory_mebibytes }
    }
}

/// Notes when things happened, and stops the stage where it would begin to compute.
struct Told {
    began: Instant,
    cancel: Cancel,
    stop: bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    read: Option<Time>,
    planned: Option<(RowCounts, Time, u64)>,
}

impl Progress for Told {
    fn phase(&self, _name: &str, _unit: &str, _total: u64) {}
    fn advance(&self, _count: u64) {}
    fn tokens(&self, _count: u64) {}

    fn rows(&self, counts: RowCounts) {
        let mut seen = self.seen.lock().expect("no panic");
        if seen.planned.is_none() {
            seen.planned = Some((counts, Time::now(self.began), anonymous_mebibytes()));
            if self.stop && counts.computed > 0 {
                self.cancel.cancel();
            }
        }
    }

    fn log(&self, _line: &str) {
        self.seen.lock().expect("no panic").read.get_or_insert_with(|| Time::now(self.began));
    }
}

fn anonymous_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// The store's rows, under a scope of this bench.
struct Keeper {
    store: Store,
    /// Whether rows that are not kept are made up.
    make_up: bool,
}

struct Stored {
    map: RowMap,
    scope: Key,
    make_up: bool,
}

impl RowKeeper for Keeper {
    fn open(&self, scope: &RowScope) -> StageResult<Box<dyn Rows>> {
        let fields = serde_json::json!({"inputs": scope.inputs, "parameters": scope.parameters});
        let key = Key::new(*blake3::hash(fields.to_string().as_bytes()).as_bytes());
        let map = self.store.row_map(&key, &fields).map_err(failed)?;
        Ok(Box::new(Stored { map, scope: key, make_up: self.make_up }))
    }
}

impl Rows for Stored {
    fn contains(&self, row: &RowKey) -> bool {
        self.map.contains(row.bytes())
    }

    fn get(&mut self, row: &RowKey) -> StageResult<Option<Vec<u8>>> {
        self.map.get(row.bytes()).map_err(failed)
    }

    fn claim(&mut self, rows: &[RowKey]) -> StageResult<Vec<Claim>> {
        if self.make_up {
            for row in rows {
                self.put(row, &response(&self.scope, row))?;
            }
        }
        let claims =
            self.map.claim(rows.iter().map(RowKey::bytes)).map_err(failed)?.into_iter().map(|claim| match claim {
                Kept::Kept => Claim::Kept,
                Kept::Mine => Claim::Mine,
                Kept::Elsewhere => Claim::Elsewhere,
            });
        Ok(claims.collect())
    }

    fn put(&mut self, row: &RowKey, result: &[u8]) -> StageResult<()> {
        self.map.put(row.bytes(), result).map_err(failed)
    }

    fn finish(self: Box<Self>) -> StageResult<()> {
        self.map.finish().map_err(failed)
    }
}

fn failed(error: retmask_cache::CacheError) -> StageError {
    StageError::environment(error.message)
}

/// A response of 1,000 characters, as sample-pairs writes it.
fn response(scope: &Key, row: &RowKey) -> Vec<u8> {
    let text = format!("{scope}{row:?}").repeat(8);
    let mut bytes = Writer::default();
    bytes.byte(1);
    bytes.number(100);
    bytes.text(&text[..1_000]);
    bytes.number(250);
    bytes.text("stop");
    bytes.finish()
}
