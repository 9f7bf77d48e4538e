//! Python programs of unknown origin, run where they can do no harm: in namespaces of their own, without network, with a
//! private file system in memory, and within limits of time and memory.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Problem;
use crate::command::find_program;
use crate::contract::{StageError, StageResult};

/// Sets up the private root; the program comes on standard input.
const SCRIPT: &str = include_str!("isolate.sh");
/// What the script says when everything is in place.
const READY: &str = "ready\n";
/// Where the tools that set it up are.
const TOOLS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Of what a program writes, so much is looked at.
const MOST_OUTPUT: usize = 1 << 20;
/// For setting up, beside the time of the program.
const SETTING_UP: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its tests passed.
    Passed,
    /// They did not, or it is no program.
    Failed,
    /// It ran out of time.
    OutOfTime,
}

impl Outcome {
    /// The word used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::OutOfTime => "out of time",
        }
    }
}

/// A Python interpreter that runs programs in isolation.
#[derive(Debug, Clone)]
pub struct Interpreter {
    file: PathBuf,
    /// The folder it was installed to.
    prefix: PathBuf,
    seconds: u32,
    /// MiB.
    memory: u32,
}

impl Interpreter {
    /// Finds the interpreter and tries the isolation with a program that does nothing. `folder` is empty and private.
    ///
    /// # Errors
    /// `Input` when there is no such program. `Environment` when this system allows no isolation: then nothing runs.
    pub fn prepare(program: &str, seconds: u32, memory: u32, folder: &Path) -> StageResult<Self> {
        let found = find_program(program)?;
        let file = found.canonicalize().map_err(|error| StageError::io("find", &found, &error))?;
        let prefix = file.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned();
        let interpreter = Self { file, prefix, seconds, memory };
        let (status, written, said) = interpreter.run("print(6 * 7)", folder)?;
        if status.is_some_and(|status| status.success()) && written == format!("{READY}42\n") {
            return Ok(interpreter);
        }
        let reason = said.lines().last().unwrap_or("no reason was given").to_owned();
        Err(StageError::environment(if written.starts_with(READY) {
            format!("{} does not run a Python program here: {reason}", interpreter.file.display())
        } else {
            format!("code cannot be run in isolation on this system, so none is run: {reason}")
        })
        .with_hint(
            "needs user, mount, network and process namespaces, and unshare, mount, pivot_root and setpriv of util-linux; \
             leave `program` out to keep the answers unscored",
        ))
    }

    /// Whether an answer to a problem passes its tests. `folder` is empty and private.
    ///
    /// # Errors
    /// `Environment` when the isolation cannot be set up.
    pub fn check(&self, problem: &Problem, answer: &str, folder: &Path) -> StageResult<Outcome> {
        // A word that an answer does not come upon by chance: it is not proof against one that looks for it in its file.
        let passed = blake3::hash(format!("{:?}{answer}", problem).as_bytes()).to_hex().to_string();
        let (status, written, said) = self.run(&problem.program(answer, &passed), folder)?;
        if !written.starts_with(READY) {
            let reason = said.lines().last().unwrap_or("no reason was given").to_owned();
            return Err(StageError::environment(format!("code cannot be run in isolation: {reason}")));
        }
        Ok(match status {
            None => Outcome::OutOfTime,
            Some(status) if status.success() && written.trim_end().ends_with(&passed) => Outcome::Passed,
            Some(_) => Outcome::Failed,
        })
    }

    /// Runs a program: its status (`None` when it ran out of time), what it wrote, and what it said of errors.
    fn run(&self, program: &str, folder: &Path) -> StageResult<(Option<ExitStatus>, String, String)> {
        let unshare = find_program("unshare").map_err(|error| StageError::environment(error.message))?;
        let mut command = Command::new(unshare);
        command.env_clear().env("PATH", TOOLS).env("LC_ALL", "C.UTF-8");
        command.args(["--user", "--map-root-user", "--net", "--mount", "--ipc", "--uts", "--pid", "--fork"]);
        command.args(["--kill-child", "--propagation", "private", "--", "/bin/sh", "-c", SCRIPT, "isolate"]);
        command.arg(folder).arg(&self.prefix).arg(&self.file);
        command.args([self.memory.to_string(), self.seconds.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: &std::io::Error| StageError::environment(format!("cannot start unshare: {error}"));
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // Its time begins when everything is set up.
        let ready = OnceLock::new();
        std::thread::scope(|threads| {
            threads.spawn(move || {
                // A script that ends before it read everything says why on standard error.
                drop(input.map(|mut input| input.write_all(program.as_bytes())));
            });
            let written = threads.spawn(|| read(output, &ready));
            let said = threads.spawn(|| read(errors, &OnceLock::new()));
            let status = wait(&mut child, Duration::from_secs(self.seconds.into()), &ready)?;
            let text = |reader: std::thread::ScopedJoinHandle<'_, String>| reader.join().unwrap_or_default();
            Ok((status, text(written), text(said)))
        })
    }
}

/// The beginning of what comes; the rest is read and dropped, so that nobody waits for it. `begun` is when it began.
fn read(mut pipe: Option<impl Read>, begun: &OnceLock<Instant>) -> String {
    let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
    // What can no longer be read is not there.
    while let Some(count) = pipe.as_mut().and_then(|pipe| pipe.read(&mut part).ok()).filter(|count| *count > 0) {
        begun.get_or_init(Instant::now);
        bytes.extend(&part[..count.min(MOST_OUTPUT - bytes.len())]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of a child that ends in time; else it is killed, with everything it started: its processes live in a
/// namespace that ends with it.
fn wait(child: &mut Child, time: Duration, ready: &OnceLock<Instant>) -> StageResult<Option<ExitStatus>> {
    let failed = |error: std::io::Error| StageError::environment(format!("cannot wait for a program: {error}"));
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(Some(status));
        }
        let deadline = ready.get().map_or(started + SETTING_UP, |ready| *ready + time);
        if Instant::now() >= deadline {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interpreter_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Interpreter::prepare("no-such-python", 1, 64, folder.path()).unwrap_err();
        assert!(error.message.contains("`no-such-python` is in no folder of PATH"), "{}", error.message);
    }
}
