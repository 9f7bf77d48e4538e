//! A full disk and a read-only one, as small file systems of their own.
//!
//! They are mounted in a private mount namespace, which needs root or user namespaces.

mod support;

use std::process::Command;

use support::workspace::Workspace;

/// More data than the small file system takes.
const PIPELINE: &str = "\
version: 1
name: disk
params: {haystack: 400000}
stages:
  small:
    kind: synthetic
    with: {needles: 1, haystack-tokens: 16, instructions: 1}
  large:
    kind: synthetic
    with: {needles: 8, haystack-tokens: '${params.haystack}', instructions: 1}
";

/// Runs a shell script in a mount namespace of its own, in the workspace; `$RETMASK` is the program.
fn in_namespace(workspace: &Workspace, script: &str) -> (Option<i32>, String) {
    let program = workspace.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-ec", script]).current_dir(workspace.path("."));
    command.env("RETMASK", program.get_program()).env("RETMASK_CACHE", workspace.cache());
    let output = command.output().expect("unshare (of util-linux) starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[test]
#[ignore = "needs root or user namespaces; scripts/test runs it"]
fn a_full_disk_is_the_machines_fault_and_leaves_nothing_half_published() {
    let workspace = Workspace::new(PIPELINE);
    std::fs::create_dir(workspace.cache()).expect("a folder to mount on");
    let (code, text) = in_namespace(
        &workspace,
        "mount -t tmpfs -o size=2m none cache
         code=0; $RETMASK run pipeline.yaml || code=$?
         echo \"records: $(find cache/ac -name '*.rec' | wc -l), private: $(find cache/tmp -type f | wc -l)\"
         $RETMASK run pipeline.yaml --json --set params.haystack=16
         exit $code",
    );
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    assert!(text.contains("records: 1, private: 0"), "{text}");
    // With space again the small stage is a hit and the other runs.
    assert!(text.contains(r#""hits":1,"ran":1,"failed":0"#), "{text}");
}

/// The disk fills up in one stage after another: each run names the machine's fault, and each next one, with more
/// space, goes on from the complete stages.
#[test]
#[ignore = "needs root or user namespaces; scripts/test runs it"]
fn a_disk_that_fills_up_again_and_again_costs_no_complete_stage() {
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.yaml");
    let workspace = Workspace::new("");
    std::fs::create_dir(workspace.cache()).expect("a folder to mount on");
    let (code, text) = in_namespace(
        &workspace,
        &format!(
            "mount -t tmpfs -o size=128k none cache
             for size in 1m 2m 2600k 3m 3400k 64m; do
                 code=0; $RETMASK run {quickstart} --json > events 2> errors || code=$?
                 echo \"run $code failed: $(grep -c '\"stage-failed\"' events || true)\" \
                     \"full: $(grep -c 'No space left on device' errors || true)\" \
                     \"records: $(find cache/ac -name '*.rec' | wc -l) hits: $(grep -c '\"stage-hit\"' events || true)\"
                 mount -o remount,size=$size none cache
             done
             $RETMASK run {quickstart} --json > events
             echo \"end hits: $(grep -c '\"stage-hit\"' events)\""
        ),
    );
    assert_eq!(code, Some(0), "{text}");
    let runs: Vec<Vec<u32>> = text
        .lines()
        .filter(|line| line.starts_with("run "))
        .map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
        .collect();
    let full = runs.iter().filter(|run| run[0] == 3).count();
    // Before anything, while the model lies down, while the checkpoint does, and near the end.
    assert!(full >= 4, "the disk was to be full in several stages: {text}");
    let mut before = 0;
    for run in runs {
        let [code, _, full, records, hits] = run[..] else { panic!("{text}") };
        assert!(code == 0 || (code == 3 && full > 0), "{text}");
        assert!(hits >= before, "complete stages ran again: {text}");
        before = records;
    }
    assert!(text.contains(&format!("end hits: {before}\n")), "{text}");
}

#[test]
#[ignore = "needs root or user namespaces; scripts/test runs it"]
fn a_read_only_cache_is_told_plainly() {
    let workspace = Workspace::new(PIPELINE);
    workspace.succeeds(&["run", "pipeline.yaml", "--set", "params.haystack=16"]);
    let (code, text) = in_namespace(
        &workspace,
        "mount --bind cache cache; mount -o remount,bind,ro cache
         $RETMASK plan pipeline.yaml --set params.haystack=16
         $RETMASK show small.instructions
         $RETMASK run pipeline.yaml --set params.haystack=16",
    );
    assert!(text.contains("0 to run, 0 depend on them, 2 in the store"), "{text}");
    assert!(text.contains(r#"{"prompt":"#), "{text}");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("Read-only file system") && text.contains("name another folder"), "{text}");
}
