//! One stage: inputs verified, work done in a private folder, outputs checked, published, recorded.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use retmask_cache::{Committed, Digest, DigestKind, Key, Output, Provenance, Readable, Reading, Record, Staging};
use retmask_stages::artifact::{Form, Media, schema, table};
use retmask_stages::contract::{CHECKPOINT_INTERVAL, Cancel, Context, Fault, Inputs, OutputPort, Outputs, Progress};

use super::folder::versions;
use super::pools::Pools;
use super::rows::{Elsewhere, StoredRows};
use crate::error::{Error, Result};
use crate::memory;
use crate::pipeline::{Origin, SourceIndex, Stage, StageIndex, Work};
use crate::plan::{
    Content, Planner, Resolved, Results, RowScopes, SourceState, lay_out, output_of, read_embedded, source_digest,
};

/// A stage about to run: everything it needs, apart from the threads it runs on.
pub struct Prepared {
    inputs: Inputs,
    /// Keeps the store's files readable while the stage runs.
    _held: Vec<Readable>,
    /// Folders of links to files of sources, as long as the stage runs.
    _layouts: Vec<Staging>,
    /// The user's files it reads, with the digests that stand in its key.
    in_place: Vec<(SourceIndex, PathBuf, Media, Digest)>,
}

/// Inputs ready to be read, or the stages whose stored outputs turned out lost.
pub enum Preparation {
    Ready(Prepared),
    Lost(Vec<(StageIndex, String)>),
}

/// A result that took less than this to make is synced with others.
const QUICK: Duration = Duration::from_millis(250);

/// What running a stage gave.
#[derive(Debug)]
pub struct Made {
    pub record: Arc<Record>,
    /// The ports at which the store keeps an earlier, different result.
    pub differs: Vec<String>,
}

/// Verifies the inputs of a stage and finds paths to read them from.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn prepare(planner: &Planner<'_>, index: StageIndex, results: &Results) -> Result<Preparation> {
    let (mut inputs, mut held, mut in_place, mut lost) = (Inputs::default(), Vec::new(), Vec::new(), Vec::new());
    let mut layouts = Vec::new();
    for binding in &planner.pipeline().stage(index).inputs {
        let readable = match binding.origin {
            Origin::Source(source) => {
                let SourceState::Known(known) = planner.source(source) else {
                    return Err(Error::internal("a stage with a missing source was about to run"));
                };
                match &known.content {
                    Content::InPlace(path) => {
                        in_place.push((source, path.clone(), known.media, known.digest));
                        inputs.insert(binding.port.name, &binding.label, binding.media, path);
                        continue;
                    }
                    Content::Linked { files, single } => {
                        let layout = planner.store().stage()?;
                        let path = lay_out(files, *single, layout.path())?;
                        layouts.push(layout);
                        inputs.insert(binding.port.name, &binding.label, binding.media, &path);
                        in_place.push((source, path, known.media, known.digest));
                        continue;
                    }
                    Content::Embedded { files, output } => read_embedded(planner.store(), files, output)?,
                }
            }
            Origin::Stage { stage, port } => {
                let record =
                    results[stage.0].as_ref().ok_or_else(|| Error::internal("a stage ran before its input"))?;
                match planner.store().read(output_of(record, port.name)?)? {
                    Reading::Ready(readable) => readable,
                    Reading::Lost(reason) => {
                        lost.push((stage, reason.to_string()));
                        continue;
                    }
                }
            }
        };
        inputs.insert(binding.port.name, &binding.label, binding.media, readable.path());
        held.push(readable);
    }
    if lost.is_empty() {
        return Ok(Preparation::Ready(Prepared { inputs, _held: held, _layouts: layouts, in_place }));
    }
    Ok(Preparation::Lost(lost))
}

/// What running one stage needs besides its inputs.
pub struct Job<'a> {
    pub planner: &'a Planner<'a>,
    pub index: StageIndex,
    pub stage: &'a Stage,
    pub resolved: &'a Resolved,
    pub pools: &'a Pools,
    pub threads: NonZeroUsize,
    pub gpus: Vec<String>,
    pub progress: Arc<dyn Progress>,
    pub cancel: Cancel,
    /// Whether rows that were computed before are taken; else all are computed.
    pub reuse_rows: bool,
    /// Where else rows may be.
    pub elsewhere: Option<Elsewhere>,
}

