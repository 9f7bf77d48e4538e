//! Reading an archive, which may be anything: it is laid down and checked whole before any of it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::super::Store;
use super::super::arrivals::Arrivals;
use super::super::records::{Committed, first_missing};
use super::super::rows::rows_in;
use super::{Entry, HEADER, MAX_LINE};
use crate::hash::Hasher;
use crate::record::{MAX_BYTES, Record, Unreadable};
use crate::{CacheError, CacheResult, Digest, Key, disk};

/// What came of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Results that are new here.
    pub fresh: Vec<Key>,
    /// Results that were here already.
    pub known: Vec<Key>,
    /// Results of which the store has others, which stay: the work is not deterministic.
    pub differing: Vec<Key>,
    pub blobs: u64,
    /// Segments of rows, whether new here or not.
    pub segments: u64,
    /// Runs whose records are new here, and those that were here already.
    pub runs: Vec<String>,
    pub known_runs: Vec<String>,
}

/// An archive laid down in a staging folder, all of it compared with its digests.
struct Contents<'s> {
    blobs: Arrivals<'s>,
    records: BTreeMap<Key, (Record, Vec<u8>, Digest)>,
    runs: BTreeMap<String, BTreeSet<String>>,
    segments: BTreeSet<(Key, Digest)>,
}

impl Store {
    /// Takes in an archive. All of it is read and checked first; one that is not in order in every part leaves nothing.
    ///
    /// # Errors
    /// Input: the file is not there or is not a sound archive; the message says where. Environment: it cannot be read,
    /// or the store not be written.
    pub fn unpack(&self, path: &Path) -> CacheResult<Unpacked> {
        let _in_use = self.begin_use()?;
        let file = File::open(path).map_err(|error| CacheError::user_io("read", path, &error))?;
        let metadata = file.metadata().map_err(|error| CacheError::user_io("read", path, &error))?;
        if !metadata.is_file() {
            return Err(CacheError::input(path, format!("{} is not a file", path.display())));
        }
        let mut reader =
            Reader { path, file: BufReader::new(file), place: 0, size: metadata.len(), hasher: blake3::Hasher::new() };
        let mut contents = Contents {
            blobs: Arrivals::new(self)?,
            records: BTreeMap::new(),
            runs: BTreeMap::new(),
            segments: BTreeSet::new(),
        };
        contents.read(&mut reader)?;
        contents.check(&reader)?;
        contents.take_in()
    }
}

