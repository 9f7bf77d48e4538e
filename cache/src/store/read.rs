//! Handing out artifacts to be read.

use std::io;
use std::path::{Path, PathBuf};

use super::Store;
use super::records::MissReason;
use super::staging::Staging;
use super::uses::Use;
use crate::record::{Form, Output};
use crate::tree::Manifest;
use crate::{CacheError, CacheResult, disk};

/// A verified artifact, to be read and not written, for as long as this value lives.
#[derive(Debug)]
pub struct Readable {
    path: PathBuf,
    // Holds a tree's private folder.
    _staging: Option<Staging>,
}

impl Readable {
    /// A file, or a folder with the tree's files. The files of a tree may be symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// An artifact asked for, or why it must be made again.
#[derive(Debug)]
pub enum Reading {
    Ready(Readable),
    Lost(MissReason),
}

impl Store {
    /// A verified output, as a path to read: a file is the blob itself (read-only), a tree a private folder.
    ///
    /// # Errors
    /// Internal: the output contradicts itself. Environment: the store cannot be read, or the tree's folder not made.
    pub fn read(&self, output: &Output) -> CacheResult<Reading> {
        let reading = self.read_unsaved(output);
        self.memo().save();
        reading
    }

    fn read_unsaved(&self, output: &Output) -> CacheResult<Reading> {
        let verify = Some(self.options().verify);
        output.check().map_err(|why| CacheError::internal(format!("output `{}`: {why}", output.port)))?;
        self.keep_while_read(output)?;
        match output.form {
            Form::File => Ok(match self.lost_file(&output.port, &output.blob, output.size, verify)? {
                Some(reason) => Reading::Lost(reason),
                None => Reading::Ready(Readable { path: self.layout().blob(&output.blob), _staging: None }),
            }),
            Form::Tree => {
                let manifest = match self.load_manifest(output)? {
                    Ok(manifest) => manifest,
                    Err(reason) => return Ok(Reading::Lost(reason)),
                };
                if let Some(reason) = self.lost_in_tree(&output.port, &manifest, verify)? {
                    return Ok(Reading::Lost(reason));
                }
                let staging = self.lay_out(&manifest)?;
                Ok(Reading::Ready(Readable { path: staging.path().to_path_buf(), _staging: Some(staging) }))
            }
        }
    }

    /// Keeps an artifact from being collected from now on, also one that was not looked up by its key. A store that may
    /// only be read is read all the same.
    pub(super) fn keep_while_read(&self, output: &Output) -> CacheResult<()> {
        let _ = self.session();
        self.announce([Use::of(output)])
    }

    /// A private folder with the tree's files: links to the blobs, or copies where a file must be executable.
    ///
    /// Symbolic rather than hard links: a hard link changes the blob's ctime, and so its place in the memo.
    fn lay_out(&self, manifest: &Manifest) -> CacheResult<Staging> {
        let staging = self.stage()?;
        for entry in manifest.entries() {
            let path = staging.path().join(&entry.path);
            if let Some(folder) = path.parent() {
                disk::make_folders(folder)?;
            }
            let blob = self.layout().blob(&entry.digest);
            if entry.executable {
                disk::copy_new(&blob, &path)?;
                disk::set_mode(&path, 0o555)?;
            } else {
                let linked = std::os::unix::fs::symlink(&blob, &path);
                linked.map_err(|error: io::Error| CacheError::store_io("link", &path, &error))?;
            }
        }
        Ok(staging)
    }
}
