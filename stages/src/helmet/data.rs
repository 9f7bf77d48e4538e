//! HELMET's data files: read by fixed names, refused by name when missing or malformed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::contract::{StageError, StageResult};

/// A folder in HELMET's layout, and data sets of the hub that take the place of folders in it.
#[derive(Debug, Clone, Default)]
pub struct DataFolder {
    root: Option<PathBuf>,
    /// The first folder of a file's name -> what stands in its place.
    sets: BTreeMap<String, PathBuf>,
}

/// A file's content and its name for messages.
pub struct DataFile {
    place: PathBuf,
    bytes: Vec<u8>,
}

impl DataFolder {
    pub fn new(root: &Path) -> Self {
        Self { root: Some(root.to_owned()), sets: BTreeMap::new() }
    }

    /// With these data sets in the place of folders; `root` may be missing then.
    pub fn with_sets(root: Option<&Path>, sets: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self { root: root.map(Path::to_owned), sets: sets.into_iter().collect() }
    }

    /// Where a file or folder of the layout lies: in the set that takes its folder's place, if it is there.
    fn place(&self, name: &str) -> PathBuf {
        let (folder, rest) = name.split_once('/').unwrap_or((name, ""));
        let in_set = self.sets.get(folder).map(|set| set.join(rest));
        match (in_set, &self.root) {
            (Some(place), root) if root.is_none() || place.exists() => place,
            (_, Some(root)) => root.join(name),
            // It lies nowhere: a name that is not there.
            (_, None) => self.sets.values().next().map_or_else(PathBuf::new, |set| set.join(name)),
        }
    }

    /// What is looked through, for messages.
    fn named(&self) -> String {
        let folders = self.root.iter().chain(self.sets.values()).map(|place| place.display().to_string());
        folders.collect::<Vec<_>>().join(" and ")
    }

    /// Checks that the files are there before anything is computed.
    ///
    /// # Errors
    /// `Input` naming every missing file and the command that brings it.
    pub fn require(&self, files: &[String], hint: &str) -> StageResult<()> {
        let missing: Vec<&str> = files.iter().map(String::as_str).filter(|file| !self.place(file).is_file()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(StageError::input(format!("{} lacks {}", self.named(), missing.join(", "))).with_hint(hint))
    }

    /// The rows of a JSON Lines file for whose number, counted from 0 without empty lines, `wanted` holds. The
    /// others are not parsed: HELMET's files are larger than what is asked of them.
    ///
    /// # Errors
    /// `Input` with the line of a row that is not of the expected form.
    pub fn rows<T: DeserializeOwned>(&self, name: &str, wanted: impl Fn(usize) -> bool) -> StageResult<Vec<T>> {
        let place = self.place(name);
        let file = File::open(&place).map_err(|error| StageError::io("read", &place, &error))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let (mut rows, mut line, mut number, mut index) = (Vec::new(), String::new(), 0usize, 0usize);
        loop {
            line.clear();
            let read = reader.read_line(&mut line).map_err(|error| StageError::io("read", &place, &error))?;
            if read == 0 {
                return Ok(rows);
            }
            number += 1;
            if line.trim().is_empty() {
                continue;
            }
            if wanted(index) {
                let row = serde_json::from_str(&line).map_err(|error| {
                    StageError::input(format!("{}:{number}: {}", place.display(), described(&error)))
                })?;
                rows.push(row);
            }
            index += 1;
        }
    }

    /// The items of a JSON array for whose number, counted from 0, `wanted` holds, and how many items there are.
    /// The others are skipped without being kept.
    ///
    /// # Errors
    /// `Input` with the line of an item that is not of the expected form.
    pub fn items<T: DeserializeOwned>(
        &self,
        name: &str,
        wanted: impl Fn(usize) -> bool,
    ) -> StageResult<(Vec<T>, usize)> {
        let place = self.place(name);
        let file = File::open(&place).map_err(|error| StageError::io("read", &place, &error))?;
        let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 20, file));
        let read = Items { wanted, item: std::marker::PhantomData }.deserialize(&mut json).and_then(|read| {
            json.end()?;
            Ok(read)
        });
        read.map_err(|error| {
            let message = format!("{}:{}: expected a JSON array of rows: {error}", place.display(), error.line());
            if error.is_io() { StageError::environment(message) } else { StageError::input(message) }
        })
    }

    /// The Parquet files of a folder whose names begin with `prefix`, in the order of their names.
    ///
    /// # Errors
    /// `Input` when there is none.
    pub fn parquet_files(&self, folder: &str, prefix: &str, hint: &str) -> StageResult<Vec<PathBuf>> {
        let place = self.place(folder);
        let refuse = |why: String| StageError::input(why).with_hint(hint);
        let entries = std::fs::read_dir(&place)
            .map_err(|error| StageError::io("read the folder", &place, &error).with_hint(hint))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| StageError::io("read the folder", &place, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(prefix) && name.ends_with(".parquet") {
                files.push(path);
            }
        }
        files.sort();
        match files.is_empty() {
            true => Err(refuse(format!("{} lacks {folder}/{prefix}*.parquet", self.named()))),
            false => Ok(files),
        }
    }

    /// Reads a file of this layout; `name` is one of the fixed names in this crate.
    ///
    /// # Errors
    /// `Input` when it is missing, `Environment` when it cannot be read.
    pub fn read(&self, name: &str) -> StageResult<DataFile> {
        let place = self.place(name);
        let bytes = std::fs::read(&place).map_err(|error| StageError::io("read", &place, &error).with_hint(HINT))?;
        Ok(DataFile { place, bytes })
    }
}

