//! The few file-system steps that everything in the store is made of. Each is one failpoint for the tests.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::failpoint::step;
use crate::{CacheError, CacheResult};

/// Makes a new file with this content; the rights are `mode` less the umask.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> CacheResult<()> {
    let write = || {
        step()?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        step()?;
        file.write_all(bytes)
    };
    write().map_err(|error| CacheError::store_io("write", path, &error))
}

/// Copies a file's bytes (through symbolic links) to a new file for its owner alone.
pub(crate) fn copy_new(from: &Path, to: &Path) -> CacheResult<()> {
    let copy = || {
        step()?;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut File::open(from)?, &mut target)
    };
    copy().map(|_| ()).map_err(|error| CacheError::store_io("copy", from, &error))
}

/// Makes a folder that is not there yet; the rights are all less the umask.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    step()?;
    fs::create_dir(path)
}

/// Makes a folder that is not there yet, for its owner alone.
pub(crate) fn make_private_folder(path: &Path) -> io::Result<()> {
    step()?;
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Makes `folder` and those of its parents that are missing. Gives the folders that got a new entry by it.
pub(crate) fn make_folders(folder: &Path) -> CacheResult<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for ancestor in folder.ancestors() {
        if ancestor.as_os_str().is_empty() || ancestor.is_dir() {
            break;
        }
        missing.push(ancestor);
    }
    let mut changed = Vec::new();
    for ancestor in missing.into_iter().rev() {
        match step().and_then(|()| fs::create_dir(ancestor)) {
            Ok(()) => {}
            // Another process was quicker; its sync of the parent may not have happened yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(CacheError::store_io("make the folder", ancestor, &error)),
        }
        changed.extend(ancestor.parent().map(Path::to_path_buf));
    }
    Ok(changed)
}

/// Renames within one file system and never replaces: `false` when `to` exists already.
pub(crate) fn rename_new(from: &Path, to: &Path) -> CacheResult<bool> {
    let failed = |error: Errno| CacheError::store_io("put in place", to, &error.into());
    step().map_err(|error| CacheError::store_io("put in place", to, &error))?;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // File systems without this flag can still link without replacing (files only).
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match rustix::fs::link(from, to) {
            Ok(()) => remove_file(from).map(|()| true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(failed(error)),
        },
        Err(error) => Err(failed(error)),
    }
}

/// Removes a file of the store.
pub(crate) fn remove_file(path: &Path) -> CacheResult<()> {
    step().and_then(|()| fs::remove_file(path)).map_err(|error| CacheError::store_io("remove", path, &error))
}

/// Removes a file of the store that another process may remove as well; says whether it was there.
pub(crate) fn remove_if_there(path: &Path) -> CacheResult<bool> {
    match step().and_then(|()| fs::remove_file(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CacheError::store_io("remove", path, &error)),
    }
}

/// Sets the rights of a file of the store.
pub(crate) fn set_mode(path: &Path, mode: u32) -> CacheResult<()> {
    step()
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|error| CacheError::store_io("set the rights of", path, &error))
}

/// Waits until a file or folder is on the disk.
pub(crate) fn sync(path: &Path) -> CacheResult<()> {
    step()
        .and_then(|()| File::open(path))
        .and_then(|file| file.sync_all())
        .map_err(|error| CacheError::store_io("sync", path, &error))
}

/// Waits until everything written to the file system of `path` is on the disk; `false` where the system cannot.
pub(crate) fn sync_file_system(path: &Path) -> CacheResult<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        step()
            .and_then(|()| File::open(path))
            .and_then(|folder| Ok(rustix::fs::syncfs(folder)?))
            .map_err(|error| CacheError::store_io("sync the file system of", path, &error))?;
        Ok(true)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = path;
        Ok(false)
    }
}

/// Removes a folder with all in it, also where a stage took away the right to. Symbolic links are not followed.
pub(crate) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(folder)?;
            fs::remove_dir_all(folder)
        }
        other => other,
    }
}

fn make_writable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}
