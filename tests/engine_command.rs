//! `kind: command` on the real binary: any program as a stage, and what it may not do.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};
use support::background::Background;
use support::check;
use support::workspace::{Workspace, stages_with};

/// A program that copies a mask, a page about the copy, and a stage that reads the program's notes.
const PIPELINE: &str = "\
version: 1
name: programs
params: {note: hello, program: ./tool}
sources: {scores: {published-scores: scores.json}}
stages:
  mask: {kind: build-mask, in: {scores: scores}}
  copy:
    kind: command
    in: {mask: mask, of: {scores: scores}}
    with:
      program: '${params.program}'
      arguments: ['{in.mask}', '{out.mask}', '{out.notes}', '${params.note}', '{in.of.scores}']
      outputs: {mask: retmask/mask;v1, notes: retmask/file;v1}
  page: {kind: report, in: {mask: copy.mask}}
  count:
    kind: command
    in: {notes: copy.notes}
    with:
      program: sh
      arguments: [-c, 'wc -c < \"$1\" > \"$2\"', sh, '{in.notes}', '{out.count}']
      outputs: {count: retmask/file;v1}
";
const TOOL: &str = "#!/bin/sh\nset -e\ncp \"$1\" \"$2\"\ntest -s \"$5\"\necho \"$4\" > \"$3\"\necho \"copied $4\"\n";

fn program(workspace: &Workspace, name: &str, text: &str) {
    workspace.write(name, text);
    std::fs::set_permissions(workspace.path(name), PermissionsExt::from_mode(0o755)).expect("permissions");
}

fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    workspace.write("scores.json", r#"{"0-0": [0.1], "0-1": [0.9], "1-0": [0.3], "1-1": [0.2]}"#);
    program(&workspace, "tool", TOOL);
    workspace
}

/// A pipeline of one program: a shell script with its output at `$1`.
fn script(script: &str, media: &str, more: &str) -> Workspace {
    let workspace = Workspace::new(&format!(
        "version: 1\nname: script\nstages:\n  made:\n    kind: command\n    with:\n      program: ./script\n      \
         arguments: ['{{out.made}}']\n      outputs: {{made: {media}}}\n{more}"
    ));
    program(&workspace, "script", &format!("#!/bin/sh\n{script}\n"));
    workspace
}

#[test]
fn a_program_is_a_stage_among_others() {
    let workspace = workspace();
    let events = workspace.events(&["run", "pipeline.yaml"]);
    assert_eq!(stages_with(&events, "stage-finished"), ["copy", "count", "mask", "page"]);
    assert_eq!(workspace.succeeds(&["show", "count"]).out.trim(), "6");
    assert!(workspace.succeeds(&["logs", "copy"]).out.contains(" copied hello\n"));
    let again = workspace.events(&["run", "pipeline.yaml"]);
    assert_eq!(stages_with(&again, "stage-started"), Vec::<String>::new());
    // Another argument is other work; what it leaves unchanged is not made again.
    let changed = workspace.events(&["run", "pipeline.yaml", "--set", "params.note=other"]);
    assert_eq!(stages_with(&changed, "stage-started"), ["copy", "count"]);
    let same_length = workspace.events(&["run", "pipeline.yaml", "--set", "params.note=mates"]);
    assert_eq!(stages_with(&same_length, "stage-started"), ["copy", "count"]);
    assert_eq!(workspace.succeeds(&["show", "count"]).out.trim(), "6");
}

#[test]
fn the_program_counts_by_its_content() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    program(&workspace, "renamed", TOOL);
    let renamed = workspace.events(&["run", "pipeline.yaml", "--set", "params.program=./renamed"]);
    assert_eq!(stages_with(&renamed, "stage-started"), Vec::<String>::new());
    program(&workspace, "tool", &format!("{TOOL}# another build\n"));
    let explained = workspace.succeeds(&["explain", "pipeline.yaml", "copy", "--json"]).out;
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    assert_eq!(explained["nearest"]["causes"][0]["field"], "in.program", "{explained}");
    let rebuilt = workspace.events(&["run", "pipeline.yaml"]);
    assert_eq!(stages_with(&rebuilt, "stage-started"), ["copy"], "its outputs are the same, so all else is a hit");
    let lost = workspace.run(&["plan", "pipeline.yaml", "--set", "params.program=no-such-tool"]);
    assert_eq!(lost.code, Some(2));
    assert!(
        lost.err.starts_with("error: stage `copy`: the program `no-such-tool` is in no folder of PATH\n"),
        "{}",
        lost.err
    );
}

