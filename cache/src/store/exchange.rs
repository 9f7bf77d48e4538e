//! Results to and from a store elsewhere: blobs before the record that names them, and nothing believed that was not
//! compared with its digest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Store;
use super::archive::is_name;
use super::arrivals::Arrivals;
use super::blobs::BlobState;
use super::layout::{Layout, blob_place, records_place};
use super::records::{Committed, MissReason, Parts, first_missing};
use crate::record::{Form, MAX_BYTES, Record};
use crate::remote::{Fetched, Remote};
use crate::tree::Manifest;
use crate::{CacheError, CacheResult, Digest, Key, disk, hash};

/// Transfers at the same time.
const AT_ONCE: usize = 4;
/// Most records of one key that are looked at.
const MOST_RECORDS: usize = 16;
/// A manifest longer than this is refused unread: a million files have less.
const LONGEST_MANIFEST: u64 = 256 << 20;
/// A file of a run's record longer than this is left.
const LONGEST_RUN_FILE: u64 = 256 << 20;

/// What asking a remote for a result gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulled {
    /// The remote has no record of the key. There may be problems with what it has instead.
    Absent { problems: Vec<String> },
    /// The result is in this store now, so many blobs and bytes of it fresh.
    Arrived { blobs: u64, bytes: u64 },
    /// This store has it, and nothing was asked.
    Known,
}

/// What offering a result to a remote gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Whether the record is new there.
    pub fresh: bool,
    /// Blobs that were sent, and their bytes.
    pub blobs: u64,
    pub bytes: u64,
}

impl Store {
    /// Brings the result of a key from a remote. All of it is compared with its digests before the record counts; what
    /// a remote holds damaged or incomplete counts as absent, with the reason. `stop` is asked now and then.
    ///
    /// # Errors
    /// Environment: the remote cannot be read, the transfer was stopped, or this store cannot be written.
    pub fn pull(&self, remote: &Remote, key: &Key, stop: &(dyn Fn() -> bool + Sync)) -> CacheResult<Pulled> {
        let _in_use = self.begin_use()?;
        if self.usable(key)?.is_ok() {
            return Ok(Pulled::Known);
        }
        remote.check_version()?;
        let folder = records_place(key);
        let (mut problems, mut found) = (Vec::new(), Vec::new());
        for name in remote.list(&folder)?.into_iter().filter(|name| name.ends_with(".rec")).take(MOST_RECORDS) {
            let Some(bytes) = remote.read(&format!("{folder}/{name}"), MAX_BYTES)? else { continue };
            match Record::from_bytes(&bytes) {
                Ok((record, digest)) if record.key == *key && Layout::record_name(&digest) == name => {
                    found.push((record, bytes, digest));
                }
                Ok(_) => problems.push(format!("{folder}/{name} is the record of another key or name")),
                Err(reason) => problems.push(format!("{folder}/{name} is no sound record: {reason:?}")),
            }
        }
        // The oldest counts, as here.
        found.sort_by_key(|(record, _, digest)| (record.provenance.created_milliseconds, *digest));
        for (record, bytes, digest) in found {
            let mut arrivals = Arrivals::new(self)?;
            if let Some(problem) = Self::bring(remote, &record, &mut arrivals, stop)? {
                problems.push(format!("{folder}: {problem}"));
                continue;
            }
            if let Some(missing) = first_missing(&record, &arrivals)? {
                problems.push(format!("{folder}: {missing}"));
                continue;
            }
            let (blobs, size) = (arrivals.count(), arrivals.bytes());
            arrivals.publish()?;
            return Ok(match self.adopt(&record, &bytes, &digest)? {
                Committed::New => Pulled::Arrived { blobs, bytes: size },
                Committed::Already(_) | Committed::Differs { .. } => Pulled::Known,
            });
        }
        if !problems.is_empty() {
            remote.distrust(key);
        }
        Ok(Pulled::Absent { problems })
    }

