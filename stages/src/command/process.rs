//! A program as it runs: in a process group of its own, with its output in the log, stopped with all it started.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};

use crate::contract::{Context, Progress, StageError, StageResult};

/// The longest line of the log; what is longer is cut.
const LONGEST_LINE: usize = 16 << 10;
/// Lines of a failed program's output that its error shows.
const LAST_LINES: usize = 6;
/// How long a program has to stop by itself once it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// Values of passed variables shorter than this are too common to be blotted out of logs.
const SHORTEST_SECRET: usize = 6;
/// How soon an empty pipe and a running program are looked at again: first, and at most after doubling.
const PAUSE: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(20)];
/// What stands for such a value.
const BLOT: &str = "***";

/// The process groups of the programs that run.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Ends all programs at once, with all they started: for a process that is about to end.
pub fn kill_running() {
    for &group in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // One that has ended meanwhile needs nothing.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Runs a command to its end. When it is cancelled its group is asked to stop, and killed after a while; in any case
/// nothing that it started outlives it in its group. `secrets` are blotted out of what it writes.
///
/// # Errors
/// `Input` when it cannot be started or fails; `Interrupted` when it was cancelled; `Environment` when the system refuses.
pub fn run(mut command: Command, name: &str, secrets: &[String], context: &Context) -> StageResult<()> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before it was asked for.
            if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(ErrorKind::Interrupted.into()) }
        });
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::OutOfMemory | ErrorKind::WouldBlock => {
            StageError::environment(format!("cannot start `{name}`: {error}"))
        }
        _ => StageError::input(format!("cannot start `{name}`: {error}")),
    })?;
    let group = Group::of(&child)?;
    let log = Log { progress: context.progress(), secrets, last: Mutex::default(), ended: AtomicBool::new(false) };
    let pipes = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
    let (status, cancelled) = std::thread::scope(|scope| {
        for pipe in pipes.into_iter().flatten() {
            scope.spawn(|| log.take(pipe));
        }
        let waited = wait(&mut child, &group, context);
        // What it left running could still write.
        group.kill();
        log.ended.store(true, Ordering::Release);
        if waited.is_err() {
            // Waiting failed, so it may not be gone; it was killed, and this collects it.
            let _ = child.wait();
        }
        waited
    })?;
    if cancelled {
        return Err(StageError::interrupted());
    }
    if status.success() {
        return Ok(());
    }
    let last: Vec<String> = log.last.into_inner().unwrap_or_else(PoisonError::into_inner).into();
    let said = if last.is_empty() {
        "; it wrote nothing".to_owned()
    } else {
        format!("; its last lines:\n    {}", last.join("\n    "))
    };
    Err(StageError::input(format!("`{name}` {}{said}", ended(status)))
        .with_hint("`retmask logs STAGE` prints all it wrote"))
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended without a status".to_owned(),
    }
}

/// Waits for the end; whether it was cancelled.
fn wait(child: &mut Child, group: &Group, context: &Context) -> StageResult<(ExitStatus, bool)> {
    let failed = |error: std::io::Error| StageError::environment(format!("cannot wait for a program: {error}"));
    let mut pause = PAUSE[0];
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok((status, asked.is_some()));
        }
        match asked {
            None if context.cancel().is_cancelled() => {
                context.progress().log("asked to stop");
                group.signal(Signal::TERM);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > GRACE => group.signal(Signal::KILL),
            _ => {}
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(PAUSE[1]);
    }
}

/// A running program's process group, listed as long as this is there.
struct Group(Pid);

impl Group {
    fn of(child: &Child) -> StageResult<Self> {
        let group = Pid::from_child(child);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        Ok(Self(group))
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(self.0, signal);
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|group| *group != self.0);
    }
}

/// Where a program's lines go.
struct Log<'a> {
    progress: &'a dyn Progress,
    secrets: &'a [String],
    last: Mutex<VecDeque<String>>,
    /// The program is gone. What left its group may keep the pipes open, and is not waited for.
    ended: AtomicBool,
}

