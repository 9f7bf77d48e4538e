//! What a program left, before anything of it is taken: there, in its form, and nothing but plain files and folders.

use std::fs::Metadata;
use std::path::Path;

use crate::artifact::{Form, Media};
use crate::contract::{StageError, StageResult};

/// Folders one in another; a stored folder has no more.
const DEEPEST: usize = 64;

/// Looks at an output, and at everything below it.
///
/// # Errors
/// `Input` when it is not there, has another form, or holds a link, a device, a socket, a pipe, or a name that is no
/// UTF-8; `Environment` when it cannot be read.
pub fn check(program: &str, port: &str, media: Media, path: &Path) -> StageResult<()> {
    let refused = |what: String| Err(StageError::input(format!("`{program}`: output `{port}` {what}")));
    let facts = match path.symlink_metadata() {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return refused(format!("was not written; its place is `{{out.{port}}}`"));
        }
        Err(error) => return Err(StageError::environment(format!("cannot look at {}: {error}", path.display()))),
    };
    if let Some(kind) = special(&facts) {
        return refused(format!("is {kind}, expected a file or folder of its own"));
    }
    match media.form() {
        Form::Table | Form::File if !facts.is_file() => return refused("is a folder, expected a file".into()),
        Form::Tree if !facts.is_dir() => return refused("is a file, expected a folder".into()),
        _ => {}
    }
    match if facts.is_dir() { inside(path, path, 1)? } else { None } {
        Some(what) => refused(what),
        None => Ok(()),
    }
}

/// What is wrong below a folder, where something is.
fn inside(root: &Path, folder: &Path, depth: usize) -> StageResult<Option<String>> {
    let failed =
        |error: std::io::Error| StageError::environment(format!("cannot look into {}: {error}", folder.display()));
    if depth > DEEPEST {
        return Ok(Some(format!("has more than {DEEPEST} folders one in another")));
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().escape_debug().to_string();
        if path.to_str().is_none() {
            return Ok(Some(format!("holds `{name}`, whose name is not UTF-8")));
        }
        let facts = path.symlink_metadata().map_err(failed)?;
        if let Some(kind) = special(&facts) {
            return Ok(Some(format!("holds `{name}`, which is {kind}; only plain files and folders are taken")));
        }
        if facts.is_dir()
            && let Some(what) = inside(root, &path, depth + 1)?
        {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

/// What something is that is neither a file nor a folder.
fn special(facts: &Metadata) -> Option<&'static str> {
    match facts {
        facts if facts.is_symlink() => Some("a symbolic link"),
        facts if facts.is_file() || facts.is_dir() => None,
        _ => Some("a device, a socket or a pipe"),
    }
}