#[test]
fn hostile_outputs_are_refused() {
    let (file, folder, table) = ("retmask/file;v1", "retmask/folder;v1", "retmask/mask;v1");
    for (left, media, expected) in [
        ("true", file, "was not written"),
        ("ln -s /etc/passwd $1", file, "is a symbolic link"),
        ("mkfifo $1", file, "is a device, a socket or a pipe"),
        ("mkdir $1", file, "is a folder, expected a file"),
        ("touch $1", folder, "is a file, expected a folder"),
        ("mkdir -p $1/a; ln -s /etc $1/a/b", folder, "holds `a/b`, which is a symbolic link"),
        ("mkdir $1; ln -s ../../.. $1/up", folder, "holds `up`, which is a symbolic link"),
        ("mkdir $1; mkfifo $1/pipe", folder, "holds `pipe`, which is a device"),
        ("mkdir $1; touch $1/x $1/X", folder, "differ in upper and lower case only"),
        ("mkdir $1; touch \"$1/$(printf 'a\\\\b')\"", folder, "backslashes"),
        ("mkdir $1; touch \"$1/$(printf 'a\\377')\"", folder, "not UTF-8"),
        ("echo no table > $1", table, "cannot be read back"),
    ] {
        let workspace = script(left, media, "");
        let run = workspace.run(&["run", "pipeline.yaml"]);
        assert_eq!(run.code, Some(2), "{left}: {}", run.err);
        assert!(run.err.contains(expected), "{left}: {}", run.err);
        assert_eq!(workspace.files_in("ac") + workspace.files_in("cas") + workspace.files_in("tmp"), 0, "{left}");
    }
}

#[test]
fn what_is_not_declared_is_thrown_away() {
    let workspace =
        script("echo it > $1; echo more > $1.more; echo here > here; echo up > ../up", "retmask/file;v1", "");
    workspace.succeeds(&["run", "pipeline.yaml"]);
    assert_eq!(workspace.succeeds(&["show", "made"]).out, "it\n");
    assert_eq!((workspace.files_in("cas"), workspace.files_in("tmp")), (1, 0));
    assert!(!workspace.path("here").exists() && !workspace.path("up").exists());
}

#[test]
fn the_environment_is_what_was_promised_and_secrets_stay_secret() {
    const SECRET: &str = "hf_abcdefghijklmnop";
    let more = "      environment: {SET: 'a {scratch}'}\n      pass: [TOKEN]\n";
    let leak = "env | sed 's/=.*//' | sort > $1; echo \"the token is $TOKEN\"; echo \"again $TOKEN\" >&2";
    let workspace = script(leak, "retmask/file;v1", more);
    let run = |token: Option<&str>| {
        let mut command = workspace.command(&["run", "pipeline.yaml"]);
        command.env("OTHER", "not passed").env_remove("TOKEN");
        command.envs(token.map(|token| ("TOKEN", token)));
        command.output().expect("the program starts")
    };
    let unset = run(None);
    assert_eq!(unset.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&unset.stderr).into_owned();
    assert!(errors.contains("the variable TOKEN, which `pass` names, is not set"), "{errors}");
    assert!(run(Some(SECRET)).status.success());
    let seen = workspace.succeeds(&["show", "made"]).out;
    // The shell adds some of its own.
    let names: Vec<&str> = seen.lines().filter(|name| !matches!(*name, "_" | "PWD" | "SHLVL" | "OLDPWD")).collect();
    assert_eq!(names, ["CUDA_VISIBLE_DEVICES", "HOME", "LC_ALL", "PATH", "SET", "TMPDIR", "TOKEN"]);
    let log = workspace.succeeds(&["logs", "made"]).out;
    assert!(log.contains("the token is ***\n") && log.contains("again ***\n"), "{log}");
    assert_eq!(files_with(&workspace.cache(), SECRET), Vec::<String>::new());
    // Another token is no other work.
    assert!(run(Some("hf_another_token_of_them")).status.success());
    assert_eq!(workspace.files_in("ac"), 1);
}

/// The files below a folder that hold a text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).contains(text) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_failing_program_says_why() {
    let workspace = script("echo reading; echo 'out of pages' >&2; exit 9", "retmask/file;v1", "");
    let run = workspace.run(&["run", "pipeline.yaml"]);
    assert_eq!(run.code, Some(2));
    assert!(
        run.err.contains("error: stage `made`: `./script` ended with exit status 9; its last lines:"),
        "{}",
        run.err
    );
    assert!(run.err.contains("    out of pages\n"), "{}", run.err);
    assert!(workspace.succeeds(&["logs", "made"]).out.contains(" out of pages\n"));
}

