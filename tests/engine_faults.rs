//! System calls that fail, as strace makes them: the disk says that it did not take what was written.

mod support;

use std::process::{Command, Output};

use support::model_free;
use support::workspace::Workspace;

/// The program under strace, where one call of these names fails: the `when`-th of each thread.
fn with_fault(workspace: &Workspace, calls: &str, error: &str, when: u32) -> (Output, bool) {
    let program = workspace.command(&[]);
    let log = workspace.path("strace.log");
    let mut command = Command::new("strace");
    let inject = format!("inject={calls}:error={error}:when={when}");
    command.args(["-f", "-qq", "-o"]).arg(&log).args(["-e", &format!("trace={calls}"), "-e", &inject]);
    command.arg(program.get_program()).args(["run", "pipeline.yaml", "--quiet"]);
    command.current_dir(workspace.path(".")).env("RETMASK_CACHE", workspace.cache());
    let output = command.output().expect("strace starts");
    let injected = std::fs::read_to_string(&log).expect("its log").contains("(INJECTED)");
    std::fs::remove_file(log).expect("its log goes");
    (output, injected)
}

/// Each call in turn fails once; gives how many there were. The run says that the machine is at fault, what is in the
/// store is sound, and the next run ends with the results of one that nobody disturbed.
fn fails_in_turn(calls: &str, error: &str, told: &str) -> u32 {
    let undisturbed = model_free::workspace();
    undisturbed.succeeds(&["run", "pipeline.yaml"]);
    let digests = undisturbed.digests();
    for when in 1..200 {
        let workspace = model_free::workspace();
        let (output, injected) = with_fault(&workspace, calls, error, when);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        if !injected {
            assert_eq!(output.status.code(), Some(0), "{err}");
            return when - 1;
        }
        assert_eq!(output.status.code(), Some(3), "{calls} {when}: {err}");
        assert!(err.contains(told), "{calls} {when}: {err}");
        workspace.succeeds(&["cache", "verify"]);
        workspace.succeeds(&["run", "pipeline.yaml"]);
        assert_eq!(workspace.digests(), digests, "{calls} {when}");
        workspace.succeeds(&["cache", "verify"]);
    }
    panic!("{calls}: no end");
}

#[test]
#[ignore = "needs strace; scripts/test runs it"]
fn a_sync_that_fails_fails_the_run_and_nothing_is_lost_or_believed() {
    let count = fails_in_turn("fsync,fdatasync,syncfs", "EIO", "Input/output error");
    assert!(count >= 2, "{count} syncs only");
}

#[test]
#[ignore = "needs strace; scripts/test runs it"]
fn a_rename_that_fails_fails_the_run_and_nothing_is_lost_or_believed() {
    let count = fails_in_turn("renameat2", "ENOSPC", "No space left on device");
    // Of each thread: stages have threads of their own, which put in place their blobs and their record.
    assert!(count >= 2, "{count} renames only");
}
