//! What was resolved, as JSON: beside a pipeline, so that others get the same files; and in the result store, so
//! that what is cached needs no network.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content::ContentDigest;
use super::names::{Commit, Repository, RepositoryKind, Revision, check_path};
use super::selection::{Pattern, Wanted};
use crate::error::{Error, Result};

/// The version of the format.
const VERSION: u64 = 1;
/// The largest file that is read. Sources of a hundred thousand files stay below.
const LARGEST: u64 = 64 << 20;

/// One file of a repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    pub path: String,
    /// In bytes.
    pub size: u64,
    pub digest: ContentDigest,
}

/// What a source stands for: a commit, and the files that are needed of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    repo: String,
    r#type: RepositoryKind,
    pub revision: Revision,
    /// The patterns of the pipeline file, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<Vec<Pattern>>,
    pub commit: Commit,
    /// Sorted by path.
    pub contents: Vec<PinnedFile>,
}

impl Pinned {
    pub(super) fn new(
        repository: &Repository,
        revision: &Revision,
        wanted: &Wanted,
        commit: Commit,
        contents: Vec<PinnedFile>,
    ) -> Self {
        Self {
            repo: repository.name().to_owned(),
            r#type: repository.kind,
            revision: revision.clone(),
            files: wanted.patterns().map(<[Pattern]>::to_vec),
            commit,
            contents,
        }
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.contents.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    /// What this is about and what is asked differ in: `None` when they do not.
    pub fn difference(&self, repository: &Repository, revision: &Revision, wanted: &Wanted) -> Option<String> {
        let kind = |kind: RepositoryKind| kind.name();
        if self.repo != repository.name() || self.r#type != repository.kind {
            let (has, asks) = (kind(self.r#type), kind(repository.kind));
            return Some(format!("is for the {has} {}, the pipeline asks for the {asks} {repository}", self.repo));
        }
        if self.revision != *revision {
            return Some(format!("is for the revision {}, the pipeline asks for {revision}", self.revision));
        }
        if self.files.as_deref() != wanted.patterns() {
            return Some("is for other `files`".into());
        }
        // A revision that is a commit leaves nothing to choose.
        let asked = revision.commit().filter(|asked| *asked != self.commit);
        asked.map(|asked| format!("has the commit {}, the pipeline asks for {asked}", self.commit))
    }

    /// Whether this is about the same files of the same commit, whatever the revision was called.
    fn is_about(&self, repository: &Repository, wanted: &Wanted, commit: &Commit) -> bool {
        self.repo == repository.name()
            && self.r#type == repository.kind
            && self.files.as_deref() == wanted.patterns()
            && self.commit == *commit
    }

    /// Paths may become names of files, whoever wrote them.
    fn check(&self) -> std::result::Result<(), String> {
        Repository::new(self.r#type, &self.repo)?;
        let mut seen = BTreeSet::new();
        for file in &self.contents {
            check_path(&file.path)?;
            if !seen.insert(&file.path) {
                return Err(format!("`{}` stands twice", file.path));
            }
        }
        Ok(())
    }
}

/// The lock file of a pipeline: what its sources from the hub stand for, by the source's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u64,
    pub sources: BTreeMap<String, Pinned>,
}

impl LockFile {
    /// A lock file with these sources.
    pub fn new(sources: BTreeMap<String, Pinned>) -> Self {
        Self { version: VERSION, sources }
    }

    /// Where the lock file of a pipeline is: beside it, `.lock` added to its name.
    pub fn path(pipeline: &Path) -> PathBuf {
        let mut name = pipeline.as_os_str().to_owned();
        name.push(".lock");
        PathBuf::from(name)
    }

    /// Reads the lock file of a pipeline; `None` when there is none.
    ///
    /// # Errors
    /// `Input` when it is no lock file, with line and column; `Environment` when it cannot be read.
    pub fn read(pipeline: &Path) -> Result<Option<Self>> {
        let path = Self::path(pipeline);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::environment(format!("cannot read {}: {error}", path.display()))),
        };
        let wrong =
            |why: String| Error::input(format!("{}: {why}", path.display())).with_hint("`retmask lock` writes it anew");
        let lock: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if lock.version != VERSION {
            return Err(wrong(format!("it has version {}, and this program reads version {VERSION}", lock.version)));
        }
        for (name, pinned) in &lock.sources {
            pinned.check().map_err(|why| wrong(format!("source `{name}`: {why}")))?;
        }
        Ok(Some(lock))
    }

    /// Writes the lock file of a pipeline: equal contents, equal bytes; whole or not at all.
    ///
    /// # Errors
    /// `Environment` when it cannot be written.
    pub fn write(&self, pipeline: &Path) -> Result<PathBuf> {
        let path = Self::path(pipeline);
        write_json(&path, self)
            .map_err(|error| Error::environment(format!("cannot write {}: {error}", path.display())))?;
        Ok(path)
    }
}

