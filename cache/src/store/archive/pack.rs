//! Writing an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::super::Store;
use super::super::export::Unfinished;
use super::super::records::MissReason;
use super::{Entry, HEADER, is_name};
use crate::hash::{self, Hasher};
use crate::record::Form;
use crate::{CacheError, CacheResult, Digest, Key};

/// A file of a run's record, to go with its results.
#[derive(Debug, Clone)]
pub struct RunFile {
    /// The run's name: that of its folder.
    pub run: String,
    pub path: PathBuf,
}

/// What went into an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packed {
    pub records: u64,
    pub blobs: u64,
    /// Segments of rows.
    pub segments: u64,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Results that were left out because they are private.
    pub private: u64,
}

impl Store {
    /// Writes the results of these keys, segments of rows of these scopes, and files of runs, into one new file; private
    /// results are left out. Every blob is verified on the way; a result that is lost is given back with the reason, and
    /// then nothing is written.
    ///
    /// # Errors
    /// Input: `destination` exists and is not to be overwritten, or its folder does not. Environment: it cannot be
    /// written, or the store not be read. Internal: a name of a run cannot stand in an archive.
    pub fn pack(
        &self,
        keys: &BTreeSet<Key>,
        scopes: &BTreeSet<Key>,
        files: &[RunFile],
        destination: &Path,
        overwrite: bool,
    ) -> CacheResult<Result<Packed, (Key, MissReason)>> {
        let _in_use = self.begin_use()?;
        let (mut records, mut blobs, mut private) = (Vec::new(), BTreeMap::new(), 0);
        for key in keys {
            let (record, path) = match self.usable(key)? {
                Ok((record, _, path)) => (record, path),
                Err(reason) => return Ok(Err((*key, reason))),
            };
            if record.provenance.private {
                private += 1;
                continue;
            }
            for output in &record.outputs {
                if output.form == Form::Tree {
                    match self.load_manifest(output)? {
                        Ok(manifest) => {
                            let of_tree = manifest.entries().iter().map(|entry| entry.digest);
                            blobs.extend(of_tree.map(|digest| (digest, (*key, output.port.clone()))));
                        }
                        Err(reason) => return Ok(Err((*key, reason))),
                    }
                }
                blobs.insert(output.blob, (*key, output.port.clone()));
            }
            match fs::read(&path) {
                Ok(bytes) => records.push((*key, bytes)),
                // Put aside by another process since then.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err((*key, MissReason::NoRecord))),
                Err(error) => return Err(CacheError::store_io("read the record", &path, &error)),
            }
        }
        let unfinished = Unfinished::beside(destination, Form::File, overwrite)?;
        let mut archive = Archive::create(unfinished.path())?;
        for (digest, (key, port)) in &blobs {
            if let Some(reason) = self.pack_blob(port, digest, &mut archive)? {
                return Ok(Err((*key, reason)));
            }
        }
        for (key, bytes) in &records {
            archive.write(Entry::Record(*key, bytes.len() as u64).line().as_bytes())?;
            archive.write(bytes)?;
        }
        let mut segments = 0;
        for scope in scopes {
            for (digest, path) in self.segments_of(scope)? {
                segments += u64::from(pack_segment(scope, &digest, &path, &mut archive)?);
            }
        }
        for file in files {
            pack_run_file(file, &mut archive)?;
        }
        let bytes = archive.finish()?;
        unfinished.finish()?;
        Ok(Ok(Packed { records: records.len() as u64, blobs: blobs.len() as u64, segments, bytes, private }))
    }

    fn pack_blob(&self, port: &str, digest: &Digest, archive: &mut Archive) -> CacheResult<Option<MissReason>> {
        let path = self.layout().blob(digest);
        let missing = Ok(Some(MissReason::MissingBlob { port: port.to_owned(), digest: *digest }));
        let Some(size) = self.blob_size(digest)? else { return missing };
        let mut file = match hash::open(&path, false) {
            Ok(file) => file,
            // Put aside by another process since then.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return missing,
            Err(error) => return Err(CacheError::store_io("read", &path, &error)),
        };
        if archive.write_file(&Entry::Blob(*digest, size), &mut file, size, &path)? == *digest {
            return Ok(None);
        }
        let quarantined = self.set_aside(&path)?;
        Ok(Some(MissReason::DamagedBlob { port: port.to_owned(), digest: *digest, quarantined }))
    }
}

/// Whether it was there to be written: segments are merged now and then.
fn pack_segment(scope: &Key, digest: &Digest, path: &Path, archive: &mut Archive) -> CacheResult<bool> {
    let unreadable = |error: io::Error| CacheError::store_io("read", path, &error);
    let mut file = match hash::open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unreadable(error)),
    };
    let size = file.metadata().map_err(unreadable)?.len();
    let entry = Entry::Rows { scope: *scope, digest: *digest, size };
    if archive.write_file(&entry, &mut file, size, path)? == *digest {
        return Ok(true);
    }
    Err(CacheError::environment(path, format!("{} is damaged", path.display()))
        .with_hint("`retmask cache verify --repair` puts it aside and keeps its sound rows"))
}

fn pack_run_file(file: &RunFile, archive: &mut Archive) -> CacheResult<()> {
    let RunFile { run, path } = file;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !is_name(run) || !is_name(&name) {
        return Err(CacheError::internal(format!("{name} of run {run} cannot be in an archive: of its name")));
    }
    // Read whole: a run that is still going on may write to it.
    let bytes = fs::read(path).map_err(|error| CacheError::store_io("read", path, &error))?;
    archive.write(Entry::Run { run: run.clone(), file: name, size: bytes.len() as u64 }.line().as_bytes())?;
    archive.write(&bytes)
}

/// An archive being written, with the digest of what was written.
struct Archive {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Archive {
    fn create(path: &Path) -> CacheResult<Self> {
        let file = File::create_new(path).map_err(|error| CacheError::user_io("write", path, &error))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let mut archive = Self { path: path.to_path_buf(), file, hasher: blake3::Hasher::new(), bytes: 0 };
        archive.write(HEADER.as_bytes())?;
        Ok(archive)
    }

    /// Writes an entry with the bytes of a file, which should be so many; gives the digest of those that were there.
    fn write_file(&mut self, entry: &Entry, file: &mut File, size: u64, path: &Path) -> CacheResult<Digest> {
        self.write(entry.line().as_bytes())?;
        let mut hasher = Hasher::new(size);
        let mut buffer = hasher.buffer();
        loop {
            let read = hash::read_full(file, &mut buffer);
            match read.map_err(|error| CacheError::store_io("read", path, &error))? {
                0 => return Ok(hasher.digest()),
                read => {
                    hasher.update(&buffer[..read]);
                    self.write(&buffer[..read])?;
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> CacheResult<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| CacheError::user_io("write", &self.path, &error))
    }

    /// Writes the last line and waits until all is on the disk; gives the file's bytes.
    fn finish(mut self) -> CacheResult<u64> {
        let digest = Digest::new(crate::DigestKind::Bytes, *self.hasher.finalize().as_bytes());
        self.write(Entry::End(digest).line().as_bytes())?;
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| CacheError::user_io("write", &self.path, &error))?;
        Ok(self.bytes)
    }
}
