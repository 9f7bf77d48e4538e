//! Sources from the Hugging Face hub: what the lock file or an earlier run says they are, whether their files are
//! there, and how they come.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use retmask_cache::{Digest, Manifest, Store, TreeEntry};
use retmask_stages::artifact::{Form, Media};
use serde::{Deserialize, Serialize};

use super::sources::{Content, Known, SourceState};
use crate::error::{Error, Result};
use crate::hub::{Hub, LockFile, Pinned, PinnedFile, RepositoryKind, Settings, Watcher, hash_file};
use crate::pipeline::{HubLocation, Location, Pipeline, Source};

/// What a source from the hub was, for the record of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubFacts {
    pub repo: String,
    pub r#type: RepositoryKind,
    pub revision: String,
    pub commit: String,
    /// Whether the lock file said so.
    pub locked: bool,
}

/// What is known about the hub's sources of one pipeline.
#[derive(Debug)]
pub struct HubSources {
    /// `None` where no source is from the hub: then nothing of its settings is looked at.
    hub: Option<Hub>,
    lock: Option<LockFile>,
    lock_path: PathBuf,
    /// Whether nothing but what the lock file says may be used.
    only_locked: bool,
}

/// The files of a source, as far as they are in the cache.
enum Presence {
    Here(Known),
    Lacking(Vec<PinnedFile>),
}

impl HubSources {
    /// Reads the environment and the lock file. With `locked`, the lock file must say what every source of the hub is.
    ///
    /// # Errors
    /// `Input` when the environment or the lock file cannot be used, or a source is not as it is locked.
    pub fn open(pipeline: &Pipeline, store: &Store, locked: bool) -> Result<Self> {
        let mut sources = Self::without_lock(pipeline, store)?;
        if sources.hub.is_none() {
            return Ok(sources);
        }
        sources.lock = LockFile::read(&pipeline.path)?;
        sources.only_locked = locked;
        if locked {
            sources.require_lock(pipeline)?;
        }
        Ok(sources)
    }

    /// Reads the environment, and leaves the lock file alone.
    ///
    /// # Errors
    /// `Input` when the environment cannot be used.
    pub fn without_lock(pipeline: &Pipeline, store: &Store) -> Result<Self> {
        let hub = match hub_sources(pipeline).next() {
            None => None,
            Some(_) => Some(Hub::new(&Settings::from_environment()?, store.root().join("hub/commits"))),
        };
        Ok(Self { hub, lock: None, lock_path: LockFile::path(&pipeline.path), only_locked: false })
    }

    /// The absolute path of the lock file, where there is one.
    pub fn lock_file(&self) -> Option<PathBuf> {
        self.lock.as_ref().and_then(|_| std::fs::canonicalize(&self.lock_path).ok())
    }

