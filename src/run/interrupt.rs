//! Ctrl-C: stages stop at their next safe point; a second one ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use retmask_stages::contract::Cancel;

use crate::error::{Error, Result};
use crate::output::Printer;

/// What an interrupt does now.
pub struct Interrupts {
    cancel: Cancel,
    running: Arc<AtomicBool>,
}

/// Exit code of a program that was told to stop.
const INTERRUPTED: i32 = 130;

impl Interrupts {
    /// Catches interrupts from now on (Ctrl-C, and the signals that ask a process to end).
    ///
    /// # Errors
    /// `Environment` when the system refuses.
    pub fn catch(printer: Printer) -> Result<Self> {
        static CAUGHT: OnceLock<()> = OnceLock::new();
        let (cancel, running) = (Cancel::default(), Arc::new(AtomicBool::new(false)));
        if CAUGHT.set(()).is_err() {
            return Err(Error::internal("interrupts are caught twice"));
        }
        let handler = {
            let (cancel, running) = (cancel.clone(), running.clone());
            move || {
                if cancel.is_cancelled() || !running.load(Ordering::Relaxed) {
                    // What is in private folders is removed by the next run.
                    std::process::exit(INTERRUPTED);
                }
                cancel.cancel();
                printer.note("stopping at the next safe point; interrupt again to stop at once");
            }
        };
        ctrlc::set_handler(handler).map_err(|error| Error::environment(format!("cannot catch interrupts: {error}")))?;
        Ok(Self { cancel, running })
    }

    /// From now on the first interrupt is a request, for there are stages to stop.
    pub fn stages_run(&self) -> Cancel {
        self.running.store(true, Ordering::Relaxed);
        self.cancel.clone()
    }
}
