//! A remote store between two users: the second computes nothing, and nothing fails because the remote does.

mod support;

use std::path::PathBuf;

use support::model_free;
use support::workspace::{Workspace, overwrite, parse, stages_with};

const NONE: Vec<String> = Vec::new();

/// A folder for both, as an address.
struct Shared {
    folder: tempfile::TempDir,
}

impl Shared {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn address(&self) -> String {
        format!("file://{}", self.folder.path().join("remote").display())
    }

    fn files(&self, below: &str) -> Vec<PathBuf> {
        fn all(folder: PathBuf, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() { all(path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        all(self.folder.path().join("remote").join(below), &mut found);
        found.sort();
        found
    }
}

#[test]
fn what_one_user_makes_another_does_not_compute() {
    let (ana, ben, shared) = (model_free::workspace(), model_free::workspace(), Shared::new());
    let remote = ["run", "pipeline.yaml", "--remote", &shared.address()];
    let events = ana.events(&remote);
    assert_eq!(stages_with(&events, "stage-started"), ["data", "mask", "random"]);
    assert_eq!(stages_with(&events, "remote-stored"), ["data", "mask", "random"]);
    let events = ben.events(&remote);
    assert_eq!(stages_with(&events, "stage-started"), NONE, "the second user computes nothing");
    assert_eq!(stages_with(&events, "remote-fetched"), ["data", "mask", "random"]);
    assert_eq!(stages_with(&events, "stage-hit"), ["data", "mask", "random"]);
    assert_eq!(ben.digests(), ana.digests());
    ben.succeeds(&["cache", "verify"]);
    // Now it is ben's own: the remote is not asked again.
    assert_eq!(stages_with(&ben.events(&remote), "remote-fetched"), NONE);
    // Another parameter: what is shared is shared, what is not is computed, and given in turn.
    let tau = [&remote[..], &["--set", "params.tau=0.2"]].concat();
    assert_eq!(stages_with(&ben.events(&tau), "stage-started"), ["mask"]);
    assert_eq!(stages_with(&ana.events(&tau), "stage-started"), NONE);
    // The environment says it as well.
    let carol = model_free::workspace();
    let run = carol.command(&["run", "pipeline.yaml", "--json"]).env("RETMASK_REMOTE", shared.address()).output();
    let events = parse(&String::from_utf8(run.expect("the program starts").stdout).expect("UTF-8"));
    assert_eq!(stages_with(&events, "remote-fetched"), ["data", "mask", "random"]);
}

#[test]
fn a_mode_says_whether_a_run_takes_gives_or_leaves_it() {
    let (ana, ben, shared) = (model_free::workspace(), model_free::workspace(), Shared::new());
    let with =
        |mode: &str| ["run", "pipeline.yaml", "--remote", &shared.address(), "--remote-mode", mode].map(str::to_owned);
    let run = |user: &Workspace, mode: &str| user.events(&with(mode).each_ref().map(String::as_str));
    assert_eq!(stages_with(&run(&ana, "explicit"), "stage-started"), ["data", "mask", "random"]);
    assert_eq!(shared.files(""), Vec::<PathBuf>::new(), "an explicit remote is left alone");
    let pushed = ana.succeeds(&["cache", "push", "latest", "--remote", &shared.address()]).out;
    assert_eq!(pushed.lines().filter(|line| line.contains("given")).count(), 3, "{pushed}");
    let pushed = ana.succeeds(&["cache", "push", "latest", "--remote", &shared.address()]).out;
    assert_eq!(pushed.lines().filter(|line| line.contains("there already")).count(), 3, "{pushed}");
    let before = shared.files("");
    let events = run(&ben, "read-only");
    assert_eq!((stages_with(&events, "stage-started"), stages_with(&events, "remote-stored")), (NONE, NONE));
    let tau = with("read-only").map(|argument| argument.clone());
    let tau: Vec<&str> = tau.iter().map(String::as_str).chain(["--set", "params.tau=0.2"]).collect();
    assert_eq!(stages_with(&ben.events(&tau), "stage-started"), ["mask"]);
    assert_eq!(shared.files(""), before, "a read-only remote is not written");
    let refused = ben.run(&["cache", "push", "mask", "--remote", &shared.address(), "--remote-mode", "read-only"]);
    assert_eq!((refused.code, refused.err.contains("it is read-only")), (Some(3), true), "{}", refused.err);
}

#[test]
fn a_run_a_stage_and_a_key_can_be_pulled() {
    let (ana, shared) = (model_free::workspace(), Shared::new());
    ana.succeeds(&["run", "pipeline.yaml"]);
    let address = shared.address();
    ana.succeeds(&["cache", "push", "latest", "--remote", &address]);
    let run = ana.latest_run().file_name().expect("a name").to_string_lossy().into_owned();
    let ben = model_free::workspace();
    let pulled = ben.succeeds(&["cache", "pull", &run, "--remote", &address]).out;
    assert_eq!(pulled.lines().filter(|line| line.contains("taken")).count(), 3, "{pulled}");
    assert_eq!(ben.succeeds(&["show", "mask", "--json"]).out, ana.succeeds(&["show", "mask", "--json"]).out);
    assert_eq!(stages_with(&ben.events(&["run", "pipeline.yaml"]), "stage-started"), NONE);
    let carol = model_free::workspace();
    carol.succeeds(&["cache", "pull", &format!("mask@{run}"), "--remote", &address]);
    assert_eq!(carol.files_in("ac"), 1);
    let key = parse(&carol.succeeds(&["cache", "ls", "--json"]).out)[0]["key"].as_str().expect("a key").to_owned();
    let dora = model_free::workspace();
    dora.succeeds(&["cache", "pull", &key, "--remote", &address]);
    assert_eq!(stages_with(&dora.events(&["run", "pipeline.yaml"]), "stage-started"), ["data", "random"]);
    let absent = dora.run(&["cache", "pull", &"0".repeat(64), "--remote", &address]);
    assert_eq!(
        (absent.code, absent.err.contains("has no sound result of key 000000000000")),
        (Some(3), true),
        "{}",
        absent.err
    );
    let nowhere = dora.run(&["cache", "pull", &run]);
    assert_eq!((nowhere.code, nowhere.err.contains("no remote is named")), (Some(2), true), "{}", nowhere.err);
}

#[test]
fn a_damaged_remote_costs_a_computation_and_is_healed_by_it() {
    let (ana, ben, shared) = (model_free::workspace(), model_free::workspace(), Shared::new());
    let remote = ["run", "pipeline.yaml", "--remote", &shared.address()];
    ana.succeeds(&remote);
    for file in shared.files("cas") {
        let mut bytes = std::fs::read(&file).expect("an object");
        bytes[3] ^= 1;
        overwrite(&file, &bytes);
    }
    let required = ben.run(&[&remote[..], &["--require-remote"]].concat());
    assert_eq!(required.code, Some(3), "{}", required.err);
    assert!(required.err.contains("is damaged: its bytes have the digest"), "{}", required.err);
    let events = ben.events(&remote);
    assert_eq!(stages_with(&events, "stage-started"), ["data", "mask", "random"]);
    assert_eq!(stages_with(&events, "remote-failed"), ["data", "mask", "random"]);
    assert_eq!(ben.digests(), ana.digests());
    let carol = model_free::workspace();
    assert_eq!(stages_with(&carol.events(&remote), "stage-started"), NONE, "what ben made healed it");
    carol.succeeds(&["cache", "verify"]);
}

/// A remote that is not there or refuses costs a warning, or with `--require-remote` the run; what the environment holds
/// to sign requests with is written nowhere.
#[test]
fn a_remote_that_fails_fails_nothing_unless_it_is_required_and_secrets_stay_secret() {
    const KEY: &str = "AKIAOFTHETEST0000000";
    const SECRET: &str = "the/very+secret=key/of+the=test";
    // A port that nobody listens on.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let user = model_free::workspace();
    let run = |more: &[&str]| {
        let arguments = [&["run", "pipeline.yaml", "--remote", "s3://team/retmask"], more].concat();
        let mut command = user.command(&arguments);
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_ALLOW_HTTP", "true");
        command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")).env("AWS_REGION", "us-east-1");
        command.output().expect("the program starts")
    };
    let (required, without) = (run(&["--require-remote"]), run(&[]));
    let told = String::from_utf8_lossy(&required.stderr).into_owned();
    assert_eq!(required.status.code(), Some(3), "{told}");
    assert!(told.contains("the remote s3://team/retmask: cannot"), "{told}");
    let told = String::from_utf8_lossy(&without.stderr).into_owned();
    assert_eq!(without.status.code(), Some(0), "{told}");
    assert_eq!(told.matches("the run goes on without").count(), 1, "it is asked once: {told}");
    for output in [&required.stdout, &required.stderr, &without.stdout, &without.stderr] {
        let text = String::from_utf8_lossy(output);
        assert!(!text.contains(SECRET) && !text.contains(KEY), "{text}");
    }
    assert!(user.all_files() > 10);
    assert_eq!(user.files_with(SECRET), NONE);
    assert_eq!(user.files_with(KEY), NONE);
    // Without credentials nothing is tried at all.
    let bare = user.run(&["run", "pipeline.yaml", "--remote", "s3://team/retmask"]);
    assert_eq!(bare.code, Some(2));
    assert!(bare.err.contains("needs credentials") && bare.err.contains("AWS_ACCESS_KEY_ID"), "{}", bare.err);
    let wrong = user.run(&["run", "pipeline.yaml", "--remote", "ftp://team"]);
    assert_eq!((wrong.code, wrong.err.contains("is of a kind that is not known")), (Some(2), true), "{}", wrong.err);
    // A folder that cannot be one.
    user.write("occupied", "a file");
    let address = format!("file://{}", user.path("occupied/remote").display());
    let folder = user.run(&["run", "pipeline.yaml", "--remote", &address]);
    assert_eq!((folder.code, folder.err.contains("the run goes on without it")), (Some(0), true), "{}", folder.err);
    assert_eq!(user.run(&["run", "pipeline.yaml", "--remote", &address, "--require-remote"]).code, Some(3));
}
