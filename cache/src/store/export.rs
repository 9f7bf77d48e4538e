//! Copying artifacts out of the store.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::blobs::BlobState;
use super::records::MissReason;
use super::{Durability, Store};
use crate::failpoint::step;
use crate::hash::{self, Hasher};
use crate::record::{Form, Output};
use crate::{CacheError, CacheResult, Digest, disk};

impl Store {
    /// Copies an output out of the store, verified on the way. `destination` must not exist unless `overwrite`; it
    /// appears whole or not at all. A lost blob is given back as the reason.
    ///
    /// # Errors
    /// Input: `destination` exists, is of the other form (a folder for a file, or the reverse), or lies in a folder
    /// that does not exist. Environment: it cannot be written.
    pub fn export(&self, output: &Output, destination: &Path, overwrite: bool) -> CacheResult<Option<MissReason>> {
        output.check().map_err(|why| CacheError::internal(format!("output `{}`: {why}", output.port)))?;
        self.keep_while_read(output)?;
        let unfinished = Unfinished::beside(destination, output.form, overwrite)?;
        let lost = match output.form {
            Form::File => self.copy_out(&output.port, &output.blob, output.size, false, unfinished.path())?,
            Form::Tree => self.copy_tree_out(output, unfinished.path())?,
        };
        if lost.is_some() {
            return Ok(lost);
        }
        unfinished.finish()?;
        if self.options().durability != Durability::None {
            disk::sync(folder_of(destination))?;
        }
        Ok(None)
    }

    fn copy_tree_out(&self, output: &Output, target: &Path) -> CacheResult<Option<MissReason>> {
        let manifest = match self.load_manifest(output)? {
            Ok(manifest) => manifest,
            Err(reason) => return Ok(Some(reason)),
        };
        fs::create_dir(target).map_err(|error| CacheError::user_io("make the folder", target, &error))?;
        for entry in manifest.entries() {
            let path = target.join(&entry.path);
            disk::make_folders(folder_of(&path))?;
            let lost = self.copy_out(&output.port, &entry.digest, entry.size, entry.executable, &path)?;
            if lost.is_some() {
                return Ok(lost);
            }
        }
        Ok(None)
    }

    /// Copies one blob to a new file, hashing what is copied.
    fn copy_out(
        &self,
        port: &str,
        digest: &Digest,
        size: u64,
        executable: bool,
        target: &Path,
    ) -> CacheResult<Option<MissReason>> {
        // Settles what is missing or not a file at all.
        if let Some(reason) = self.lost_file(port, digest, size, None)? {
            return Ok(Some(reason));
        }
        let blob = self.layout().blob(digest);
        let unreadable = |error: io::Error| CacheError::store_io("read", &blob, &error);
        let missing = || MissReason::MissingBlob { port: port.to_owned(), digest: *digest };
        let mut source = match hash::open(&blob, false) {
            Ok(file) => file,
            // Removed by another process since then.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(missing())),
            Err(error) => return Err(unreadable(error)),
        };
        let copied = copy_hashing(&mut source, size, executable, target, self.options().durability, &unreadable)?;
        if copied == *digest {
            return Ok(None);
        }
        Ok(Some(match self.put_aside_if_same(&source, &blob)? {
            BlobState::Damaged(quarantined) => {
                MissReason::DamagedBlob { port: port.to_owned(), digest: *digest, quarantined }
            }
            _ => missing(),
        }))
    }
}

fn copy_hashing(
    source: &mut File,
    size: u64,
    executable: bool,
    target: &Path,
    durability: Durability,
    unreadable: &dyn Fn(io::Error) -> CacheError,
) -> CacheResult<Digest> {
    let unwritable = |error: io::Error| CacheError::user_io("write", target, &error);
    let mode = if executable { 0o777 } else { 0o666 };
    let mut file = step()
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(target))
        .map_err(unwritable)?;
    let mut hasher = Hasher::new(size);
    let mut buffer = hasher.buffer();
    loop {
        let read = hash::read_full(source, &mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        step().and_then(|()| file.write_all(&buffer[..read])).map_err(unwritable)?;
    }
    if durability != Durability::None {
        file.sync_all().map_err(unwritable)?;
    }
    Ok(hasher.digest())
}

fn check_destination(destination: &Path, form: Form, overwrite: bool) -> CacheResult<()> {
    let shown = destination.display();
    match fs::symlink_metadata(destination) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder_of(destination);
            if destination.file_name().is_none() || !folder.is_dir() {
                let message = format!("cannot export to {shown}: {} is not a folder", folder.display());
                return Err(CacheError::input(destination, message));
            }
            Ok(())
        }
        Err(error) => Err(CacheError::user_io("export to", destination, &error)),
        Ok(_) if !overwrite => Err(CacheError::input(destination, format!("{shown} exists already"))
            .with_hint("name another place, or ask for it to be overwritten")),
        Ok(metadata) if metadata.is_dir() != (form == Form::Tree) => {
            let (is, wanted) = if metadata.is_dir() { ("a folder", "a file") } else { ("a file", "a folder") };
            Err(CacheError::input(destination, format!("{shown} is {is}, and what is written is {wanted}")))
        }
        Ok(_) => Ok(()),
    }
}

/// The folder that a path lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file or folder of the user in the making: under a temporary name beside its destination, removed unless finished.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    destination: PathBuf,
    overwrite: bool,
}

impl Unfinished {
    /// A free name beside `destination`, which must not exist unless `overwrite`. Nothing is made there yet.
    ///
    /// # Errors
    /// Input: `destination` exists, is of the other form (a folder for a file, or the reverse), or lies in a folder
    /// that does not exist. Environment: nothing can be made beside it.
    pub fn beside(destination: &Path, form: Form, overwrite: bool) -> CacheResult<Self> {
        check_destination(destination, form, overwrite)?;
        let mut prefix = OsString::from(".");
        prefix.push(destination.file_name().unwrap_or_default());
        prefix.push(".");
        // Only a free name is wanted: what is made there is a file or a folder.
        let named = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".retmask-export")
            .make_in(folder_of(destination), |path| {
                if path.symlink_metadata().is_ok() { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
            })
            .and_then(|named| named.into_temp_path().keep().map_err(io::Error::from));
        let path = named.map_err(|error| CacheError::user_io("export to", destination, &error))?;
        Ok(Self { path, destination: destination.to_owned(), overwrite })
    }

    /// Where the file or folder is to be made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives what was made its name, in place of what is there.
    ///
    /// # Errors
    /// Input: the destination appeared meanwhile, and is not to be overwritten. Environment: it cannot be renamed.
    pub fn finish(self) -> CacheResult<()> {
        let (path, destination) = (&self.path, &self.destination);
        let failed = |error: io::Error| CacheError::user_io("export to", destination, &error);
        if disk::rename_new(path, destination)? {
            return Ok(());
        }
        if !self.overwrite {
            return Err(CacheError::input(destination, format!("{} exists already", destination.display())));
        }
        if !path.is_dir() {
            return fs::rename(path, destination).map_err(failed);
        }
        // The two folders change places; the old one is removed under the temporary name.
        rustix::fs::renameat_with(CWD, path, CWD, destination, RenameFlags::EXCHANGE)
            .map_err(|error| failed(error.into()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let removed = if self.path.is_dir() { disk::remove_folder(&self.path) } else { fs::remove_file(&self.path) };
        // Nothing there is the usual case: it was renamed. What cannot be removed has a telling name.
        let _ = removed;
    }
}