    /// Lays down the blobs of a record that this store lacks; gives what is wrong with the remote's, if anything.
    fn bring(
        remote: &Remote,
        record: &Record,
        arrivals: &mut Arrivals<'_>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> CacheResult<Option<String>> {
        let mut wanted = BTreeMap::new();
        for output in &record.outputs {
            if output.form == Form::File {
                wanted.insert(output.blob, output.size);
                continue;
            }
            if arrivals.size_of(&output.blob)?.is_none() {
                let Some(size) = remote.size_of(&blob_place(&output.blob))? else {
                    return Ok(Some(format!("the manifest {} is not there", output.blob)));
                };
                if size > LONGEST_MANIFEST {
                    return Ok(Some(format!("the manifest {} has {size} bytes", output.blob)));
                }
                if let Some(problem) = Self::bring_all(remote, &[(output.blob, size)], arrivals, stop)? {
                    return Ok(Some(problem));
                }
            }
            match arrivals.manifest(&output.blob)? {
                Some(Ok((manifest, _))) => of_manifest(&manifest, &mut wanted),
                Some(Err(problem)) => return Ok(Some(format!("the manifest {}: {problem}", output.blob))),
                None => return Ok(Some(format!("the manifest {} is not there", output.blob))),
            }
        }
        let mut lacking = Vec::new();
        for (digest, size) in wanted {
            if arrivals.size_of(&digest)? != Some(size) {
                lacking.push((digest, size));
            }
        }
        Self::bring_all(remote, &lacking, arrivals, stop)
    }