impl Log<'_> {
    /// Takes lines until the pipe closes, or is empty once the program is gone. One that cannot be read is at its end.
    fn take(&self, pipe: OwnedFd) {
        // Where reading has to wait, a program that left its group is waited for as well.
        let _ = rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK);
        let mut reader = BufReader::new(File::from(pipe));
        let (mut line, mut cut, mut pause) = (Vec::new(), false, PAUSE[0]);
        loop {
            // Asked before reading, so that what is written last is read.
            let ended = self.ended.load(Ordering::Acquire);
            let buffer = match reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock && !ended => {
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(PAUSE[1]);
                    continue;
                }
                Err(_) => &[],
            };
            pause = PAUSE[0];
            let (taken, ends) = match buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                Some(end) => (end + 1, true),
                None => (buffer.len(), false),
            };
            let part = &buffer[..taken - usize::from(ends)];
            let room = LONGEST_LINE - line.len();
            line.extend_from_slice(&part[..part.len().min(room)]);
            cut |= part.len() > room;
            let closed = taken == 0;
            reader.consume(taken);
            if (ends || closed) && !line.is_empty() {
                self.line(&line, cut);
                line.clear();
                cut = false;
            }
            if closed {
                return;
            }
        }
    }

    fn line(&self, bytes: &[u8], cut: bool) {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        let secrets = || self.secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET);
        for secret in secrets() {
            text = text.replace(secret.as_str(), BLOT);
        }
        if cut {
            // The end of the line may hold the beginning of a secret.
            let longest = secrets().map(String::len).max().unwrap_or(0);
            let end = text.floor_char_boundary(text.len().saturating_sub(longest));
            text.truncate(end);
            text.push('…');
        }
        self.progress.log(&text);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::{Cancel, SilentProgress};

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Progress for Lines {
        fn phase(&self, _: &str, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
        fn tokens(&self, _: u64) {}
        fn log(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_are_logged_without_secrets_and_not_without_end() {
        let lines = Arc::new(Lines::default());
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new(lines.clone(), Cancel::default(), folder.path());
        let script = "echo token=hush-hush; printf 'a\\rb'; head -c 40000 /dev/zero | tr '\\0' x; echo; echo end >&2";
        run(shell(script), "sh", &["hush-hush".into(), "b".into()], &context).unwrap();
        let lines = lines.0.lock().unwrap();
        assert!(lines.contains(&"token=***".to_owned()) && lines.contains(&"a".to_owned()), "{lines:?}");
        assert!(lines.contains(&"end".to_owned()));
        let long = lines.iter().find(|line| line.starts_with("bxx")).unwrap();
        assert!(long.ends_with("x…") && long.len() <= LONGEST_LINE + 3, "{}", long.len());
    }

    #[test]
    fn a_failure_says_how_it_ended_and_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
        let error = run(shell("echo no; echo space >&2; exit 7"), "sh", &[], &context).unwrap_err();
        assert!(error.message.starts_with("`sh` ended with exit status 7; its last lines:\n    "), "{}", error.message);
        assert!(error.message.contains("no") && error.message.contains("space"));
        let error = run(shell("kill -9 $$"), "sh", &[], &context).unwrap_err();
        assert_eq!(error.message, "`sh` was ended by signal 9; it wrote nothing");
        let error = run(Command::new("/nowhere/tool"), "tool", &[], &context).unwrap_err();
        assert!(error.message.starts_with("cannot start `tool`"), "{}", error.message);
    }

    #[test]
    fn nothing_it_started_outlives_it() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
        let mark = folder.path().join("mark");
        // A child in the background that holds the pipes, and would write later.
        let script = format!("(sleep 2; touch {}) & exit 0", mark.display());
        let began = Instant::now();
        run(shell(&script), "sh", &[], &context).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "it is not waited for");
        std::thread::sleep(Duration::from_millis(2_500));
        assert!(!mark.exists());
    }

    #[test]
    fn what_leaves_the_group_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let lines = Arc::new(Lines::default());
        let context = Context::new(lines.clone(), Cancel::default(), folder.path());
        let began = Instant::now();
        run(shell("setsid sleep 8 & echo last"), "sh", &[], &context).unwrap();
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        assert!(lines.0.lock().unwrap().contains(&"last".to_owned()));
    }

    #[test]
    fn a_cancelled_program_is_asked_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = Cancel::default();
        cancel.cancel();
        let context = Context::new(Arc::new(SilentProgress), cancel, folder.path());
        let began = Instant::now();
        let error = run(shell("sleep 60"), "sh", &[], &context).unwrap_err();
        assert_eq!(error.fault, crate::contract::Fault::Interrupted);
        assert!(began.elapsed() < GRACE, "{:?}", began.elapsed());
    }
}
