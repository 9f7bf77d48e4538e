//! Everything in the store and what refers to what, without changing any of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Store;
use super::records::{Peeked, list};
use crate::record::Form;
use crate::tree::Manifest;
use crate::{CacheError, CacheResult, Digest, Key, Record};

/// A record with all it keeps.
#[derive(Debug, Clone)]
pub struct Stored {
    pub record: Record,
    /// Bytes of the record's own file.
    pub file: u64,
    /// Every blob it refers to, manifests and their files included, with the size it must have; each once.
    pub blobs: BTreeMap<Digest, u64>,
    /// Whether each of these is there, in its size.
    pub whole: bool,
}

impl Stored {
    /// Bytes of the record and its blobs.
    pub fn bytes(&self) -> u64 {
        self.file + self.blobs.values().sum::<u64>()
    }
}

/// What a store holds.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Sound records by path, and so in the order of keys.
    pub records: BTreeMap<PathBuf, Stored>,
    /// Files in the records' place that are no sound records, and why.
    pub damaged: BTreeMap<PathBuf, String>,
    /// Records of versions that this program does not know, and which.
    pub unknown: BTreeMap<PathBuf, String>,
    /// Every blob that is there, with its size.
    pub blobs: BTreeMap<Digest, u64>,
}

impl Inventory {
    /// The blobs that no record refers to.
    pub fn orphans(&self) -> BTreeMap<Digest, u64> {
        let kept: BTreeSet<&Digest> = self.records.values().flat_map(|stored| stored.blobs.keys()).collect();
        self.blobs.iter().filter(|(digest, _)| !kept.contains(digest)).map(|(digest, size)| (*digest, *size)).collect()
    }
}

/// One of the store's folders besides blobs and records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// The folder's name.
    pub name: String,
    pub files: u64,
    pub bytes: u64,
}

impl Store {
    /// Lists records and blobs. Contents of blobs are not compared with their digests, manifests' are.
    ///
    /// # Errors
    /// Environment: the store cannot be read.
    pub fn inventory(&self) -> CacheResult<Inventory> {
        let mut inventory = Inventory { blobs: self.present_blobs()?, ..Inventory::default() };
        self.refresh(&mut inventory)?;
        Ok(inventory)
    }

    /// Brings the records of an inventory up to date: they never change, so only new ones are read.
    pub(super) fn refresh(&self, inventory: &mut Inventory) -> CacheResult<()> {
        let mut old = std::mem::take(&mut inventory.records);
        inventory.damaged.clear();
        inventory.unknown.clear();
        for (key, path) in self.record_paths()? {
            if let Some(stored) = old.remove(&path) {
                inventory.records.insert(path, stored);
                continue;
            }
            match self.peek_record(&path, &key)? {
                Peeked::Sound(record, _) => {
                    let stored = self.stored(*record, &path)?;
                    inventory.records.insert(path, stored);
                }
                Peeked::Gone => {}
                Peeked::Unknown(version) => {
                    inventory.unknown.insert(path, version);
                }
                Peeked::Damaged(problem) => {
                    inventory.damaged.insert(path, problem);
                }
            }
        }
        Ok(())
    }

    /// Every key that has a record, in order; whether it can be read is not looked at.
    ///
    /// # Errors
    /// Environment: the store cannot be read.
    pub fn keys(&self) -> CacheResult<Vec<Key>> {
        let mut keys: Vec<Key> = self.record_paths()?.into_iter().map(|(key, _)| key).collect();
        keys.dedup();
        Ok(keys)
    }

    /// Every file in the records' place with the key that its folder is named by, in the order of keys.
    pub(super) fn record_paths(&self) -> CacheResult<Vec<(Key, PathBuf)>> {
        let mut paths = Vec::new();
        for fan_out in list(&self.layout().all_records())? {
            for folder in list(&fan_out)? {
                // Whatever is not named by a key is not ours.
                let Some(key) = folder.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
                paths.extend(list(&folder)?.into_iter().map(|path| (key, path)));
            }
        }
        Ok(paths)
    }

    /// Every blob that is there, with its size.
    pub(super) fn present_blobs(&self) -> CacheResult<BTreeMap<Digest, u64>> {
        let mut blobs = BTreeMap::new();
        for fan_out in list(&self.layout().blobs())? {
            for path in list(&fan_out)? {
                let digest = path.file_name().and_then(|name| format!("b3:{}", name.to_str()?).parse().ok());
                let Some(digest) = digest.filter(|digest| self.layout().blob(digest) == path) else { continue };
                if let Some(size) = self.blob_size(&digest)? {
                    blobs.insert(digest, size);
                }
            }
        }
        Ok(blobs)
    }

    fn stored(&self, record: Record, path: &Path) -> CacheResult<Stored> {
        let file = fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        let (mut blobs, mut whole) = (BTreeMap::new(), true);
        for output in &record.outputs {
            match output.form {
                Form::File => {
                    blobs.insert(output.blob, output.size);
                }
                Form::Tree => match self.peek_manifest(&output.blob)? {
                    Some(Ok((manifest, size))) if manifest.digest() == output.digest => {
                        blobs.insert(output.blob, size);
                        blobs.extend(manifest.entries().iter().map(|entry| (entry.digest, entry.size)));
                    }
                    // What it lists is not known, so nobody can read it: the output is lost.
                    _ => whole = false,
                },
            }
        }
        for (digest, size) in &blobs {
            whole &= self.blob_size(digest)? == Some(*size);
        }
        Ok(Stored { record, file, blobs, whole })
    }

    /// A manifest and the size of its blob, or what is wrong with it; `None` when it is not there. It stays where it is.
    pub(super) fn peek_manifest(&self, blob: &Digest) -> CacheResult<Option<Result<(Manifest, u64), String>>> {
        let path = self.layout().blob(blob);
        if self.blob_size(blob)?.is_none() {
            return Ok(None);
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CacheError::store_io("read", &path, &error)),
        };
        if Digest::of_bytes(&bytes) != *blob {
            return Ok(Some(Err("it is damaged".to_owned())));
        }
        Ok(Some(Manifest::from_bytes(&bytes).map(|manifest| (manifest, bytes.len() as u64))))
    }

    /// The files of each of the store's folders, blobs and records included, by name.
    ///
    /// # Errors
    /// Environment: the store cannot be read.
    pub fn areas(&self) -> CacheResult<Vec<Area>> {
        let mut areas = Vec::new();
        for folder in list(self.root())? {
            let is_folder = match fs::symlink_metadata(&folder) {
                Ok(metadata) => metadata.is_dir(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(CacheError::store_io("read", &folder, &error)),
            };
            if is_folder {
                let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let mut area = Area { name, files: 0, bytes: 0 };
                count(&folder, &mut area)?;
                areas.push(area);
            }
        }
        Ok(areas)
    }

    /// A manifest's blob and those of the files it lists, as far as it can be read.
    pub(super) fn blobs_of_tree(&self, manifest: &Digest) -> CacheResult<Vec<Digest>> {
        let mut blobs = vec![*manifest];
        if let Some(Ok((manifest, _))) = self.peek_manifest(manifest)? {
            blobs.extend(manifest.entries().iter().map(|entry| entry.digest));
        }
        Ok(blobs)
    }
}

/// Adds up the files below a folder. What goes away meanwhile does not count; links are not followed.
fn count(folder: &Path, area: &mut Area) -> CacheResult<()> {
    for path in list(folder)? {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => count(&path, area)?,
            Ok(metadata) => {
                area.files += 1;
                area.bytes += metadata.len();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CacheError::store_io("read", &path, &error)),
        }
    }
    Ok(())
}