    fn require_lock(&self, pipeline: &Pipeline) -> Result<()> {
        let path = self.lock_path.display();
        let hint = format!("`retmask lock {}` writes it anew", pipeline.path.display());
        let Some(lock) = &self.lock else {
            return Err(
                Error::input(format!("{path} is missing, and --locked takes what stands in it")).with_hint(hint)
            );
        };
        let mut wrong = self.stale(pipeline);
        for (source, _) in hub_sources(pipeline).filter(|(source, _)| !lock.sources.contains_key(&source.name)) {
            wrong.push(format!("{path} has no entry for source `{}`", source.name));
        }
        for name in lock.sources.keys().filter(|name| hub_sources(pipeline).all(|(source, _)| source.name != **name)) {
            wrong.push(format!("{path} has an entry for `{name}`, which is no source from the hub in the pipeline"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::input(wrong.join("\n  ")).with_hint(hint)) }
    }

    /// What the lock file says of sources that the pipeline now describes otherwise: these entries are not used.
    pub fn stale(&self, pipeline: &Pipeline) -> Vec<String> {
        let entry = |name: &str| self.lock.as_ref().and_then(|lock| lock.sources.get(name));
        let stale = hub_sources(pipeline).filter_map(|(source, HubLocation { repository, revision, wanted })| {
            let difference = entry(&source.name)?.difference(repository, revision, wanted)?;
            Some(format!("{}: the entry of source `{}` {difference}", self.lock_path.display(), source.name))
        });
        stale.collect()
    }

    fn hub(&self) -> Result<&Hub> {
        self.hub.as_ref().ok_or_else(|| Error::internal("a source from the hub appeared after the pipeline was read"))
    }

    /// What the lock file says this source is.
    fn locked(&self, source: &Source, location: &HubLocation) -> Option<&Pinned> {
        let pinned = self.lock.as_ref()?.sources.get(&source.name)?;
        pinned.difference(&location.repository, &location.revision, &location.wanted).is_none().then_some(pinned)
    }

    /// A source as it can be seen without a network.
    ///
    /// # Errors
    /// `Environment` when a cached file cannot be read; `Input` when what is cached is not what is wanted.
    pub fn find(&self, store: &Store, source: &Source, location: &HubLocation) -> Result<SourceState> {
        let hub = self.hub()?;
        let HubLocation { repository, revision, wanted } = location;
        let locked = self.locked(source, location);
        let pinned = match locked {
            Some(pinned) => Some(pinned.clone()),
            None => hub.last_known(repository, revision, wanted)?,
        };
        let cache = hub.cache().root().display();
        let (message, bytes) = match &pinned {
            None => (format!("source `{}`: {repository} at {revision} is not in {cache}", source.name), None),
            Some(pinned) => match self.presence(store, source, location, pinned, locked.is_some())? {
                Presence::Here(known) => return Ok(SourceState::Known(known)),
                Presence::Lacking(files) => {
                    if self.only_locked {
                        self.refuse_other_contents(source, location, pinned, &files)?;
                    }
                    let bytes = hub.to_fetch(repository, &files);
                    let message = format!(
                        "source `{}`: {} of {} files of {repository} at {revision} ({}) are not in {cache}",
                        source.name,
                        files.len(),
                        pinned.contents.len(),
                        pinned.commit
                    );
                    (message, Some(bytes))
                }
            },
        };
        if hub.is_offline() {
            let hint = Some("HF_HUB_OFFLINE is set; unset it, and `retmask run` downloads them".to_owned());
            return Ok(SourceState::Missing { message, hint });
        }
        Ok(SourceState::ToFetch { message, bytes })
    }

    /// Refuses a snapshot that has a file with another content than the lock file says: only a run can find out
    /// whether the file is damaged or the lock file wrong.
    fn refuse_other_contents(
        &self,
        source: &Source,
        location: &HubLocation,
        pinned: &Pinned,
        files: &[PinnedFile],
    ) -> Result<()> {
        for file in files {
            let place = self.hub()?.cache().snapshot_file(&location.repository, &pinned.commit, file);
            let Some(place) = place else { continue };
            let found = hash_file(&place, &file.digest)
                .map_err(|error| Error::environment(format!("cannot read {}: {error}", place.display())))?;
            if found != file.digest {
                return Err(Error::input(format!(
                    "source `{}`: {} has another content than {} says: {found}, expected {}",
                    source.name,
                    place.display(),
                    self.lock_path.display(),
                    file.digest
                ))
                .with_hint("`retmask run --locked` fetches it again; `retmask lock` writes the lock file anew"));
            }
        }
        Ok(())
    }

    /// Asks what a source stands for, as `retmask lock` does: never the lock file.
    ///
    /// # Errors
    /// As [`Hub::resolve`]; `Input` when it is not the one file that is needed.
    pub fn resolve(&self, source: &Source, location: &HubLocation, watcher: &dyn Watcher) -> Result<Pinned> {
        let HubLocation { repository, revision, wanted } = location;
        let pinned = self.hub()?.resolve(repository, revision, wanted, watcher).map_err(|error| of(source, error))?;
        check_form(source, &pinned)?;
        Ok(pinned)
    }

    /// What a run takes a source to be: what the lock file says, else what the hub says.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn pin(&self, source: &Source, location: &HubLocation, watcher: &dyn Watcher) -> Result<(Pinned, bool)> {
        match self.locked(source, location) {
            Some(pinned) => Ok((pinned.clone(), true)),
            None => Ok((self.resolve(source, location, watcher)?, false)),
        }
    }

    /// The source with all its files in the cache, fetching what is not there. `begins` is told how many bytes come.
    ///
    /// # Errors
    /// As [`Hub::download`].
    pub fn fetch(
        &self,
        store: &Store,
        source: &Source,
        location: &HubLocation,
        (pinned, locked): &(Pinned, bool),
        watcher: &dyn Watcher,
        begins: &dyn Fn(usize, u64),
    ) -> Result<Known> {
        let hub = self.hub()?;
        if let Presence::Lacking(files) = self.presence(store, source, location, pinned, *locked)? {
            begins(files.len(), hub.to_fetch(&location.repository, &files));
            hub.download(&location.repository, pinned, &files, watcher).map_err(|error| of(source, error))?;
        }
        match self.presence(store, source, location, pinned, *locked)? {
            Presence::Here(known) => Ok(known),
            Presence::Lacking(files) => {
                let path = files.first().map_or("", |file| file.path.as_str());
                Err(Error::environment(format!(
                    "source `{}`: {path} was fetched, and is not in the Hugging Face cache with its content",
                    source.name
                ))
                .with_hint("another program may be changing the cache; run again"))
            }
        }
    }