/// What commits were found to hold, kept in a folder: a commit never changes. Disposable.
#[derive(Debug, Clone)]
pub(super) struct Known {
    folder: PathBuf,
}

impl Known {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, repository: &Repository, wanted: &Wanted, commit: &Commit) -> PathBuf {
        let patterns: Vec<&str> = wanted.patterns().into_iter().flatten().map(Pattern::as_str).collect();
        let kind = match wanted {
            Wanted::Model => "model",
            Wanted::All => "all",
            Wanted::Files(_) => "files",
        };
        // No path has a line feed in it.
        let name = blake3::hash(format!("{kind}\n{}", patterns.join("\n")).as_bytes()).to_hex();
        self.folder.join(repository.folder()).join(format!("{commit}.{}.json", &name[..16]))
    }

    /// What the commit holds of what is wanted, if that is known. A damaged file counts as absent: it is asked again.
    pub(super) fn find(
        &self,
        repository: &Repository,
        revision: &Revision,
        wanted: &Wanted,
        commit: &Commit,
    ) -> Option<Pinned> {
        let bytes = read_bounded(&self.path(repository, wanted, commit)).ok()?;
        let pinned: Pinned = serde_json::from_slice(&bytes).ok()?;
        (pinned.check().is_ok() && pinned.is_about(repository, wanted, commit))
            .then(|| Pinned { revision: revision.clone(), ..pinned })
    }

    /// Keeps what a commit holds.
    pub(super) fn keep(&self, repository: &Repository, wanted: &Wanted, pinned: &Pinned) -> io::Result<()> {
        let path = self.path(repository, wanted, &pinned.commit);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        write_json(&path, pinned)
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(bytes)
}

fn write_json(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(content).map_err(io::Error::other)?;
    text.push(b'\n');
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder)?;
    file.write_all(&text)?;
    file.persist(path)?;
    Ok(())
}

/// Less the umask, as any file one writes.
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn repository() -> Repository {
        Repository::new(RepositoryKind::Model, "owner/name").unwrap()
    }

    fn pinned(revision: &str) -> Pinned {
        let file = PinnedFile { path: "config.json".into(), size: 3, digest: ContentDigest::GitBlob([7; 20]) };
        let revision = Revision::new(revision).unwrap();
        Pinned::new(&repository(), &revision, &Wanted::Model, Commit::new(COMMIT).unwrap(), vec![file])
    }

    #[test]
    fn a_lock_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = folder.path().join("a.yaml");
        assert_eq!(LockFile::read(&pipeline).unwrap(), None);
        let lock = LockFile::new(BTreeMap::from([("policy".to_owned(), pinned("main"))]));
        let path = lock.write(&pipeline).unwrap();
        assert_eq!(path, folder.path().join("a.yaml.lock"));
        assert_eq!(LockFile::read(&pipeline).unwrap(), Some(lock.clone()));
        let bytes = std::fs::read(&path).unwrap();
        lock.write(&pipeline).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let text = String::from_utf8(bytes).unwrap();
        for (from, to, why) in [
            ("\"version\": 1", "\"version\": 2", "version 2"),
            ("\"size\": 3", "\"size\": -3", "line"),
            ("config.json", "../config.json", "would leave its folder"),
            ("git:07", "git:7", "is no digest"),
            ("\"commit\"", "\"comit\"", "unknown field `comit`"),
        ] {
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let Err(Error::Message { message, .. }) = LockFile::read(&pipeline) else { panic!("{to}") };
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn an_entry_is_for_one_question() {
        let entry = pinned("main");
        let main = Revision::new("main").unwrap();
        assert_eq!(entry.difference(&repository(), &main, &Wanted::Model), None);
        let other = Repository::new(RepositoryKind::Dataset, "owner/name").unwrap();
        let files = Wanted::Files(vec![Pattern::new("*.gguf").unwrap()]);
        for (repository, revision, wanted, why) in [
            (&other, "main", &Wanted::Model, "the pipeline asks for the dataset owner/name"),
            (&repository(), "v2", &Wanted::Model, "is for the revision main, the pipeline asks for v2"),
            (&repository(), "main", &files, "is for other `files`"),
        ] {
            let found = entry.difference(repository, &Revision::new(revision).unwrap(), wanted);
            assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{found:?}");
        }
        let forged = pinned(&"ab".repeat(20));
        let found = forged.difference(&repository(), &forged.revision, &Wanted::Model);
        assert!(found.is_some_and(|found| found.contains("has the commit 0123")));
    }
}