#[test]
fn a_program_sees_the_gpus_it_asked_for() {
    let workspace =
        script("echo \"gpus $CUDA_VISIBLE_DEVICES\" > $1", "retmask/file;v1", "    resources: {cpus: 1, gpus: 2}\n");
    let run = |more: &[&str]| {
        let mut command = workspace.command(&[&["run", "pipeline.yaml", "--force", "made"], more].concat());
        command.env("CUDA_VISIBLE_DEVICES", "3,4,7").output().expect("the program starts")
    };
    assert!(run(&[]).status.success());
    assert_eq!(workspace.succeeds(&["show", "made"]).out, "gpus 3,4\n");
    let too_few = run(&["--gpus", "1"]);
    assert_eq!(too_few.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&too_few.stderr).into_owned();
    assert!(errors.contains("stage `made`: it asks for 2 GPUs, and this run has 1"), "{errors}");
    let twice = run(&["--gpus", "1,1"]);
    assert!(String::from_utf8_lossy(&twice.stderr).starts_with("error: the GPUs 1,1 name one twice"));
}

fn is_alive(process: i32) -> bool {
    test_kill_process(Pid::from_raw(process).expect("an id")).is_ok()
}

/// A run of a program that waits with a child of its own, and the ids of both.
fn waiting() -> (Workspace, Background, [i32; 2]) {
    let workspace = script("", "retmask/file;v1", "");
    let ids = workspace.path("ids");
    let text = format!("#!/bin/sh\nsleep 1000 &\necho $$ $! > {0}.part\nmv {0}.part {0}\nwait\n", ids.display());
    program(&workspace, "script", &text);
    let mut run = Background::start(&workspace, "pipeline.yaml", &[]);
    run.wait_for("stage-started", "made");
    let began = Instant::now();
    while !ids.exists() {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    let text = workspace.read("ids");
    let ids: Vec<i32> = text.split_whitespace().map(|id| id.parse().expect("an id")).collect();
    (workspace, run, ids.try_into().expect("two ids"))
}

fn is_gone_soon(process: i32) -> bool {
    let began = Instant::now();
    while is_alive(process) && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    !is_alive(process)
}

#[test]
fn a_stopped_run_stops_the_program_and_all_it_started() {
    let (workspace, run, ids) = waiting();
    assert!(ids.into_iter().all(is_alive));
    run.signal(Signal::INT);
    let (code, events, errors) = run.finish();
    assert_eq!(code, Some(130), "{errors}");
    assert_eq!(stages_with(&events, "stage-skipped"), ["made"]);
    assert!(ids.into_iter().all(is_gone_soon));
    assert_eq!(workspace.files_in("ac") + workspace.files_in("tmp"), 0);
}

#[test]
fn a_killed_run_takes_the_program_with_it() {
    let (_workspace, run, [program, child]) = waiting();
    run.signal(Signal::KILL);
    assert_eq!(run.finish().0, None);
    assert!(is_gone_soon(program));
    // Nobody is left to end what it had started by itself.
    if let Some(child) = Pid::from_raw(child) {
        let _ = rustix::process::kill_process(child, Signal::KILL);
    }
}

#[test]
fn faults_of_the_declaration_are_shown_in_the_file() {
    let faulty = |with: &str| {
        check(&format!(
            "version: 1\nname: faulty\nsources: {{a: {{file: f}}}}\nstages:\n  s:\n    kind: command\n    in: {{a: a}}\n    with: {with}\n"
        ))
    };
    assert_eq!(faulty("{program: sh, arguments: ['{in.a}', '{x}'], outputs: {b: retmask/file;v1}}").code, Some(0));
    for (with, expected) in [
        (
            "{program: sh, arguments: ['{in.b}'], outputs: {b: retmask/file;v1}}",
            "`{in.b}` names no input; under `in` stands a",
        ),
        (
            "{program: sh, arguments: ['{out.c}'], outputs: {b: retmask/file;v1}}",
            "`{out.c}` names no output; `outputs` has b",
        ),
        ("{program: sh, outputs: {b: table}}", "`table` is no media"),
        ("{program: sh}", "must name at least one output"),
        ("{outputs: {b: retmask/file;v1}}", "must name a program"),
    ] {
        let refused = faulty(with);
        assert_eq!(refused.code, Some(2), "{with}");
        assert!(refused.err.contains(expected) && refused.err.contains("pipeline.yaml:"), "{}", refused.err);
    }
    let graph = support::run(PIPELINE, &["graph", "pipeline.yaml", "--json"]);
    let graph: Value = serde_json::from_str(&graph.out).expect("JSON");
    assert!(graph.to_string().contains(&json!("retmask/mask;v1").to_string()), "{graph}");
}