    /// The files of a source in the cache, each checked against its digest (once, remembered).
    fn presence(
        &self,
        store: &Store,
        source: &Source,
        location: &HubLocation,
        pinned: &Pinned,
        locked: bool,
    ) -> Result<Presence> {
        check_form(source, pinned)?;
        let hub = self.hub()?;
        let (mut files, mut entries, mut lacking) = (Vec::new(), Vec::new(), Vec::new());
        for file in &pinned.contents {
            let mut found = None;
            for path in hub.cache().candidates(&location.repository, &pinned.commit, file) {
                if let Some(digest) = content(store, &path, file)? {
                    found = Some((path, digest));
                    break;
                }
            }
            let Some((path, digest)) = found else {
                lacking.push(file.clone());
                continue;
            };
            // As a folder of the user's would be digested.
            let executable = std::fs::metadata(&path).is_ok_and(|facts| facts.mode() & 0o100 != 0);
            entries.push(TreeEntry { path: file.path.clone(), executable, size: file.size, digest });
            files.push((file.path.clone(), path));
        }
        if !lacking.is_empty() {
            return Ok(Presence::Lacking(lacking));
        }
        let single = is_single(source.media, pinned);
        let digest = match (single, entries.as_slice()) {
            (true, [entry]) => entry.digest,
            _ => Manifest::new(entries)
                .map_err(|why| Error::input(format!("source `{}`: {}: {why}", source.name, location.repository)))?
                .digest(),
        };
        let HubLocation { repository, revision, .. } = location;
        let facts = HubFacts {
            repo: repository.name().to_owned(),
            r#type: repository.kind,
            revision: revision.to_string(),
            commit: pinned.commit.to_string(),
            locked,
        };
        let content = Content::Linked { files, single };
        Ok(Presence::Here(Known { media: source.media, digest, content, hub: Some(facts) }))
    }
}

/// The sources that are from the hub.
pub fn hub_sources(pipeline: &Pipeline) -> impl Iterator<Item = (&Source, &HubLocation)> {
    pipeline.sources().iter().filter_map(|source| match &source.location {
        Location::Hub(location) => Some((source, location)),
        _ => None,
    })
}

/// The lock file of a pipeline, resolved now.
///
/// # Errors
/// As [`HubSources::resolve`].
pub fn resolve_all(sources: &HubSources, pipeline: &Pipeline, watcher: &dyn Watcher) -> Result<LockFile> {
    let mut pinned = BTreeMap::new();
    for (source, location) in hub_sources(pipeline) {
        pinned.insert(source.name.clone(), sources.resolve(source, location, watcher)?);
    }
    Ok(LockFile::new(pinned))
}

fn of(source: &Source, error: Error) -> Error {
    match error {
        Error::Message { fault, message, hint } => {
            Error::Message { fault, message: format!("source `{}`: {message}", source.name), hint }
        }
        other => other,
    }
}

/// Whether the source is one file and not a folder.
fn is_single(media: Media, pinned: &Pinned) -> bool {
    match media.form() {
        Form::Tree => false,
        Form::File | Form::Table => true,
        // A model is a folder, or one GGUF file.
        Form::FileOrTree if media == Media::EvaluationSet => pinned.contents.len() == 1,
        Form::FileOrTree => matches!(pinned.contents.as_slice(), [file] if file.path.ends_with(".gguf")),
    }
}

fn check_form(source: &Source, pinned: &Pinned) -> Result<()> {
    let count = pinned.contents.len();
    if count == 0 || (is_single(source.media, pinned) && count != 1) {
        let takes = if is_single(source.media, pinned) { "one file" } else { "files" };
        return Err(Error::input(format!(
            "source `{}` is {takes}, and what is named of the repository are {count}",
            source.name
        ))
        .with_hint("name it with `files: [PATH]`"));
    }
    Ok(())
}

/// The `b3` digest of a cached file, if its content is what the hub's digest says. Found to be so once, that is
/// remembered by the content's own two names, and holds wherever the file lies.
fn content(store: &Store, path: &Path, file: &PinnedFile) -> Result<Option<Digest>> {
    let (digest, _) = store.memo().file(path)?;
    let remembered = store.root().join("hub/contents").join(file.digest.digits());
    if std::fs::read_to_string(&remembered).is_ok_and(|text| text == digest.to_string()) {
        return Ok(Some(digest));
    }
    let found = hash_file(path, &file.digest)
        .map_err(|error| Error::environment(format!("cannot read {}: {error}", path.display())))?;
    if found != file.digest {
        return Ok(None);
    }
    // Like the memo, this only saves time: a store that cannot be written to is told where it matters.
    let _ = remember(&remembered, &digest);
    Ok(Some(digest))
}

fn remember(path: &Path, digest: &Digest) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // As other files are made: colleagues of a shared store read it, too.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(folder)?;
    write!(file, "{digest}")?;
    file.persist(path)?;
    Ok(())
}
