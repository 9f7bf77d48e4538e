//! What a run leaves behind when it is killed, stopped, or not alone.

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::background::Background;
use support::workspace::{Workspace, stages_with};

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

#[test]
fn a_killed_run_leaves_whole_results_only_and_the_next_goes_on() {
    let workspace = Workspace::new(PIPELINE);
    let mut run = Background::start(&workspace, "pipeline.yaml", &[]);
    run.wait_for("stage-progress", "long");
    run.signal(Signal::KILL);
    let (code, ..) = run.finish();
    assert_eq!(code, None, "it was killed");
    assert_eq!(workspace.files_in("ac"), 1, "one record, of the quick stage");
    let show = workspace.run(&["show", "long"]);
    assert_eq!(show.code, Some(2), "{}", show.err);
    let events = workspace.events(&[&["run", "pipeline.yaml"], SHORTER].concat());
    assert_eq!(stages_with(&events, "stage-hit"), ["quick"]);
    assert_eq!(stages_with(&events, "stage-finished"), ["long"]);
    assert_eq!(workspace.files_in("tmp"), 0, "what the killed run left is removed");
}

#[test]
fn an_interrupt_stops_at_a_safe_point_with_130() {
    for signal in [Signal::INT, Signal::TERM] {
        let workspace = Workspace::new(PIPELINE);
        let mut run = Background::start(&workspace, "pipeline.yaml", &[]);
        run.wait_for("stage-progress", "long");
        run.signal(signal);
        let (code, events, errors) = run.finish();
        assert_eq!(code, Some(130), "{errors}");
        assert_eq!(stages_with(&events, "stage-finished"), ["quick"]);
        assert_eq!(stages_with(&events, "stage-skipped"), ["long"]);
        assert_eq!(workspace.files_in("ac"), 1, "nothing half-published");
        assert_eq!(workspace.files_in("tmp"), 0, "private folders are removed");
        let facts = std::fs::read_to_string(workspace.latest_run().join("run.json")).expect("the record");
        assert!(facts.contains("\"state\": \"interrupted\""), "{facts}");
    }
}

#[test]
fn a_second_interrupt_ends_the_run_at_once() {
    let workspace = Workspace::new(PIPELINE);
    let mut run = Background::start(&workspace, "pipeline.yaml", &[]);
    run.wait_for("stage-progress", "long");
    let began = Instant::now();
    run.signal(Signal::INT);
    run.signal(Signal::INT);
    let (code, ..) = run.finish();
    assert_eq!(code, Some(130));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(workspace.files_in("ac"), 1);
}

#[test]
fn two_runs_at_once_make_each_result_once() {
    let workspace = Workspace::new(PIPELINE);
    let first = Background::start(&workspace, "pipeline.yaml", SHORTER);
    let second = Background::start(&workspace, "pipeline.yaml", SHORTER);
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
    let mut run = Background::start(&workspace, "pipeline.yaml", &[]);
    run.wait_for("stage-started", "mask");
    let mut file = std::fs::File::options().append(true).open(workspace.path("scores.json")).expect("the source");
    file.write_all(b"\n").expect("a change that leaves the content valid");
    let (code, events, errors) = run.finish();
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("changed while the stage was running; nothing was published"), "{errors}");
    assert_eq!(stages_with(&events, "stage-finished"), Vec::<String>::new());
    assert_eq!(workspace.files_in("ac") + workspace.files_in("tmp"), 0);
    let events = workspace.events(&["run", "pipeline.yaml"]);
    assert_eq!(stages_with(&events, "stage-finished"), ["mask"]);
}
