//! Ctrl-C: stages stop at their next safe point; a second one ends the program at once.

use std::sync::{Arc, OnceLock};

use retmask_stages::contract::Cancel;

use super::events::{Event, Events};
use crate::error::{Error, Result};

/// What an interrupt does now.
pub struct Interrupts {
    cancel: Cancel,
    /// Set once there are stages to stop: where the request is told.
    running: Arc<OnceLock<Arc<Events>>>,
}

/// Exit code of a program that was told to stop.
const INTERRUPTED: i32 = 130;

impl Interrupts {
    /// Catches interrupts from now on (Ctrl-C, and the signals that ask a process to end).
    ///
    /// # Errors
    /// `Environment` when the system refuses.
    pub fn catch() -> Result<Self> {
        static CAUGHT: OnceLock<()> = OnceLock::new();
        let (cancel, running) = (Cancel::default(), Arc::new(OnceLock::<Arc<Events>>::new()));
        if CAUGHT.set(()).is_err() {
            return Err(Error::internal("interrupts are caught twice"));
        }
        let handler = {
            let (cancel, running) = (cancel.clone(), running.clone());
            move || {
                match running.get() {
                    Some(events) if !cancel.is_cancelled() => {
                        cancel.cancel();
                        events.emit(&Event::Stopping);
                    }
                    // What is in private folders is removed by the next run.
                    _ => {
                        retmask_stages::command::kill_running();
                        std::process::exit(INTERRUPTED)
                    }
                }
            }
        };
        ctrlc::set_handler(handler).map_err(|error| Error::environment(format!("cannot catch interrupts: {error}")))?;
        Ok(Self { cancel, running })
    }

    /// From now on the first interrupt is a request, for there are stages to stop.
    pub fn stages_run(&self, events: &Arc<Events>) -> Cancel {
        self.running.get_or_init(|| events.clone());
        self.cancel.clone()
    }
}
