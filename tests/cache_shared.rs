//! One store in a folder that several users share.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::model_free;
use support::workspace::{Workspace, parse, stages_with};

/// Everything below a folder, with its rights.
fn rights(folder: &Path) -> Vec<(PathBuf, bool, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let metadata = std::fs::symlink_metadata(&path).expect("metadata");
        found.push((path.clone(), metadata.is_dir(), metadata.mode() & 0o777));
        if metadata.is_dir() {
            found.extend(rights(&path));
        }
    }
    found
}

/// The program under a strict umask.
fn strictly(workspace: &Workspace, arguments: &[&str]) -> Output {
    let program = workspace.command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(program.get_program()).args(arguments);
    shell.current_dir(workspace.path(".")).env("RETMASK_CACHE", workspace.cache());
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn what_lies_in_a_folder_of_a_group_is_the_groups_whatever_the_umask() {
    let workspace = model_free::workspace();
    std::fs::create_dir(workspace.cache()).expect("a folder");
    std::fs::set_permissions(workspace.cache(), std::fs::Permissions::from_mode(0o770)).expect("rights");
    strictly(&workspace, &["run", "pipeline.yaml"]);
    strictly(&workspace, &["cache", "pin", "latest"]);
    let all = rights(&workspace.cache());
    assert!(all.len() > 30);
    for (path, is_folder, mode) in all {
        let shown = path.display();
        // Of a folder's files nobody reads what the folder denies.
        assert!(!is_folder || mode & 0o007 == 0, "others have no rights to {shown}, as the umask says: {mode:o}");
        let immutable = ["cas", "ac", "roots"].iter().any(|folder| path.starts_with(workspace.cache().join(folder)));
        match (is_folder, immutable) {
            (true, _) => assert_eq!(mode & 0o070, 0o070, "{shown}: {mode:o}"),
            (false, true) => assert_eq!(mode & 0o070, 0o040, "{shown}: {mode:o}"),
            (false, false) if path.ends_with("VERSION") => assert_eq!(mode & 0o040, 0o040, "{shown}: {mode:o}"),
            (false, false) => assert_eq!(mode & 0o060, 0o060, "{shown}: {mode:o}"),
        }
    }
}

#[test]
fn what_lies_in_a_folder_of_ones_own_stays_ones_own() {
    let workspace = model_free::workspace();
    strictly(&workspace, &["run", "pipeline.yaml"]);
    assert_eq!(std::fs::metadata(workspace.cache()).expect("the store").mode() & 0o777, 0o700);
    let of_group =
        rights(&workspace.cache()).into_iter().filter(|(_, is_folder, mode)| *is_folder && mode & 0o070 != 0);
    assert_eq!(of_group.count(), 0);
}

/// A group and two of its users, none of whom needs an account here.
const GROUP: u32 = 61_000;
const USERS: [u32; 2] = [61_001, 61_002];

#[test]
#[ignore = "needs root, to be two users; scripts/test runs it"]
fn two_users_of_a_group_share_one_store() {
    let workspace = model_free::workspace();
    let folder = workspace.path(".");
    std::fs::create_dir(workspace.cache()).expect("a folder");
    for path in [&folder, &workspace.cache()] {
        std::os::unix::fs::chown(path, None, Some(GROUP)).expect("root may");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2775)).expect("rights");
    }
    let command = |user: u32, arguments: &[&str]| {
        let mut command = workspace.command(arguments);
        command.uid(user).gid(GROUP).env("HOME", "/nonexistent").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let succeeds = |user: u32, arguments: &[&str]| {
        let output = command(user, arguments).output().expect("the program starts");
        assert!(output.status.success(), "{user} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let started = |user: u32, more: &[&str]| {
        stages_with(&parse(&succeeds(user, &[&["run", "pipeline.yaml", "--json"], more].concat())), "stage-started")
    };
    assert_eq!(started(USERS[0], &[]), ["data", "mask", "random"]);
    assert_eq!(started(USERS[1], &[]), Vec::<String>::new(), "the other's results");
    assert_eq!(started(USERS[1], &["--set", "params.tau=0.2"]), ["mask"]);
    assert_eq!(started(USERS[0], &["--set", "params.tau=0.2"]), Vec::<String>::new());
    // Four processes of each at once: every stage once.
    let at_once: Vec<_> = (0..8)
        .map(|number| {
            let needles = ["--set", "params.needles=300", "--set", "params.haystack=2000"];
            command(USERS[number % 2], &[&["run", "pipeline.yaml", "--json"], &needles[..]].concat())
                .spawn()
                .expect("started")
        })
        .collect();
    let mut events = Vec::new();
    for child in at_once {
        let output = child.wait_with_output().expect("its end");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        events.extend(parse(&String::from_utf8(output.stdout).expect("UTF-8")));
    }
    assert_eq!(stages_with(&events, "stage-started"), ["data"]);
    // Each may look after what the other made.
    succeeds(USERS[1], &["cache", "pin", "latest"]);
    succeeds(USERS[0], &["cache", "unpin", "latest"]);
    let removed = succeeds(USERS[0], &["cache", "gc", "--keep-runs", "0", "--keep-for", "0s", "--json"]);
    assert_eq!(parse(&removed)[0]["removed"].as_array().map(Vec::len), Some(5), "{removed}");
    assert_eq!(started(USERS[0], &[]), ["data", "mask", "random"]);
    let blob = workspace.blob_of("mask", "mask");
    support::workspace::overwrite(&blob, b"damaged");
    let repaired = succeeds(USERS[1], &["cache", "verify", "--repair"]);
    assert!(repaired.contains("2 problems, all dealt with"), "{repaired}");
    assert_eq!(started(USERS[1], &[]), ["mask"]);
    succeeds(USERS[0], &["cache", "verify"]);
}