    fn bring_all(
        remote: &Remote,
        blobs: &[(Digest, u64)],
        arrivals: &mut Arrivals<'_>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> CacheResult<Option<String>> {
        let (came, problem) = (Mutex::new(Vec::new()), Mutex::new(None));
        let failed = |what: String| *problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
        let laid = &*arrivals;
        at_once(blobs, &|(digest, size)| {
            let name = blob_place(digest);
            match remote.fetch(&name, *size, &laid.path(digest), stop)? {
                Fetched::Copied(found) if found == *digest => {
                    came.lock().unwrap_or_else(PoisonError::into_inner).push((*digest, *size))
                }
                Fetched::Copied(found) => {
                    failed(format!("{name} is damaged: its bytes have the digest {found}"));
                }
                Fetched::OfSize(found) => {
                    failed(format!("{name} is damaged: it has {found} bytes, not {size}"));
                }
                Fetched::Absent => failed(format!("{name} is not there")),
            }
            Ok(())
        })?;
        if let Some(problem) = problem.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Some(problem));
        }
        for (digest, size) in came.into_inner().unwrap_or_else(PoisonError::into_inner) {
            arrivals.add(digest, size);
        }
        Ok(None)
    }

    /// Sends the result of a key to a remote: the blobs that it lacks, then the record. A result that is lost here, or
    /// private, is given back with the reason.
    ///
    /// # Errors
    /// Environment: the remote cannot be written, the transfer was stopped, or this store cannot be read.
    pub fn push(
        &self,
        remote: &Remote,
        key: &Key,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> CacheResult<Result<Pushed, MissReason>> {
        let _in_use = self.begin_use()?;
        remote.require_write()?;
        let (record, digest, path) = match self.usable(key)? {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        if record.provenance.private {
            return Ok(Err(MissReason::Private));
        }
        remote.check_version()?;
        let mut blobs = BTreeMap::new();
        for output in &record.outputs {
            match output.form {
                Form::File => {
                    blobs.insert(output.blob, (output.port.clone(), output.size));
                }
                Form::Tree => {
                    let manifest = match self.load_manifest(output)? {
                        Ok(manifest) => manifest,
                        Err(reason) => return Ok(Err(reason)),
                    };
                    let mut files = BTreeMap::from([(output.blob, manifest.to_bytes().len() as u64)]);
                    of_manifest(&manifest, &mut files);
                    blobs.extend(files.into_iter().map(|(digest, size)| (digest, (output.port.clone(), size))));
                }
            }
        }
        // What was damaged there may have its size all the same.
        let anew = remote.is_distrusted(key);
        let (sent, lost) = (Mutex::new(Pushed::default()), Mutex::new(None));
        let blobs: Vec<(Digest, (String, u64))> = blobs.into_iter().collect();
        at_once(&blobs, &|(digest, (port, size))| {
            let name = blob_place(digest);
            if !anew && remote.size_of(&name)? == Some(*size) {
                return Ok(());
            }
            let path = self.layout().blob(digest);
            let state = match hash::open(&path, false) {
                Ok(mut file) => {
                    if remote.send(&name, &mut file, digest, stop)? {
                        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                        (sent.blobs, sent.bytes) = (sent.blobs + 1, sent.bytes + size);
                        return Ok(());
                    }
                    self.put_aside_if_same(&file, &path)?
                }
                // Put aside by another process since then.
                Err(error) if error.kind() == io::ErrorKind::NotFound => BlobState::Missing,
                Err(error) => return Err(CacheError::store_io("read", &path, &error)),
            };
            *lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(super::records::lost(port, digest, state));
            Ok(())
        })?;
        if let Some(reason) = lost.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Err(reason));
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Put aside by another process since then.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(MissReason::NoRecord)),
            Err(error) => return Err(CacheError::store_io("read the record", &path, &error)),
        };
        let mut sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{}/{}", records_place(key), Layout::record_name(&digest));
        sent.fresh = if anew { remote.put_over(&name, bytes).map(|()| true)? } else { remote.put(&name, bytes)? };
        Ok(Ok(sent))
    }

    /// Sends files of a run's record, written over what is there of the same run.
    ///
    /// # Errors
    /// Environment: the remote cannot be written, or a file not be read.
    pub fn push_run(&self, remote: &Remote, run: &str, files: &[PathBuf]) -> CacheResult<()> {
        remote.require_write()?;
        remote.check_version()?;
        for path in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !is_name(run) || !is_name(&name) {
                return Err(CacheError::internal(format!("{name} of run {run} cannot be sent: of its name")));
            }
            let bytes = fs::read(path).map_err(|error| CacheError::store_io("read", path, &error))?;
            remote.put_over(&format!("runs/{run}/{name}"), bytes)?;
        }
        Ok(())
    }

    /// Brings the files of a run's record whose names `wanted` accepts, unless the run is here already; its folder, or
    /// `None` when the remote has no such run.
    ///
    /// # Errors
    /// Input: the name is not that of a run. Environment: the remote cannot be read, or this store not be written.
    pub fn pull_run(&self, remote: &Remote, run: &str, wanted: &dyn Fn(&str) -> bool) -> CacheResult<Option<PathBuf>> {
        if !is_name(run) {
            return Err(CacheError::input(
                Path::new(run),
                format!("`{}` is not the name of a run", run.escape_debug()),
            ));
        }
        let folder = self.runs_folder()?.join(run);
        if folder.is_dir() {
            return Ok(Some(folder));
        }
        remote.check_version()?;
        let names = remote.list(&format!("runs/{run}"))?;
        let staging = self.stage()?;
        let laid = staging.path().join("run");
        disk::make_folders(&laid)?;
        let mut files = 0;
        for name in names.iter().filter(|name| is_name(name) && wanted(name)) {
            if let Some(bytes) = remote.read(&format!("runs/{run}/{name}"), LONGEST_RUN_FILE)? {
                disk::write_new(&laid.join(name), &bytes, 0o666)?;
                files += 1;
            }
        }
        if files == 0 {
            return Ok(None);
        }
        disk::rename_new(&laid, &folder)?;
        Ok(Some(folder))
    }
}

/// The files of a tree with their sizes.
fn of_manifest(manifest: &Manifest, files: &mut BTreeMap<Digest, u64>) {
    files.extend(manifest.entries().iter().map(|entry| (entry.digest, entry.size)));
}

/// Does this with each, a few at a time; the first failure ends it.
pub(super) fn at_once<T: Sync>(items: &[T], work: &(dyn Fn(&T) -> CacheResult<()> + Sync)) -> CacheResult<()> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(item) {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        next.store(items.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
