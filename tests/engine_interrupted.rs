//! What a run leaves behind when it is killed, stopped, or not alone.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::workspace::{Workspace, parse, stages_with};

/// A quick stage and a long one.
const PIPELINE: &str = "\
version: 1
name: long
params: {needles: 1000}
stages:
  quick:
    kind: synthetic
    with: {needles: 1, haystack-tokens: 16, instructions: 1}
  long:
    kind: synthetic
    with: {needles: '${params.needles}', haystack-tokens: 20000, instructions: 1}
";
/// Long enough for two processes to meet, short enough to wait for.
const SHORTER: &[&str] = &["--set", "params.needles=40"];

/// A run in the background, with its events.
struct Background {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Background {
    fn start(workspace: &Workspace, more: &[&str]) -> Self {
        let arguments = [&["run", "pipeline.yaml", "--json"], more].concat();
        let mut command = workspace.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("standard output"));
        Self { child, lines, seen: String::new() }
    }

    /// Reads events until one of this name for this stage.
    fn wait_for(&mut self, event: &str, stage: &str) {
        loop {
            let start = self.seen.len();
            let read = self.lines.read_line(&mut self.seen).expect("UTF-8");
            assert_ne!(read, 0, "the run ended before `{event}` of `{stage}`: {}", self.seen);
            let found: Value = serde_json::from_str(&self.seen[start..]).expect("JSON");
            if found["event"] == event && found["stage"] == stage {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.child.id()).expect("an id")).expect("an id");
        kill_process(process, signal).expect("the process is there");
    }

    /// Exit code, all events, standard error.
    fn finish(mut self) -> (Option<i32>, Vec<Value>, String) {
        self.lines.read_to_string(&mut self.seen).expect("UTF-8");
        let mut errors = String::new();
        self.child.stderr.take().expect("standard error").read_to_string(&mut errors).expect("UTF-8");
        (self.child.wait().expect("it ends").code(), parse(&self.seen), errors)
    }
}

/// How many files lie below a folder of the cache; a folder that is not there has none.
fn files_in(workspace: &Workspace, folder: &str) -> usize {
    fn count(folder: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        let entries = entries.map(|entry| entry.expect("an entry").path());
        entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
    }
    count(&workspace.cache().join(folder))
}

#[test]
fn a_killed_run_leaves_whole_results_only_and_the_next_goes_on() {
    let workspace = Workspace::new(PIPELINE);
    let mut run = Background::start(&workspace, &[]);
    run.wait_for("stage-progress", "long");
    run.signal(Signal::KILL);
    let (code, ..) = run.finish();
    assert_eq!(code, None, "it was killed");
    assert_eq!(files_in(&workspace, "ac"), 1, "one record, of the quick stage");
    let show = workspace.run(&["show", "long"]);
    assert_eq!(show.code, Some(2), "{}", show.err);
    let events = workspace.events(&[&["run", "pipeline.yaml"], SHORTER].concat());
    assert_eq!(stages_with(&events, "stage-hit"), ["quick"]);
    assert_eq!(stages_with(&events, "stage-finished"), ["long"]);
    assert_eq!(files_in(&workspace, "tmp"), 0, "what the killed run left is removed");
}

#[test]
fn an_interrupt_stops_at_a_safe_point_with_130() {
    for signal in [Signal::INT, Signal::TERM] {
        let workspace = Workspace::new(PIPELINE);
        let mut run = Background::start(&workspace, &[]);
        run.wait_for("stage-progress", "long");
        run.signal(signal);
        let (code, events, errors) = run.finish();
        assert_eq!(code, Some(130), "{errors}");
        assert_eq!(stages_with(&events, "stage-finished"), ["quick"]);
        assert_eq!(stages_with(&events, "stage-skipped"), ["long"]);
        assert_eq!(files_in(&workspace, "ac"), 1, "nothing half-published");
        assert_eq!(files_in(&workspace, "tmp"), 0, "private folders are removed");
        let facts = std::fs::read_to_string(workspace.latest_run().join("run.json")).expect("the record");
        assert!(facts.contains("\"state\": \"interrupted\""), "{facts}");
    }
}

#[test]
fn a_second_interrupt_ends_the_run_at_once() {
    let workspace = Workspace::new(PIPELINE);
    let mut run = Background::start(&workspace, &[]);
    run.wait_for("stage-progress", "long");
    let began = Instant::now();
    run.signal(Signal::INT);
    run.signal(Signal::INT);
    let (code, ..) = run.finish();
    assert_eq!(code, Some(130));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(files_in(&workspace, "ac"), 1);
}

#[test]
fn two_runs_at_once_make_each_result_once() {
    let workspace = Workspace::new(PIPELINE);
    let first = Background::start(&workspace, SHORTER);
    let second = Background::start(&workspace, SHORTER);
    let (first, second) = (first.finish(), second.finish());
    assert_eq!((first.0, second.0), (Some(0), Some(0)), "{} {}", first.2, second.2);
    let both = [first.1, second.1].concat();
    assert_eq!(stages_with(&both, "stage-started"), ["long", "quick"]);
    assert_eq!(stages_with(&both, "stage-hit"), ["long", "quick"]);
}

#[test]
fn a_source_that_changes_while_it_is_read_leaves_nothing_published() {
    use std::io::Write;
    const MASK: &str = "\
version: 1
name: changing
sources: {scores: {published-scores: scores.json}}
stages:
  mask: {kind: build-mask, in: {scores: scores}}
";
    let workspace = Workspace::new(MASK);
    // So large that reading it takes longer than changing it.
    let trials = vec!["0.5"; 2_000].join(",");
    let heads: Vec<String> = (0..1_024).map(|head| format!("\"{}-{}\":[{trials}]", head / 32, head % 32)).collect();
    workspace.write("scores.json", &format!("{{{}}}", heads.join(",")));
    let mut run = Background::start(&workspace, &[]);
    run.wait_for("stage-started", "mask");
    let mut file = std::fs::File::options().append(true).open(workspace.path("scores.json")).expect("the source");
    file.write_all(b"\n").expect("a change that leaves the content valid");
    let (code, events, errors) = run.finish();
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("changed while the stage was running; nothing was published"), "{errors}");
    assert_eq!(stages_with(&events, "stage-finished"), Vec::<String>::new());
    assert_eq!(files_in(&workspace, "ac") + files_in(&workspace, "tmp"), 0);
    let events = workspace.events(&["run", "pipeline.yaml"]);
    assert_eq!(stages_with(&events, "stage-finished"), ["mask"]);
}
