//! A run that goes on while the test does something to it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::workspace::{Workspace, parse};

/// A run in the background, with its events.
pub struct Background {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Background {
    /// Starts `retmask run PIPELINE --json` with further arguments.
    pub fn start(workspace: &Workspace, pipeline: &str, more: &[&str]) -> Self {
        let arguments = [&["run", pipeline, "--json"], more].concat();
        let mut command = workspace.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("standard output"));
        Self { child, lines, seen: String::new() }
    }

    /// Reads events until one of this name for this stage.
    pub fn wait_for(&mut self, event: &str, stage: &str) {
        self.wait_until(|found| found["event"] == event && found["stage"] == stage);
    }

    /// Reads events until one like this.
    pub fn wait_until(&mut self, is_it: impl Fn(&Value) -> bool) {
        loop {
            let start = self.seen.len();
            let read = self.lines.read_line(&mut self.seen).expect("UTF-8");
            assert_ne!(read, 0, "the run ended before what was waited for: {}", self.seen);
            if is_it(&serde_json::from_str(&self.seen[start..]).expect("JSON")) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.child.id()).expect("an id")).expect("an id");
        kill_process(process, signal).expect("the process is there");
    }

    /// Kills it without a warning; says whether it was still running.
    pub fn kill_if_running(&mut self) -> bool {
        if self.child.try_wait().expect("a child").is_some() {
            return false;
        }
        self.signal(Signal::KILL);
        self.child.wait().expect("its end").code().is_none()
    }

    /// Exit code, all events, standard error.
    pub fn finish(mut self) -> (Option<i32>, Vec<Value>, String) {
        self.lines.read_to_string(&mut self.seen).expect("UTF-8");
        let mut errors = String::new();
        self.child.stderr.take().expect("standard error").read_to_string(&mut errors).expect("UTF-8");
        let code = self.child.wait().expect("it ends").code();
        // A killed process may leave half a line.
        let whole = self.seen.rfind('\n').map_or(0, |end| end + 1);
        (code, parse(&self.seen[..whole]), errors)
    }
}