/// Items of a JSON array, most of them skipped.
struct Items<T, F> {
    wanted: F,
    item: std::marker::PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: Fn(usize) -> bool> DeserializeSeed<'de> for Items<T, F> {
    type Value = (Vec<T>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned, F: Fn(usize) -> bool> Visitor<'de> for Items<T, F> {
    type Value = (Vec<T>, usize);

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut kept, mut count) = (Vec::new(), 0);
        loop {
            let more = if (self.wanted)(count) {
                items.next_element::<T>()?.map(|item| kept.push(item)).is_some()
            } else {
                items.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok((kept, count));
            }
            count += 1;
        }
    }
}

/// A JSON error of one line, without its own count of lines.
fn described(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line 1 column ") {
        Some(place) => format!("{} at column {}", &text[..place], error.column()),
        None => text,
    }
}

/// How to get what HELMET itself publishes.
pub const HELMET_HINT: &str = "HELMET publishes its files as data.tar.gz in the data set princeton-nlp/HELMET on the \
     Hugging Face hub; the port `data` takes what lies below `data/` in it";
/// How to get the data that their publishers offer as single files.
pub const HINT: &str = "`scripts/fetch-data` brings the files from their publishers";

impl DataFile {
    /// The content as it is.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content as text.
    ///
    /// # Errors
    /// `Input` when it is not UTF-8.
    pub fn text(&self) -> StageResult<&str> {
        std::str::from_utf8(&self.bytes).map_err(|error| self.refuse(format!("not UTF-8: {error}")))
    }

    /// The lines of a list, one item each.
    ///
    /// # Errors
    /// `Input` when it is not UTF-8 or an item stands there twice.
    pub fn list(&self) -> StageResult<Vec<String>> {
        let items: Vec<String> = self.text()?.lines().map(str::to_owned).collect();
        let mut seen = std::collections::BTreeSet::new();
        match items.iter().position(|item| item.is_empty() || !seen.insert(item)) {
            Some(line) => Err(self.wrong(line + 1, "the name is empty or stands there twice")),
            None => Ok(items),
        }
    }

    /// An input error about the file as a whole.
    pub fn refuse(&self, why: impl Display) -> StageError {
        StageError::input(format!("{}: {why}", self.place.display()))
    }

    /// An input error about a line, counted from 1.
    pub fn wrong(&self, line: usize, why: impl Display) -> StageError {
        StageError::input(format!("{}:{line}: {why}", self.place.display()))
    }
}
