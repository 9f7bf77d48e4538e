//! Where everything lies in the store's folder.

use std::path::{Path, PathBuf};

use crate::{Digest, Key};

/// Who vouches for a record. Signed records will carry the signer's name here.
const SIGNER: &str = "unsigned";

/// Version 1 of the layout:
///
/// ```text
/// VERSION                                         the line `retmask-cache 1`
/// cas/b3/ab/abcd...                               blobs, named by the 64 digits of their b3, mode 0444
/// ac/ab/<key>/unsigned.<16 digits>.rec            records, named by signer and the start of their b3; immutable
/// rows/ab/<scope>/                                results of single rows: segments and logs, see `rows`
/// resume/<key>/                                   what the work of a key goes on from; its lock guards it
/// tmp/<host>.<pid>.<random>/                      staging; its file `owner` is locked while the owner lives, and its
///                                                 file `uses` lists what the collector must leave it
/// lock/<key>                                      locks of the kernel; the files themselves mean nothing
/// lock/staging, lock/collect, lock/collector      the same
/// quarantine/<name>.<random>/<name>               blobs, records and segments that failed their check
/// roots/<key>                                     pins: results that the collector keeps, with a note as JSON
/// runs/<run>/                                     what the program writes about its runs
/// remotes/<remote>/<key>.<record>                 copies of the records of remotes, to compare with; disposable
/// memo/<host>.1                                   digests of unchanged files; disposable
/// hub/                                            what the program knows of Hugging Face commits; disposable
/// ```
///
/// A remote has `VERSION`, `cas`, `ac`, `runs` and the segments in `rows` of it.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    host: String,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        let name = rustix::system::uname();
        let host: String = name
            .nodename()
            .to_string_lossy()
            .chars()
            .take(64)
            .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
            .collect();
        Self { root, host: if host.is_empty() { "host".to_owned() } else { host } }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// This machine's name, reduced to letters, digits and hyphens.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn version(&self) -> PathBuf {
        self.root.join("VERSION")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("cas/b3")
    }

    /// Where the blob with this `b3` digest lies.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join(blob_place(digest))
    }

    pub(super) fn all_records(&self) -> PathBuf {
        self.root.join("ac")
    }

    /// The folder with the records of a key.
    pub(super) fn records(&self, key: &Key) -> PathBuf {
        self.root.join(records_place(key))
    }

    /// The name of a record whose contents have this digest.
    pub(super) fn record_name(digest: &Digest) -> String {
        format!("{SIGNER}.{}.rec", &digest.hex()[..16])
    }

    pub(super) fn row_maps(&self) -> PathBuf {
        self.root.join("rows")
    }

    /// The folder of the row map of a scope.
    pub(super) fn row_map(&self, scope: &Key) -> PathBuf {
        self.root.join(rows_place(scope))
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn all_resume(&self) -> PathBuf {
        self.root.join("resume")
    }

    /// Where the work of a key keeps what it can go on from.
    pub(super) fn resume(&self, key: &Key) -> PathBuf {
        self.all_resume().join(key.to_string())
    }

    pub(super) fn staging_lock(&self) -> PathBuf {
        self.root.join("lock/staging")
    }

    /// Shared for the moment in which a process says what it uses, exclusive while something is removed.
    pub(super) fn collect_lock(&self) -> PathBuf {
        self.root.join("lock/collect")
    }

    /// Held by a collector as long as it works: there is one at a time.
    pub(super) fn collector_lock(&self) -> PathBuf {
        self.root.join("lock/collector")
    }

    pub(super) fn pins(&self) -> PathBuf {
        self.root.join("roots")
    }

    /// Where the pin of a key lies.
    pub(super) fn pin(&self, key: &Key) -> PathBuf {
        self.pins().join(key.to_string())
    }

    pub(super) fn key_lock(&self, key: &Key) -> PathBuf {
        self.root.join("lock").join(key.to_string())
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Where copies of the records of a remote lie.
    pub(super) fn records_of_remote(&self, address: &str) -> PathBuf {
        let digest = blake3::hash(address.as_bytes()).to_hex();
        self.root.join("remotes").join(&digest.as_str()[..16])
    }

    pub(super) fn memo(&self) -> PathBuf {
        self.root.join("memo").join(format!("{}.1", self.host))
    }
}

/// Where a blob lies in a store, local or not.
pub(super) fn blob_place(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("cas/b3/{}/{hex}", &hex[..2])
}

/// The folder with the rows of a scope in a store, local or not.
pub(super) fn rows_place(scope: &Key) -> String {
    let hex = scope.to_string();
    format!("rows/{}/{hex}", &hex[..2])
}

/// The folder with the records of a key in a store, local or not.
pub(super) fn records_place(key: &Key) -> String {
    let hex = key.to_string();
    format!("ac/{}/{hex}", &hex[..2])
}
