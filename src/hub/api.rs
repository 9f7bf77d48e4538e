//! A revision becomes a commit with a list of files.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::content::ContentDigest;
use super::http::{Client, Waiting};
use super::lock_file::PinnedFile;
use super::names::{Commit, Repository, Revision, check_path, shown};
use super::refusal::{Subject, explain};
use super::url::escape;
use crate::error::{Error, Result};

/// The largest list of files that is read, in bytes. Repositories with a hundred thousand files stay below.
const LARGEST_LIST: u64 = 64 << 20;
/// How often a list that breaks off is asked for again.
const ATTEMPTS: usize = 3;

/// What a revision stands for now.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: Commit,
    /// All files, sorted by path.
    pub(super) files: Vec<PinnedFile>,
}

/// The part of the hub's answer that is read.
#[derive(Debug, Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Debug, Deserialize)]
struct LargeFile {
    sha256: String,
    size: u64,
}

/// Asks the hub what a revision stands for.
///
/// # Errors
/// `Input` when there is no such repository or revision or it may not be read; `Environment` when the hub does not
/// answer, or answers what cannot be.
pub(super) fn resolve(
    client: &Client,
    repository: &Repository,
    revision: &Revision,
    waiting: &dyn Waiting,
) -> Result<Listing> {
    let path = format!(
        "/api/{}/{repository}/revision/{}?blobs=true",
        repository.kind.plural(),
        escape(revision.as_str(), false)
    );
    let subject = Subject { repository, revision, file: None };
    let mut broken = String::new();
    for _ in 0..ATTEMPTS {
        let mut response = client.get(&path, 0, waiting).map_err(|failure| explain(client, &subject, &failure))?;
        match response.body_mut().with_config().limit(LARGEST_LIST).read_to_vec() {
            Ok(bytes) => return read(repository, revision, &bytes),
            Err(ureq::Error::BodyExceedsLimit(_)) => {
                return Err(Error::environment(format!("the hub's list of the files of {repository} is too large")));
            }
            Err(error) => broken = error.to_string(),
        }
    }
    Err(Error::environment(format!("the hub's list of the files of {repository} broke off: {broken}")))
}

/// Reads and checks the answer: nothing in it is used as a name before.
fn read(repository: &Repository, revision: &Revision, bytes: &[u8]) -> Result<Listing> {
    let wrong = |why: String| {
        Error::environment(format!("the hub's answer about {repository} at {revision} cannot be used: {why}"))
            .with_hint("check HF_ENDPOINT")
    };
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    let commit = Commit::new(&answer.sha).map_err(&wrong)?;
    if let Some(asked) = revision.commit().filter(|asked| *asked != commit) {
        return Err(wrong(format!("it is about the commit {commit}, asked for was {asked}")));
    }
    let files = answer.siblings.into_iter().map(pinned).collect::<std::result::Result<Vec<_>, _>>();
    let mut files = files.map_err(&wrong)?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    let distinct: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    if distinct.len() != files.len() {
        return Err(wrong("a file stands in it twice".into()));
    }
    if let Some(pair) = files.iter().find(|file| folders(&file.path).any(|folder| distinct.contains(folder))) {
        return Err(wrong(format!("`{}` lies in a folder that is also a file", shown(&pair.path))));
    }
    Ok(Listing { commit, files })
}

/// The folders a path lies in, outermost first.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

fn pinned(sibling: Sibling) -> std::result::Result<PinnedFile, String> {
    check_path(&sibling.rfilename)?;
    let name = shown(&sibling.rfilename);
    let (size, digest) = match &sibling.lfs {
        Some(large) => (Some(large.size), ContentDigest::sha256(&large.sha256)),
        None => (sibling.size, sibling.blob_id.as_deref().and_then(ContentDigest::git_blob)),
    };
    let size = size.ok_or_else(|| format!("`{name}` has no size"))?;
    let digest = digest.ok_or_else(|| format!("`{name}` has no digest"))?;
    Ok(PinnedFile { path: sibling.rfilename, size, digest })
}

#[cfg(test)]
mod tests {
    use super::super::names::RepositoryKind;
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn read_files(files: &str) -> std::result::Result<Listing, String> {
        let repository = Repository::new(RepositoryKind::Model, "owner/name").unwrap();
        let answer = format!(r#"{{"sha": "{COMMIT}", "other": 1, "siblings": [{files}]}}"#);
        read(&repository, &Revision::new("main").unwrap(), answer.as_bytes()).map_err(|error| match error {
            Error::Message { message, .. } => message,
            other => panic!("{other:?}"),
        })
    }

    fn small(name: &str) -> String {
        format!(r#"{{"rfilename": {}, "size": 3, "blobId": "{COMMIT}"}}"#, serde_json::Value::from(name))
    }

    #[test]
    fn small_files_have_a_git_digest_and_large_ones_a_sha256() {
        let sha = "ab".repeat(32);
        let large = format!(
            r#"{{"rfilename": "a.bin", "size": 9, "blobId": "{COMMIT}", "lfs": {{"sha256": "{sha}", "size": 9, "pointerSize": 130}}}}"#
        );
        let listing = read_files(&format!("{}, {large}", small("config.json"))).unwrap();
        let shown: Vec<String> = listing.files.iter().map(|file| format!("{} {}", file.path, file.digest)).collect();
        assert_eq!(shown, [format!("a.bin sha256:{sha}"), format!("config.json git:{COMMIT}")]);
    }

    #[test]
    fn hostile_lists_are_refused() {
        for name in ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "a\0", "", "a//b"] {
            let refused = read_files(&small(name)).unwrap_err();
            assert!(refused.contains("the file name `"), "{name:?}: {refused}");
        }
        for (files, why) in [
            (format!("{}, {}", small("a"), small("a")), "twice"),
            (format!("{}, {}", small("a"), small("a/b")), "also a file"),
            (r#"{"rfilename": "a", "blobId": "0123456789012345678901234567890123456789"}"#.into(), "no size"),
            (r#"{"rfilename": "a", "size": 3}"#.into(), "no digest"),
            (r#"{"rfilename": "a", "size": 3, "blobId": "../../etc/passwd"}"#.into(), "no digest"),
            (r#"{"rfilename": "a", "size": -3}"#.into(), "cannot be used"),
        ] {
            let refused = read_files(&files).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
