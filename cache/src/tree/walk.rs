//! Finding the files of a folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::names;
use crate::{CacheError, CacheResult};

/// More files than this in one tree are refused: symbolic links could make a small folder endless.
const MAX_FILES: usize = 1_000_000;

/// Whose folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// A user's: symbolic links lead anywhere and are followed (model hubs lay their caches out so); names that
    /// begin with a dot are not part of the tree (they hold download states, version control, finder settings).
    User,
    /// One that was made to be stored: everything in it counts, and links must stay inside it.
    Own,
}

/// A file found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Path in the tree, as `TreeEntry::path`.
    pub relative: String,
    /// Path to open.
    pub path: PathBuf,
    /// Whether it was reached through a symbolic link.
    pub linked: bool,
    pub executable: bool,
}

/// The files of a folder, in no particular order.
pub(crate) fn walk(root: &Path, rules: Rules) -> CacheResult<Vec<Found>> {
    let real_root = fs::canonicalize(root).map_err(|error| CacheError::user_io("read the folder", root, &error))?;
    let mut walk = Walk { rules, real_root, ancestors: Vec::new(), found: Vec::new() };
    walk.folder(root, "", false)?;
    Ok(walk.found)
}

struct Walk {
    rules: Rules,
    real_root: PathBuf,
    /// (device, inode) of the folders being walked, outermost first.
    ancestors: Vec<(u64, u64)>,
    found: Vec<Found>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, relative: &str, linked: bool) -> CacheResult<()> {
        let unreadable = |error| CacheError::user_io("read the folder", folder, &error);
        let metadata = fs::metadata(folder).map_err(unreadable)?;
        let identity = (metadata.dev(), metadata.ino());
        if self.ancestors.contains(&identity) {
            return Err(self.refused(folder, "a symbolic link leads back into a folder that it lies in"));
        }
        if self.ancestors.len() >= names::MAX_DEPTH {
            return Err(self.refused(folder, "at most 64 folders may lie one in another"));
        }
        self.ancestors.push(identity);
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            if self.rules == Rules::User && name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let Some(name) = name.to_str() else {
                return Err(self.refused(&path, "its name is not UTF-8"));
            };
            let relative = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
            self.entry(path, relative, linked)?;
        }
        self.ancestors.pop();
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, relative: String, mut linked: bool) -> CacheResult<()> {
        let unreadable = |error| CacheError::user_io("read", &path, &error);
        names::check(&relative).map_err(|why| self.fault(&path, format!("{}: {why}", path.display())))?;
        if fs::symlink_metadata(&path).map_err(unreadable)?.is_symlink() {
            linked = true;
            if self.rules == Rules::Own {
                let target = fs::canonicalize(&path).map_err(unreadable)?;
                if !target.starts_with(&self.real_root) {
                    return Err(self.refused(&path, "it is a symbolic link that leads out of its tree"));
                }
            }
        }
        let metadata = fs::metadata(&path).map_err(unreadable)?;
        if metadata.is_dir() {
            return self.folder(&path, &relative, linked);
        }
        if !metadata.is_file() {
            return Err(self.refused(&path, "it is neither a file nor a folder"));
        }
        if self.found.len() >= MAX_FILES {
            return Err(self.refused(&path, "the tree has more than a million files"));
        }
        self.found.push(Found { relative, path, linked, executable: metadata.mode() & 0o100 != 0 });
        Ok(())
    }

    fn refused(&self, path: &Path, why: &str) -> CacheError {
        self.fault(path, format!("{} cannot be in a tree: {why}", path.display()))
    }

    /// A user's folder is the user's to mend; one that a stage made is ours.
    fn fault(&self, path: &Path, message: String) -> CacheError {
        match self.rules {
            Rules::User => CacheError::input(path, message),
            Rules::Own => CacheError { path: Some(path.to_path_buf()), ..CacheError::internal(message) },
        }
    }
}