impl Job<'_> {
    /// Runs the stage and publishes its outputs; when it fails, nothing is published.
    ///
    /// # Errors
    /// As the stage says; `Internal` when it panics or breaks its contract; `Input` when a source changed
    /// meanwhile; `Environment` when the store cannot take the outputs.
    ///
    /// Its private folders are put into `leftovers`, to be removed when nobody waits for the stage any more.
    pub fn run(&self, prepared: &Prepared, leftovers: &mut Vec<Staging>) -> Result<Made> {
        memory::let_grow();
        let store = self.planner.store();
        leftovers.extend([store.stage()?, store.stage()?]);
        let [.., staging, scratch] = leftovers.as_slice() else {
            return Err(Error::internal("a stage has no private folders"));
        };
        let outputs = Outputs::new(staging.path());
        let scopes = RowScopes {
            kind: self.stage.kind.name,
            epoch: self.stage.kind.epoch,
            inputs: self.resolved.inputs.clone(),
            numerics: self.stage.work.numerics(),
            private: self.stage.work.is_private(),
        };
        let key = &self.resolved.key;
        if !self.reuse_rows {
            store.remove_resume_folder(key)?;
        }
        let interval = self.stage.resources.checkpoint_interval.unwrap_or(CHECKPOINT_INTERVAL);
        let context = Context::new(self.progress.clone(), self.cancel.clone(), scratch.path())
            .with_durable(store.resume_folder(key), interval)
            .with_gpus(self.gpus.clone());
        let rows = self.reuse_rows.then(|| Arc::new(StoredRows::new(store, scopes, self.elsewhere())));
        let context = match &rows {
            Some(rows) => context.with_rows(rows.clone()),
            None => context,
        };
        let created = SystemTime::now();
        let began = Instant::now();
        let worked = work(&*self.stage.work, self.pools, self.threads, &prepared.inputs, &outputs, &context);
        self.leave_only_what_helps(worked.as_ref().err())?;
        worked?;
        let duration = began.elapsed();
        // What is quickly made is quickly made again: many such results share a sync.
        let store = if duration < QUICK { &store.soon() } else { store };
        for (source, path, media, digest) in &prepared.in_place {
            self.still_the_same(*source, path, *media, digest)?;
        }
        if !self.planner.same_program(self.index)? {
            return Err(Error::input("the program changed while it was running; nothing was published")
                .with_hint("run again once nothing writes there"));
        }
        let ports = self.stage.kind.outputs;
        let digests = ports
            .iter()
            .map(|port| check(self.stage.kind.name, port, &outputs.path(port.name)))
            .collect::<Result<Vec<Option<Digest>>>>();
        let digests = digests.map_err(|error| self.to_blame(error))?;
        let paths: Vec<PathBuf> = ports.iter().map(|port| outputs.path(port.name)).collect();
        let published = store.publish(staging, &paths).map_err(|error| self.to_blame(error.into()))?;
        let outputs = ports.iter().zip(digests).zip(published).map(|((port, logical), published)| Output {
            port: port.name.to_owned(),
            media: port.media.name().to_owned(),
            form: published.form,
            digest: logical.unwrap_or(published.digest),
            blob: published.blob,
            size: published.size,
        });
        let record = Record {
            key: self.resolved.key,
            outputs: outputs.collect(),
            provenance: Provenance {
                kind: self.stage.kind.name.to_owned(),
                epoch: self.stage.kind.epoch,
                fields: self.resolved.fields(),
                created_milliseconds: milliseconds(created.duration_since(UNIX_EPOCH).unwrap_or_default()),
                duration_milliseconds: milliseconds(duration),
                tools: versions(),
                private: self.stage.work.is_private(),
                rows: self.exchangeable(rows.as_deref()),
            },
        };
        let committed = store.commit(&record)?;
        // Left, it would only take space; the result is there.
        let _ = store.remove_resume_folder(key);
        Ok(match committed {
            Committed::New => Made { record: record.into(), differs: Vec::new() },
            Committed::Already(kept) => Made { record: (*kept).into(), differs: Vec::new() },
            Committed::Differs { kept, ports } => Made { record: (*kept).into(), differs: ports },
        })
    }

    /// Where else rows may be: nowhere for those that are their maker's alone.
    fn elsewhere(&self) -> Option<Elsewhere> {
        self.elsewhere.clone().filter(|_| !self.stage.work.is_private())
    }

    /// The scopes of rows that may go where the result goes.
    fn exchangeable(&self, rows: Option<&StoredRows>) -> Vec<Key> {
        rows.filter(|_| !self.stage.work.is_private()).map(StoredRows::opened).unwrap_or_default()
    }

    /// What a stage of this program leaves is wrong by its own fault; what another program leaves, by that program's.
    fn to_blame(&self, error: Error) -> Error {
        match error {
            Error::Message { fault: Fault::Internal, message, hint } if self.stage.kind.declares_ports => {
                Error::Message { fault: Fault::Input, message, hint }
            }
            error => error,
        }
    }

    /// After a refusal of the input, what was kept would only lead to the same refusal again.
    fn leave_only_what_helps(&self, error: Option<&Error>) -> Result<()> {
        if error.is_some_and(|error| error.fault() == Some(Fault::Input)) {
            self.planner.store().remove_resume_folder(&self.resolved.key)?;
        }
        Ok(())
    }

    /// A source that changed while it was read leaves nothing to publish: nobody knows what was read.
    fn still_the_same(&self, source: SourceIndex, path: &Path, media: Media, before: &Digest) -> Result<()> {
        let after = source_digest(self.planner.store(), path, media.form());
        if after.as_ref().is_ok_and(|after| after == before) {
            return Ok(());
        }
        let name = &self.planner.pipeline().source(source).name;
        let message =
            format!("source `{name}`, {}, changed while the stage was running; nothing was published", path.display());
        Err(Error::input(message).with_hint("run again once nothing writes there"))
    }
}