impl Contents<'_> {
    fn run_folder(&self, run: &str) -> PathBuf {
        self.blobs.staging.path().join(format!("run.{run}"))
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> CacheResult<()> {
        reader.header()?;
        loop {
            let before = *reader.hasher.clone().finalize().as_bytes();
            let place = reader.place;
            match reader.entry()? {
                Entry::Blob(digest, size) => {
                    if !self.blobs.add(digest, size) {
                        return Err(reader.wrong_at(place, format!("the blob {digest} stands twice")));
                    }
                    let found = reader.copy_to(&self.blobs.path(&digest), size)?;
                    if found != digest {
                        return Err(
                            reader.wrong_at(place, format!("the bytes of the blob {digest} have the digest {found}"))
                        );
                    }
                }
                Entry::Record(key, size) => self.record(reader, place, key, size)?,
                Entry::Rows { scope, digest, size } => self.segment(reader, place, scope, digest, size)?,
                Entry::Run { run, file, size } => {
                    let folder = self.run_folder(&run);
                    let files = self.runs.entry(run).or_default();
                    // Two spellings of one name are one file on some systems.
                    if files.iter().any(|other| other.eq_ignore_ascii_case(&file)) {
                        return Err(reader.wrong_at(place, format!("the file {file} of a run stands twice")));
                    }
                    disk::make_folders(&folder)?;
                    reader.copy_to(&folder.join(&file), size)?;
                    files.insert(file);
                }
                Entry::End(digest) if *digest.bytes() != before => {
                    return Err(reader.wrong_at(place, "its digest is not the one it states".to_owned()));
                }
                Entry::End(_) => return reader.at_end(),
            }
        }
    }

    fn record(&mut self, reader: &mut Reader<'_>, place: u64, key: Key, size: u64) -> CacheResult<()> {
        if size > MAX_BYTES {
            return Err(reader.wrong_at(place, format!("a record of {size} bytes is longer than {MAX_BYTES}")));
        }
        let bytes = reader.bytes(size)?;
        let wrong = |what: String| reader.wrong_at(place, format!("the record of {key}: {what}"));
        let (record, digest) = Record::from_bytes(&bytes).map_err(|error| match error {
            Unreadable::Damaged(problem) => wrong(problem),
            Unreadable::Version(version) => {
                wrong(format!("it is of version `{}`, which this program does not know", version.escape_debug()))
            }
        })?;
        if record.key != key {
            return Err(wrong(format!("it is of the key {}", record.key)));
        }
        if self.records.insert(key, (record, bytes, digest)).is_some() {
            return Err(wrong("it stands twice".to_owned()));
        }
        Ok(())
    }

    fn segment_file(&self, scope: &Key, digest: &Digest) -> PathBuf {
        self.blobs.staging.path().join(format!("rows.{scope}.{}", digest.hex()))
    }

    fn segment(
        &mut self,
        reader: &mut Reader<'_>,
        place: u64,
        scope: Key,
        digest: Digest,
        size: u64,
    ) -> CacheResult<()> {
        let wrong = |reader: &Reader<'_>, what: &str| reader.wrong_at(place, format!("the rows {digest} {what}"));
        if !self.segments.insert((scope, digest)) {
            return Err(wrong(reader, "stand twice"));
        }
        let file = self.segment_file(&scope, &digest);
        let found = reader.copy_to(&file, size)?;
        if found != digest {
            return Err(wrong(reader, &format!("have the digest {found}")));
        }
        match rows_in(&file, &scope)? {
            Some(_) => Ok(()),
            None => Err(wrong(reader, &format!("are not of the scope {scope}"))),
        }
    }

    /// Whether every record finds what it names, here or in the store, and no two runs are one on some systems.
    fn check(&self, reader: &Reader<'_>) -> CacheResult<()> {
        for (key, (record, ..)) in &self.records {
            if let Some(missing) = first_missing(record, &self.blobs)? {
                return Err(reader.wrong(format!("the record of {key}: {missing}")));
            }
        }
        let named: BTreeSet<String> = self.runs.keys().map(|run| run.to_ascii_lowercase()).collect();
        if named.len() != self.runs.len() {
            return Err(reader.wrong("two runs differ in upper and lower case only".to_owned()));
        }
        Ok(())
    }

    fn take_in(self) -> CacheResult<Unpacked> {
        let store = self.blobs.store;
        let mut unpacked = Unpacked { blobs: self.blobs.count(), ..Unpacked::default() };
        self.blobs.publish()?;
        for (key, (record, bytes, digest)) in &self.records {
            match store.adopt(record, bytes, digest)? {
                Committed::New => unpacked.fresh.push(*key),
                Committed::Already(_) => unpacked.known.push(*key),
                Committed::Differs { .. } => unpacked.differing.push(*key),
            }
        }
        for (scope, digest) in &self.segments {
            store.adopt_segment(scope, digest, &self.segment_file(scope, digest))?;
        }
        unpacked.segments = self.segments.len() as u64;
        // Last: a run's record is of use only with its results.
        let runs = store.runs_folder()?;
        for run in self.runs.keys() {
            let fresh = disk::rename_new(&self.run_folder(run), &runs.join(run))?;
            if fresh { &mut unpacked.runs } else { &mut unpacked.known_runs }.push(run.clone());
        }
        disk::sync(&runs)?;
        Ok(unpacked)
    }
}

/// The archive's file, read once from start to end.
struct Reader<'p> {
    path: &'p Path,
    file: BufReader<File>,
    /// Bytes read so far, and in all.
    place: u64,
    size: u64,
    hasher: blake3::Hasher,
}

