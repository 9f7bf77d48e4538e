//! Sources: found, digested (once, remembered by the store), or missing with the way to get them.

use std::path::{Path, PathBuf};

use retmask_cache::{Digest, DigestKind, Expected, Form as StoredForm, Manifest, Output, Reading, Store, TreeEntry};
use retmask_stages::artifact::{Form, Media, table};

use super::hub_sources::HubFacts;
use crate::error::{Error, Result};
use crate::pipeline::{HubLocation, Location, Source};

/// The files of a model built into the program: name and bytes.
type EmbeddedFiles = &'static [(&'static str, &'static [u8])];

/// A source whose content is known.
#[derive(Debug, Clone)]
pub struct Known {
    pub media: Media,
    /// What enters the keys of its readers.
    pub digest: Digest,
    pub content: Content,
    /// What it stood for, when it is from the Hugging Face hub.
    pub hub: Option<HubFacts>,
}

/// Where a known source's bytes are.
#[derive(Debug, Clone)]
pub enum Content {
    /// The user's file or folder, used in place.
    InPlace(PathBuf),
    /// Built into the program; goes into the store when first read.
    Embedded { files: EmbeddedFiles, output: Output },
    /// Files by their path in the source, each at a place of its own; laid out as a folder of links, or as one link
    /// if the source is a single file, when first read.
    Linked { files: Vec<(String, PathBuf)>, single: bool },
}

/// A source after looking for it.
#[derive(Debug, Clone)]
pub enum SourceState {
    Known(Known),
    /// It cannot be used: why, and what brings it.
    Missing {
        message: String,
        hint: Option<String>,
    },
    /// `retmask run` downloads it: what is missing, and how many bytes that is, where it is known.
    ToFetch {
        message: String,
        bytes: Option<u64>,
    },
    /// No stage reads it, so nobody looked.
    Unused,
}

/// Looks for a source and digests it. Those of the hub are looked for by [`super::HubSources`].
///
/// # Errors
/// `Environment` when it is there and cannot be read.
pub fn find(store: &Store, source: &Source) -> Result<SourceState> {
    match &source.location {
        Location::Embedded { files, .. } => embedded(source, files).map(SourceState::Known),
        Location::Hub(HubLocation { repository, revision, .. }) => {
            let message = format!("source `{}`: {repository} at {revision} was not looked for", source.name);
            Ok(SourceState::ToFetch { message, bytes: None })
        }
        Location::Path(path) => {
            let missing = |message: String| {
                let hint = source.fetch.as_ref().map(|command| format!("`{command}` brings it"));
                SourceState::Missing { message: format!("source `{}`: {message}", source.name), hint }
            };
            if let Some(message) = unfit(path, source.media.form()) {
                return Ok(missing(message));
            }
            match digest(store, path, source.media.form()) {
                Ok(digest) => {
                    let content = Content::InPlace(path.clone());
                    Ok(SourceState::Known(Known { media: source.media, digest, content, hub: None }))
                }
                Err(Error::Message { fault: retmask_stages::contract::Fault::Input, message, .. }) => {
                    Ok(missing(message))
                }
                Err(error) => Err(error),
            }
        }
    }
}

/// Why a path cannot be an artifact of this form at all.
fn unfit(path: &Path, form: Form) -> Option<String> {
    let shown = path.display();
    let facts = match std::fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(format!("{shown} does not exist")),
        // Anything else comes up, with its reason, when the path is digested.
        Err(_) => return None,
    };
    match form {
        Form::Tree if !facts.is_dir() => Some(format!("{shown} is a file, expected a folder")),
        Form::Table | Form::File if facts.is_dir() => Some(format!("{shown} is a folder, expected a file")),
        _ => None,
    }
}

/// The content digest of a file or folder of the user: `l3` of a table, `t3` of a folder, `b3` of a file.
///
/// # Errors
/// `Input` when it is missing or not what its form says; `Environment` when it cannot be read.
pub fn digest(store: &Store, path: &Path, form: Form) -> Result<Digest> {
    let expected = match form {
        Form::Table => return Ok(Digest::new(DigestKind::Logical, table::logical_digest(path)?)),
        Form::File => Expected::File,
        Form::Tree => Expected::Folder,
        Form::FileOrTree => Expected::Either,
    };
    Ok(store.memo().digest(path, expected)?)
}

fn embedded(source: &Source, files: EmbeddedFiles) -> Result<Known> {
    let entries = files.iter().map(|(name, bytes)| TreeEntry {
        path: (*name).to_owned(),
        executable: false,
        size: bytes.len() as u64,
        digest: Digest::of_bytes(bytes),
    });
    let manifest = Manifest::new(entries.collect())
        .map_err(|message| Error::internal(format!("the embedded source `{}`: {message}", source.name)))?;
    let output = Output {
        port: source.name.clone(),
        media: source.media.name().to_owned(),
        form: StoredForm::Tree,
        digest: manifest.digest(),
        blob: Digest::of_bytes(&manifest.to_bytes()),
        size: manifest.size(),
    };
    Ok(Known { media: source.media, digest: output.digest, content: Content::Embedded { files, output }, hub: None })
}

/// Lays linked files out in a folder of their own, and gives the path to read them from.
///
/// # Errors
/// `Environment` when the links cannot be made.
pub fn lay_out(files: &[(String, PathBuf)], single: bool, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("source");
    for (name, target) in files {
        let link = root.join(name);
        let parent = link.parent().unwrap_or(&root);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::os::unix::fs::symlink(target, &link))
            .map_err(|error| Error::environment(format!("cannot link {}: {error}", link.display())))?;
    }
    match files {
        [(name, _)] if single => Ok(root.join(name)),
        _ => Ok(root),
    }
}

/// A path to read an embedded source from; it is put into the store when it is not there.
///
/// # Errors
/// `Environment` when the store cannot take it.
pub fn read_embedded(store: &Store, files: EmbeddedFiles, output: &Output) -> Result<retmask_cache::Readable> {
    if let Reading::Ready(readable) = store.read(output)? {
        return Ok(readable);
    }
    let staging = store.stage()?;
    let folder = staging.path().join("embedded");
    for (name, bytes) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(&folder);
        let failed = |error: std::io::Error| Error::environment(format!("cannot write {}: {error}", path.display()));
        std::fs::create_dir_all(parent).map_err(failed)?;
        std::fs::write(&path, bytes).map_err(failed)?;
    }
    store.publish(&staging, &[folder])?;
    match store.read(output)? {
        Reading::Ready(readable) => Ok(readable),
        Reading::Lost(reason) => {
            Err(Error::environment(format!("the embedded `{}` went lost in the store: {reason}", output.port)))
        }
    }
}
