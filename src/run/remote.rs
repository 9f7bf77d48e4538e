//! The remote store during a run: what is not here is looked for there, what is made here is given to it. It may fail
//! without the run failing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use retmask_cache::{Access, Key, Pulled, Remote, Store};
use retmask_stages::contract::Cancel;

use super::events::{Event, Events};
use crate::error::{Error, Result};

/// A remote as a run uses it.
#[derive(Debug)]
pub struct RunRemote {
    remote: Remote,
    /// Whether the run fails when the remote does.
    required: bool,
    /// Set once it did not answer or refused: the run does not ask it again.
    given_up: AtomicBool,
}

impl RunRemote {
    pub fn new(remote: Remote, required: bool) -> Self {
        Self { remote, required, given_up: AtomicBool::new(false) }
    }

    /// Brings the result of a key; says whether the store has it now.
    ///
    /// # Errors
    /// `Environment` when the remote fails or is damaged, and it is required.
    pub fn fetch(&self, store: &Store, stage: &str, key: &Key, events: &Events, cancel: &Cancel) -> Result<bool> {
        if self.given_up.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let began = Instant::now();
        let pulled = match store.pull(&self.remote, key, &|| cancel.is_cancelled()) {
            Ok(pulled) => pulled,
            Err(_) if cancel.is_cancelled() => return Ok(false),
            Err(error) => return self.failed(stage, error.into(), events).map(|()| false),
        };
        match pulled {
            Pulled::Known => Ok(true),
            Pulled::Arrived { blobs, bytes } => {
                let seconds = began.elapsed().as_secs_f64();
                let (stage, key) = (stage.to_owned(), key.to_string());
                events.emit(&Event::RemoteFetched { stage, key, files: blobs, bytes, seconds });
                Ok(true)
            }
            Pulled::Absent { problems } if problems.is_empty() => Ok(false),
            Pulled::Absent { problems } => {
                let what = format!("the remote {}: {}", self.remote.address(), problems.join("; "));
                if self.required {
                    return Err(Error::environment(what));
                }
                events.emit(&Event::RemoteFailed { stage: stage.to_owned(), what });
                Ok(false)
            }
        }
    }

    /// Gives the result of a key to the remote, unless it is read-only.
    ///
    /// # Errors
    /// `Environment` when the remote fails and is required.
    pub fn give(&self, store: &Store, stage: &str, key: &Key, events: &Events, cancel: &Cancel) -> Result<()> {
        if self.remote.access() == Access::ReadOnly || self.given_up.load(Ordering::Relaxed) {
            return Ok(());
        }
        let began = Instant::now();
        match store.push(&self.remote, key, &|| cancel.is_cancelled()) {
            Ok(Ok(pushed)) => {
                let seconds = began.elapsed().as_secs_f64();
                let (stage, key) = (stage.to_owned(), key.to_string());
                events.emit(&Event::RemoteStored { stage, key, files: pushed.blobs, bytes: pushed.bytes, seconds });
                Ok(())
            }
            // Lost between being made and being sent; the next to want it finds out.
            Ok(Err(_)) => Ok(()),
            Err(_) if cancel.is_cancelled() => Ok(()),
            Err(error) => self.failed(stage, error.into(), events),
        }
    }

    /// Brings the rows of a scope that are wanted, as far as the remote has them.
    ///
    /// # Errors
    /// `Environment` when the remote fails or is damaged, and it is required.
    pub fn fetch_rows(
        &self,
        store: &Store,
        stage: &str,
        scope: &Key,
        wanted: &dyn Fn(&[u8; 32]) -> bool,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<()> {
        if self.given_up.load(Ordering::Relaxed) {
            return Ok(());
        }
        let began = Instant::now();
        match store.pull_rows(&self.remote, scope, wanted, &|| cancel.is_cancelled()) {
            Ok(moved) => {
                self.problems(stage, &moved.problems, events)?;
                if moved.segments > 0 {
                    let (stage, scope, seconds) = (stage.to_owned(), scope.to_string(), began.elapsed().as_secs_f64());
                    let (rows, bytes) = (moved.rows, moved.bytes);
                    events.emit(&Event::RowsFetched { stage, scope, rows, files: moved.segments, bytes, seconds });
                }
                Ok(())
            }
            Err(_) if cancel.is_cancelled() => Ok(()),
            Err(error) => self.failed(stage, error.into(), events),
        }
    }

    /// Gives the rows that a result was put together from to the remote, unless it is read-only.
    ///
    /// # Errors
    /// `Environment` when the remote fails and is required.
    pub fn give_rows(
        &self,
        store: &Store,
        stage: &str,
        scopes: &[Key],
        events: &Events,
        cancel: &Cancel,
    ) -> Result<()> {
        for scope in scopes {
            if self.remote.access() == Access::ReadOnly || self.given_up.load(Ordering::Relaxed) {
                return Ok(());
            }
            let began = Instant::now();
            match store.push_rows(&self.remote, scope, &|| cancel.is_cancelled()) {
                Ok(moved) => {
                    self.problems(stage, &moved.problems, events)?;
                    if moved.segments > 0 {
                        let (stage, scope) = (stage.to_owned(), scope.to_string());
                        let (rows, bytes, seconds) = (moved.rows, moved.bytes, began.elapsed().as_secs_f64());
                        events.emit(&Event::RowsStored { stage, scope, rows, files: moved.segments, bytes, seconds });
                    }
                }
                Err(_) if cancel.is_cancelled() => return Ok(()),
                Err(error) => self.failed(stage, error.into(), events)?,
            }
        }
        Ok(())
    }

    /// What of the remote's rows is not sound is told, and left.
    fn problems(&self, stage: &str, problems: &[String], events: &Events) -> Result<()> {
        if problems.is_empty() {
            return Ok(());
        }
        let what = format!("the remote {}: {}", self.remote.address(), problems.join("; "));
        if self.required {
            return Err(Error::environment(what));
        }
        events.emit(&Event::RemoteFailed { stage: stage.to_owned(), what });
        Ok(())
    }

    fn failed(&self, stage: &str, error: Error, events: &Events) -> Result<()> {
        if self.required {
            return Err(error);
        }
        let first = !self.given_up.swap(true, Ordering::Relaxed);
        if let (true, Error::Message { message, .. }) = (first, error) {
            events.emit(&Event::RemoteFailed { stage: stage.to_owned(), what: message });
        }
        Ok(())
    }
}
