//! A program as it runs: in a process group of its own, with its output in the log, stopped with all it started.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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
/// How soon the wish to stop is looked for, and, where the system does not tell of a program's end, the program: first,
/// and at most after doubling.
const PAUSE: [Duration; 2] = [Duration::from_micros(500), Duration::from_millis(20)];
/// Bytes that are read from a pipe at a time.
const PIECE: usize = 16 << 10;
/// Most bytes of a pipe that are read once the program is gone: more than a pipe holds, so all that it wrote. What left
/// its group could write for ever.
const REST: usize = 2 << 20;
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
    let pipes = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
    let mut output = Output {
        log: Log { progress: context.progress(), secrets, last: VecDeque::new() },
        pipes: pipes.into_iter().flatten().map(Lines::new).collect(),
        end: end_of(&child),
    };
    let waited = wait(&mut child, &group, &mut output, context);
    // What it left running could still write.
    group.kill();
    if waited.is_err() {
        // Waiting failed, so it may not be gone; it was killed, and this collects it.
        let _ = child.wait();
    }
    let log = output.finish();
    let (status, cancelled) = waited?;
    if cancelled {
        return Err(StageError::interrupted());
    }
    if status.success() {
        return Ok(());
    }
    let last: Vec<String> = log.last.into();
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

/// Waits for the end, and takes what is written meanwhile; whether it was cancelled.
fn wait(
    child: &mut Child,
    group: &Group,
    output: &mut Output<'_>,
    context: &Context,
) -> StageResult<(ExitStatus, bool)> {
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
        pause = match output.wait(if output.end.is_some() { PAUSE[1] } else { pause }) {
            true => PAUSE[0],
            false => (2 * pause).min(PAUSE[1]),
        };
    }
}

/// What becomes readable when a program ends, where the system has such a thing.
fn end_of(child: &Child) -> Option<OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{PidfdFlags, pidfd_open};
        // Without it the program is looked at again and again.
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = child;
        None
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

/// What a program writes, and where it goes.
struct Output<'a> {
    log: Log<'a>,
    pipes: Vec<Lines>,
    /// Readable once the program has ended.
    end: Option<OwnedFd>,
}

impl<'a> Output<'a> {
    /// Waits for something to be written, for the program's end, but no longer than this; takes a piece of what was
    /// written, and says whether there was any.
    fn wait(&mut self, longest: Duration) -> bool {
        let ready: Vec<bool> = {
            let files = self.pipes.iter().map(|pipe| pipe.file.as_fd()).chain(self.end.iter().map(AsFd::as_fd));
            let mut files: Vec<PollFd<'_>> = files.map(|file| PollFd::new(file, PollFlags::POLLIN)).collect();
            // Rounded up: a wait of no time would not be one.
            let timeout = PollTimeout::try_from(longest + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            match poll(&mut files, timeout) {
                Ok(_) => files.iter().map(|file| file.any().unwrap_or(true)).collect(),
                // By a signal, say.
                Err(_) => {
                    std::thread::sleep(PAUSE[0]);
                    return false;
                }
            }
        };
        let mut taken = false;
        for (pipe, _) in self.pipes.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            taken |= pipe.take_piece(&mut self.log) > 0;
        }
        self.pipes.retain(|pipe| !pipe.closed);
        taken
    }

    /// Takes what is left in the pipes. The program is gone: what is not there now does not come from it.
    fn finish(mut self) -> Log<'a> {
        for pipe in &mut self.pipes {
            let mut left = REST;
            while left > 0 && !pipe.closed {
                match pipe.take_piece(&mut self.log) {
                    0 => break,
                    taken => left = left.saturating_sub(taken),
                }
            }
            pipe.end(&mut self.log);
        }
        self.log
    }
}

/// A pipe, read line by line.
struct Lines {
    file: File,
    /// The beginning of the line that has not ended.
    line: Vec<u8>,
    /// Whether more of it was left out.
    cut: bool,
    closed: bool,
}

impl Lines {
    fn new(pipe: OwnedFd) -> Self {
        // Where reading has to wait, what left the program's group is waited for as well.
        let _ = rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK);
        Self { file: File::from(pipe), line: Vec::new(), cut: false, closed: false }
    }

    /// Takes what is there, up to a piece; gives its bytes. A pipe that cannot be read is at its end.
    fn take_piece(&mut self, log: &mut Log<'_>) -> usize {
        let mut buffer = [0; PIECE];
        let read = loop {
            match self.file.read(&mut buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break 0,
            }
        };
        if read == 0 {
            self.closed = true;
            self.end(log);
        }
        for part in buffer[..read].split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, ends) = match part {
                [text @ .., b'\n' | b'\r'] => (text, true),
                text => (text, false),
            };
            let room = LONGEST_LINE - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.cut |= text.len() > room;
            if ends {
                self.end(log);
            }
        }
        read
    }

    /// Ends the line that was begun.
    fn end(&mut self, log: &mut Log<'_>) {
        if !self.line.is_empty() {
            log.line(&self.line, self.cut);
        }
        self.line.clear();
        self.cut = false;
    }
}

/// Where a program's lines go.
struct Log<'a> {
    progress: &'a dyn Progress,
    secrets: &'a [String],
    last: VecDeque<String>,
}

impl Log<'_> {
    fn line(&mut self, bytes: &[u8], cut: bool) {
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
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(text);
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
