//! What a running stage tells about itself: events, at most ten a second, and lines in its log.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use retmask_stages::contract::{Progress, RowCounts};

use super::events::{Event, Events};

/// The shortest time between two progress events of one stage.
const PAUSE: Duration = Duration::from_millis(100);

/// The progress of one stage.
pub struct StageProgress {
    stage: String,
    events: Arc<Events>,
    state: Mutex<State>,
}

struct State {
    phase: String,
    unit: String,
    total: u64,
    done: u64,
    tokens: u64,
    began: Instant,
    told: Option<Instant>,
    rows: Option<RowCounts>,
    log: Log,
}

/// The stage's log file; made with its first line.
struct Log {
    path: PathBuf,
    file: Option<std::io::Result<File>>,
}

impl StageProgress {
    /// Progress of a stage that logs to `log`.
    pub fn new(stage: &str, events: Arc<Events>, log: &Path) -> Self {
        let state = State {
            phase: String::new(),
            unit: String::new(),
            total: 0,
            done: 0,
            tokens: 0,
            began: Instant::now(),
            told: None,
            rows: None,
            log: Log { path: log.to_path_buf(), file: None },
        };
        Self { stage: stage.to_owned(), events, state: Mutex::new(state) }
    }

    /// Where the results of the stage's rows came from; nothing for a stage that does not work row by row.
    pub fn row_counts(&self) -> Option<RowCounts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).rows
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let whole = state.total > 0 && state.done >= state.total;
        if !whole && state.told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        state.told = Some(Instant::now());
        self.events.emit(&Event::StageProgress {
            stage: self.stage.clone(),
            phase: state.phase.clone(),
            unit: state.unit.clone(),
            done: state.done,
            total: state.total,
            tokens: state.tokens,
            seconds: state.began.elapsed().as_secs_f64(),
        });
    }
}

impl Progress for StageProgress {
    fn phase(&self, name: &str, unit: &str, total: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.phase, state.unit, state.total) = (name.to_owned(), unit.to_owned(), total);
        (state.done, state.tokens, state.began, state.told) = (0, 0, Instant::now(), Some(Instant::now()));
        state.log.line(&format!("{name}: {total} {unit}"));
        let stage = self.stage.clone();
        self.events.emit(&Event::StagePhase { stage, phase: name.to_owned(), unit: unit.to_owned(), total });
    }

    fn advance(&self, count: u64) {
        self.change(|state| state.done += count);
    }

    fn tokens(&self, count: u64) {
        self.change(|state| state.tokens += count);
    }

    fn rows(&self, counts: RowCounts) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let RowCounts { total, reused, computed } = counts;
        if state.rows.replace(counts).is_none() {
            state.log.line(&format!("{total} rows: {reused} kept from before, {computed} to be computed"));
            self.events.emit(&Event::StageRows { stage: self.stage.clone(), rows: counts });
        } else {
            state.log.line(&format!("{total} rows: {reused} reused, {computed} computed"));
        }
    }

    fn log(&self, line: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).log.line(line);
    }
}

impl Log {
    /// Writes a line with its time. A log that cannot be written stops nothing: results do not depend on it,
    /// and a full disk comes up where it matters, when results are published.
    fn line(&mut self, line: &str) {
        let file = self.file.get_or_insert_with(|| {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            File::options().create(true).append(true).open(&self.path)
        });
        if let Ok(file) = file {
            let _ = file.write_all(format!("{:.3} {line}\n", Timestamp::now()).as_bytes());
        }
    }
}
