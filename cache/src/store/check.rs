//! Looking at everything in the store, and putting it right.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::blobs::BlobState;
use super::records::{Peeked, first_missing, list};
use super::uses::{self, Use};
use super::{Store, Verify};
use crate::hash;
use crate::{CacheError, CacheResult, Digest, Key, Record, disk, lock};

/// What was found in a whole store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Sound records whose outputs are all there.
    pub records: u64,
    /// Records of versions that this program does not know; they are left alone.
    pub unknown: u64,
    /// Sound blobs.
    pub blobs: u64,
    /// Bytes of the sound blobs.
    pub bytes: u64,
    /// Sound segments of rows.
    pub segments: u64,
    pub problems: Vec<Problem>,
}

/// Something wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file that is wrong.
    pub path: PathBuf,
    /// What is wrong, one sentence.
    pub what: String,
    /// What was done about it; `None` when it is as it was.
    pub repair: Option<String>,
}

impl Store {
    /// Reads every blob and record and compares each with its digest, whatever is remembered. Changes nothing unless
    /// `repair`: then what is damaged is put aside and records that lost a blob are removed, so that their results
    /// are made again when next wanted.
    ///
    /// # Errors
    /// Environment: the store cannot be read, or a damaged file cannot be put aside.
    pub fn check(&self, repair: bool) -> CacheResult<Check> {
        let mut check = Check::default();
        for fan_out in list(&self.layout().blobs())? {
            if !fan_out.is_dir() {
                self.foreign(&fan_out, repair, &mut check)?;
            }
            for path in list(&fan_out)? {
                self.check_blob(&path, repair, &mut check)?;
            }
        }
        self.memo().save();
        for fan_out in list(&self.layout().all_records())? {
            for folder in list(&fan_out)? {
                let key: Option<Key> = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
                match key.filter(|key| folder.is_dir() && self.layout().records(key) == folder) {
                    None => self.foreign(&folder, repair, &mut check)?,
                    Some(key) => {
                        for path in list(&folder)? {
                            self.check_record(&key, &path, repair, &mut check)?;
                        }
                    }
                }
            }
        }
        let rows = self.check_rows(repair)?;
        check.segments = (rows.segments - rows.damaged.len()) as u64;
        check.problems.extend(rows.damaged.into_iter().map(|path| Problem {
            path,
            what: "it holds rows, and its bytes are not those it is named for".to_owned(),
            repair: repair.then(|| "it was put aside; its sound rows were kept".to_owned()),
        }));
        Ok(check)
    }

    fn check_blob(&self, path: &Path, repair: bool, check: &mut Check) -> CacheResult<()> {
        let digest = path.file_name().and_then(|name| format!("b3:{}", name.to_str()?).parse().ok());
        let Some(digest) = digest.filter(|digest| self.layout().blob(digest) == path) else {
            return self.foreign(path, repair, check);
        };
        if !repair {
            match self.peek_blob(&digest, path)? {
                Some(Ok(size)) => {
                    check.blobs += 1;
                    check.bytes += size;
                }
                Some(Err(what)) => check.problem(path, what, None),
                None => {}
            }
            return Ok(());
        }
        match self.verify_blob_as(&digest, Verify::Always)? {
            BlobState::Sound(size) => {
                check.blobs += 1;
                check.bytes += size;
            }
            // Removed by another process since it was listed.
            BlobState::Missing => {}
            BlobState::Damaged(quarantined) => {
                let repair = format!("put aside as {}", quarantined.display());
                check.problem(path, format!("the stored file {digest} is damaged"), Some(repair));
            }
        }
        Ok(())
    }

    /// The size of a sound blob or what is wrong with it, leaving it where it is; `None` when it is gone.
    fn peek_blob(&self, digest: &Digest, path: &Path) -> CacheResult<Option<Result<u64, String>>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(Some(Err(format!("in place of the stored file {digest} is something else")))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CacheError::store_io("read", path, &error)),
        }
        let unreadable = |error: std::io::Error| CacheError::store_io("read", path, &error);
        let mut file: File = match hash::open(path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let (found, identity) = hash::hash_file(&mut file).map_err(unreadable)?;
        if found == *digest {
            return Ok(Some(Ok(identity.size)));
        }
        Ok(Some(Err(format!("the stored file {digest} is damaged: its content has the digest {found}"))))
    }

    fn check_record(&self, key: &Key, path: &Path, repair: bool, check: &mut Check) -> CacheResult<()> {
        match self.peek_record(path, key)? {
            Peeked::Gone => {}
            Peeked::Unknown(_) => check.unknown += 1,
            Peeked::Damaged(problem) => {
                let what = format!("the record of key {key} is damaged: {problem}");
                let repair =
                    if repair { Some(format!("put aside as {}", self.set_aside(path)?.display())) } else { None };
                check.problem(path, what, repair);
            }
            // Damaged blobs are problems of their own, which repairing has made missing ones.
            Peeked::Sound(record, _) => match first_missing(&record, self)? {
                None => check.records += 1,
                // Collected since it was read: the record goes before its blobs.
                Some(_) if is_gone(path) => {}
                Some(what) => {
                    let repair = if repair { Some(self.drop_record(key, path, &record)?) } else { None };
                    check.problem(path, format!("the record of key {key} has lost its result: {what}"), repair);
                }
            },
        }
        Ok(())
    }

    /// Removes a record whose result is lost, unless it is back by now or a process that uses it will see to it.
    fn drop_record(&self, key: &Key, path: &Path, record: &Record) -> CacheResult<String> {
        let _collecting = lock::wait_exclusive(&self.layout().collect_lock())?;
        if uses::in_use(self.layout())?.contains(&Use::Key(*key)) {
            return Ok("left to the process that uses it".to_owned());
        }
        if first_missing(record, self)?.is_none() {
            return Ok("made again meanwhile".to_owned());
        }
        disk::remove_if_there(path)?;
        Ok("the record was removed; the result is made again when next wanted".to_owned())
    }

    /// Something that is not the store's own.
    fn foreign(&self, path: &Path, repair: bool, check: &mut Check) -> CacheResult<()> {
        if is_gone(path) {
            return Ok(());
        }
        let repair = if repair { Some(format!("put aside as {}", self.set_aside(path)?.display())) } else { None };
        check.problem(path, "it does not belong into the store".to_owned(), repair);
        Ok(())
    }
}

/// Whether another process removed a file or folder since it was listed.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

impl Check {
    fn problem(&mut self, path: &Path, what: String, repair: Option<String>) {
        self.problems.push(Problem { path: path.to_path_buf(), what, repair });
    }
}
