//! A folder with a pipeline, its data and a cache of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Checked, program};

/// The folder; removed when dropped.
pub struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    /// A folder with this `pipeline.yaml`.
    pub fn new(pipeline: &str) -> Self {
        let workspace = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        workspace.write("pipeline.yaml", pipeline);
        workspace
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a file of the test");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file of the test")
    }

    /// Gives a file a new modification time.
    pub fn touch(&self, name: &str) {
        let file = std::fs::File::options().append(true).open(self.path(name)).expect("a file of the test");
        let later = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        file.set_modified(later).expect("a modification time");
    }

    /// The program in this folder with its cache.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).current_dir(self.folder.path()).env("RETMASK_CACHE", self.cache());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Checked {
        let output = self.command(arguments).output().expect("the program starts");
        Checked {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
            err: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
        }
    }

    /// As [`Self::run`], and the exit code is 0.
    pub fn succeeds(&self, arguments: &[&str]) -> Checked {
        let checked = self.run(arguments);
        assert_eq!(checked.code, Some(0), "{arguments:?}: {}", checked.err);
        checked
    }

    /// The events of a command that succeeds.
    pub fn events(&self, arguments: &[&str]) -> Vec<Value> {
        parse(&self.succeeds(&[arguments, &["--json"]].concat()).out)
    }

    /// The folder of the latest run.
    pub fn latest_run(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.cache().join("runs")).expect("runs");
        runs.map(|run| run.expect("a run").path()).max().expect("a run")
    }

    /// The stored file of a table output in the latest run.
    pub fn blob_of(&self, stage: &str, port: &str) -> PathBuf {
        let stages = self.outputs();
        let stage = stages.iter().find(|found| found["stage"] == stage).expect("the stage");
        let outputs = stage["outputs"].as_array().expect("outputs");
        let output = outputs.iter().find(|output| output["port"] == port).expect("the port");
        let hex = output["blob"].as_str().and_then(|blob| blob.strip_prefix("b3:")).expect("a digest");
        self.cache().join("cas/b3").join(&hex[..2]).join(hex)
    }

    /// How many files lie below a folder of the cache; a folder that is not there has none.
    pub fn files_in(&self, folder: &str) -> usize {
        fn count(folder: &Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
            let entries = entries.map(|entry| entry.expect("an entry").path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(&self.cache().join(folder))
    }

    /// How many bytes the files below a folder of the cache have.
    pub fn bytes_in(&self, folder: &str) -> u64 {
        fn sum(folder: &Path) -> u64 {
            let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
            let entries = entries.map(|entry| entry.expect("an entry").path());
            entries.map(|path| if path.is_dir() { sum(&path) } else { path.metadata().expect("a size").len() }).sum()
        }
        sum(&self.cache().join(folder))
    }

    /// How many files lie in the whole folder.
    pub fn all_files(&self) -> usize {
        files_below(self.folder.path()).len()
    }

    /// The files of the whole folder, cache included, that contain this text.
    pub fn files_with(&self, text: &str) -> Vec<String> {
        let contains = |path: &PathBuf| {
            let bytes = std::fs::read(path).expect("a readable file");
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        };
        let found = files_below(self.folder.path()).into_iter().filter(contains);
        found.map(|path| path.display().to_string()).collect()
    }

    /// The stages of the latest run, with what they made.
    fn outputs(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.latest_run().join("outputs.json")).expect("outputs");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The digest of every output of the latest run, as `STAGE.PORT DIGEST`, sorted.
    pub fn digests(&self) -> Vec<String> {
        let mut digests = Vec::new();
        for stage in self.outputs() {
            for output in stage["outputs"].as_array().expect("outputs") {
                let text = |value: &Value| value.as_str().expect("text").to_owned();
                digests.push(format!(
                    "{}.{} {}",
                    text(&stage["stage"]),
                    text(&output["port"]),
                    text(&output["digest"])
                ));
            }
        }
        digests.sort();
        digests
    }

    /// CPU time, user and system, of one invocation that succeeds.
    pub fn cpu_seconds(&self, arguments: &[&str]) -> f64 {
        let program = self.command(&[]);
        let mut shell = Command::new("sh");
        // `times` prints two lines of user and system time: of the shell, and of its children.
        shell.args(["-c", "\"$@\" >/dev/null || exit 1; times", "sh"]).arg(program.get_program()).args(arguments);
        shell.current_dir(self.folder.path()).env("RETMASK_CACHE", self.cache());
        let output = shell.output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let children = text.lines().nth(1).expect("two lines of times");
        children.split_whitespace().map(minutes_and_seconds).sum()
    }
}

/// `0m0.010s` in seconds.
fn minutes_and_seconds(text: &str) -> f64 {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m').expect("minutes and seconds");
    let number = |text: &str| text.parse::<f64>().expect("a number");
    60.0 * number(minutes) + number(seconds)
}

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// JSON lines.
pub fn parse(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The names of the stages that had this event, sorted.
pub fn stages_with(events: &[Value], event: &str) -> Vec<String> {
    let found = events.iter().filter(|found| found["event"] == event);
    let mut names: Vec<String> = found.map(|event| event["stage"].as_str().expect("a stage").to_owned()).collect();
    names.sort();
    names
}

/// A stage in a plan's JSON.
pub fn state_of<'a>(plan: &'a Value, stage: &str) -> &'a Value {
    let stages = plan["stages"].as_array().expect("stages");
    stages.iter().find(|found| found["stage"] == stage).expect("the stage")
}

/// Writes over a stored file, which is read-only.
pub fn overwrite(path: &Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let read_only = std::fs::metadata(path).expect("the file").permissions();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    std::fs::write(path, content).expect("written over");
    std::fs::set_permissions(path, read_only).expect("permissions");
}