impl Reader<'_> {
    fn wrong(&self, what: String) -> CacheError {
        CacheError::input(self.path, format!("{} is not a sound archive: {what}", self.path.display()))
            .with_hint("nothing of it was taken in; have it exported and copied again")
    }

    fn wrong_at(&self, place: u64, what: String) -> CacheError {
        self.wrong(format!("at byte {place}: {what}"))
    }

    fn failed(&self, error: &io::Error) -> CacheError {
        CacheError::user_io("read", self.path, error)
    }

    fn header(&mut self) -> CacheResult<()> {
        let place = self.place;
        match self.line()? {
            line if line == HEADER.trim_end() => Ok(()),
            line if line.starts_with("retmask-archive ") => {
                Err(self.wrong_at(place, format!("it is `{}`, which this program does not know", line.escape_debug())))
            }
            _ => Err(self.wrong_at(place, format!("it does not begin with the line `{}`", HEADER.trim_end()))),
        }
    }

    /// The next entry's line. Its size is one that the file can hold.
    fn entry(&mut self) -> CacheResult<Entry> {
        let place = self.place;
        let line = self.line()?;
        let entry = Entry::from_line(&line).ok_or_else(|| {
            let shown: String = line.chars().take(80).collect();
            self.wrong_at(place, format!("`{}` is not the line of an entry", shown.escape_debug()))
        })?;
        let left = self.size.saturating_sub(self.place);
        match entry {
            Entry::Blob(_, size) | Entry::Record(_, size) | Entry::Rows { size, .. } | Entry::Run { size, .. }
                if size > left =>
            {
                Err(self.wrong_at(place, format!("an entry of {size} bytes, where {left} are left")))
            }
            entry => Ok(entry),
        }
    }

    fn line(&mut self) -> CacheResult<String> {
        let place = self.place;
        let mut line = Vec::new();
        let read = (&mut self.file).take(MAX_LINE).read_until(b'\n', &mut line);
        self.place += read.map_err(|error| self.failed(&error))? as u64;
        self.hasher.update(&line);
        if line.pop() != Some(b'\n') {
            return Err(self.wrong_at(place, "it ends within a line, or the line is too long".to_owned()));
        }
        String::from_utf8(line).map_err(|_| self.wrong_at(place, "a line is not text".to_owned()))
    }

    fn bytes(&mut self, size: u64) -> CacheResult<Vec<u8>> {
        let place = self.place;
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(size).read_to_end(&mut bytes).map_err(|error| self.failed(&error))?;
        self.took(place, size, read as u64, &bytes)?;
        Ok(bytes)
    }

    /// Copies an entry's bytes to a new file; gives their digest.
    fn copy_to(&mut self, target: &Path, size: u64) -> CacheResult<Digest> {
        disk::write_new(target, &[], 0o600)?;
        let unwritable = |error: io::Error| CacheError::store_io("write", target, &error);
        let mut file = File::options().append(true).open(target).map_err(unwritable)?;
        let mut hasher = Hasher::new(size);
        let mut buffer = hasher.buffer();
        let mut left = size;
        while left > 0 {
            let place = self.place;
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.file.read(&mut buffer[..wanted]).map_err(|error| self.failed(&error))?;
            if read == 0 {
                return Err(self.wrong_at(place, format!("it ends {left} bytes before an entry does")));
            }
            hasher.update(&buffer[..read]);
            self.took(place, read as u64, read as u64, &buffer[..read])?;
            file.write_all(&buffer[..read]).map_err(unwritable)?;
            left -= read as u64;
        }
        Ok(hasher.digest())
    }

    fn took(&mut self, place: u64, wanted: u64, read: u64, bytes: &[u8]) -> CacheResult<()> {
        if read != wanted {
            return Err(self.wrong_at(place, format!("it ends {} bytes before an entry does", wanted - read)));
        }
        self.hasher.update(bytes);
        self.place += read;
        Ok(())
    }

    fn at_end(&mut self) -> CacheResult<()> {
        match self.file.fill_buf().map_err(|error| CacheError::user_io("read", self.path, &error))? {
            [] => Ok(()),
            _ => Err(self.wrong_at(self.place, "something follows its last line".to_owned())),
        }
    }
}
