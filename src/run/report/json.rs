//! Every event as one line of JSON on standard output.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::events::{Event, Reporter, Stamped};
use crate::error::Error;
use crate::output::Printer;

/// The shortest time between two progress lines of one stage.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes events as JSON lines. The first failure to write is kept for the end, and ends the writing.
pub struct JsonLines {
    printer: Printer,
    told: HashMap<String, Instant>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl JsonLines {
    /// A reporter and the place where its failure will be found.
    pub fn new(printer: Printer) -> (Self, Arc<Mutex<Option<Error>>>) {
        let failure = Arc::new(Mutex::new(None));
        (Self { printer, told: HashMap::new(), failure: failure.clone() }, failure)
    }
}

impl Reporter for JsonLines {
    fn event(&mut self, event: &Stamped<'_>) {
        if let Event::StageProgress { stage: name, done, total, .. }
        | Event::SourceProgress { source: name, done, total, .. } = event.event
        {
            if done < total && self.told.get(name).is_some_and(|told| told.elapsed() < PAUSE) {
                return;
            }
            self.told.insert(name.clone(), Instant::now());
        }
        let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failure.is_some() {
            return;
        }
        *failure = match event.line() {
            Ok(line) => self.printer.data(&line).err(),
            Err(error) => Some(Error::internal(format!("an event cannot be written as JSON: {error}"))),
        };
    }
}