/// The stage's own work, on threads of its own; a panic becomes an internal error.
fn work(
    work: &dyn Work,
    pools: &Pools,
    threads: NonZeroUsize,
    inputs: &Inputs,
    outputs: &Outputs,
    context: &Context,
) -> Result<()> {
    let work = || pools.install(threads, || work.run(inputs, outputs, context));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result??),
        Err(panic) => Err(Error::internal(format!("the stage panicked: {}", panic_message(&*panic)))),
    }
}

/// Checks that an output is there, in its declared form and schema; gives the logical digest of a table.
fn check(kind: &str, port: &OutputPort, path: &Path) -> Result<Option<Digest>> {
    let broken = |what: String| Error::internal(format!("kind `{kind}`: output `{}` {what}", port.name));
    let facts = match std::fs::symlink_metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(broken("was not written".into())),
        Err(error) => return Err(Error::environment(format!("cannot look at {}: {error}", path.display()))),
    };
    let (is_file, is_folder) = (facts.is_file(), facts.is_dir());
    match port.media.form() {
        Form::Table | Form::File if !is_file => return Err(broken("is not a file".into())),
        Form::Tree if !is_folder => return Err(broken("is not a folder".into())),
        Form::FileOrTree if !is_file && !is_folder => return Err(broken("is neither a file nor a folder".into())),
        Form::Tree | Form::File | Form::FileOrTree => return Ok(None),
        Form::Table => {}
    }
    let expected = schema::of(port.media).ok_or_else(|| broken("is a table without a schema".into()))?;
    // What this program wrote a moment ago and cannot read is its own fault.
    let batch = table::read_any(path).map_err(|error| broken(format!("cannot be read back: {error}")))?;
    if batch.schema().fields() != expected.fields() {
        let columns: Vec<String> =
            batch.schema().fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
        return Err(broken(format!("has not the columns of {}, but {}", port.media.name(), columns.join(", "))));
    }
    Ok(Some(Digest::new(DigestKind::Logical, table::batch_digest(&batch)?)))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{RecordBatch, UInt32Array};
    use retmask_stages::contract::{SilentProgress, StageResult};

    use super::*;

    const MASK: OutputPort = OutputPort { name: "mask", media: Media::Mask, summary: "" };
    const NEEDLES: OutputPort = OutputPort { name: "needles", media: Media::Needles, summary: "" };

    struct Panics;

    impl Work for Panics {
        fn numerics(&self) -> Option<retmask_model::Numerics> {
            None
        }

        fn run(&self, _: &Inputs, _: &Outputs, _: &Context) -> StageResult<()> {
            panic!("index {} of {}", 7, 3)
        }
    }

    fn message(error: Error) -> (Fault, String) {
        let Error::Message { fault, message, .. } = error else { panic!("a message") };
        (fault, message)
    }

    #[test]
    fn a_panic_is_an_internal_error_with_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
        let (inputs, outputs) = (Inputs::default(), Outputs::new(folder.path()));
        let error = work(&Panics, &Pools::default(), NonZeroUsize::MIN, &inputs, &outputs, &context).unwrap_err();
        assert_eq!(message(error), (Fault::Internal, "the stage panicked: index 7 of 3".into()));
    }

    #[test]
    fn an_output_must_be_there_in_its_form_and_schema() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let refusal = |port: &OutputPort| message(check("test", port, &path).unwrap_err());
        assert_eq!(refusal(&MASK), (Fault::Internal, "kind `test`: output `mask` was not written".into()));
        std::fs::write(&path, "no table").unwrap();
        assert!(refusal(&MASK).1.contains("output `mask` cannot be read back"));
        assert_eq!(refusal(&NEEDLES).1, "kind `test`: output `needles` is not a folder");
        let columns = |names: [&'static str; 2]| {
            let column = || Arc::new(UInt32Array::from(vec![1, 2])) as arrow::array::ArrayRef;
            RecordBatch::try_from_iter_with_nullable(names.map(|name| (name, column(), false))).unwrap()
        };
        table::write(&path, Media::Mask, &columns(["layer", "hat"])).unwrap();
        let expected =
            "kind `test`: output `mask` has not the columns of retmask/mask;v1, but layer: UInt32, hat: UInt32";
        assert_eq!(refusal(&MASK), (Fault::Internal, expected.into()));
        table::write(&path, Media::Mask, &columns(["layer", "head"])).unwrap();
        let digest = check("test", &MASK, &path).unwrap().unwrap();
        assert_eq!(digest.kind(), DigestKind::Logical);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(refusal(&MASK).1, "kind `test`: output `mask` is not a file");
    }
}
