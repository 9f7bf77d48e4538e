//! Brings the sources that are downloaded, before the stages start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::events::{Event, Events};
use crate::error::Result;
use crate::hub::Watcher;
use crate::pipeline::Location;
use crate::plan::{HubSources, Planner};

/// The shortest time between two progress events of one source.
const PAUSE: Duration = Duration::from_millis(100);

/// Fetches every source of the hub that a stage reads, and tells about it. What is cached costs no event.
///
/// # Errors
/// As [`HubSources::pin`] and [`HubSources::fetch`].
pub fn fetch_sources(planner: &mut Planner<'_>, hub: &HubSources, events: &Arc<Events>) -> Result<()> {
    for index in planner.to_fetch() {
        let source = planner.pipeline().source(index);
        let Location::Hub(location) = &source.location else { continue };
        let progress =
            SourceProgress { source: source.name.clone(), events, began: Instant::now(), told: Mutex::new(None) };
        let pinned = hub.pin(source, location, &progress)?;
        let begins = |files: usize, bytes: u64| {
            events.emit(&Event::SourceStarted {
                source: source.name.clone(),
                repo: location.repository.to_string(),
                revision: location.revision.to_string(),
                commit: pinned.0.commit.to_string(),
                files,
                bytes,
            });
            *progress.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        };
        let known = hub.fetch(planner.store(), source, location, &pinned, &progress, &begins)?;
        if progress.has_begun() {
            let seconds = progress.began.elapsed().as_secs_f64();
            events.emit(&Event::SourceFinished { source: source.name.clone(), bytes: pinned.0.size(), seconds });
        }
        planner.fetched(index, known);
    }
    Ok(())
}

/// Tells how far a source is, at most ten times a second.
struct SourceProgress<'a> {
    source: String,
    events: &'a Events,
    began: Instant,
    /// When it was last told; `None` until the download begins.
    told: Mutex<Option<Instant>>,
}

impl SourceProgress<'_> {
    fn has_begun(&self) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Watcher for SourceProgress<'_> {
    fn progress(&self, done: u64, total: u64, fetched: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if done < total && told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        *told = Some(Instant::now());
        let (source, seconds) = (self.source.clone(), self.began.elapsed().as_secs_f64());
        self.events.emit(&Event::SourceProgress { source, done, total, fetched, seconds });
    }

    fn note(&self, text: &str) {
        self.events.emit(&Event::SourceNote { source: self.source.clone(), text: text.to_owned() });
    }
}
