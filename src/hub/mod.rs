//! The Hugging Face hub: a revision becomes a commit, and the files that are needed come into the hub's own cache
//! folder, where the Python tools find them and where what they have brought is found.
//!
//! Knows nothing of pipelines. `names` and `content` are what repositories, revisions, paths and digests may be;
//! `settings` is what the environment says; `http` asks, `api` resolves, `cache` knows the layout on disk,
//! `download` brings one file and `snapshot` all of a commit's; `lock_file` keeps what was resolved.

mod api;
mod cache;
mod content;
mod download;
mod http;
mod lock_file;
mod names;
mod refusal;
mod selection;
mod settings;
mod snapshot;
mod token;
mod url;

pub use content::hash_file;
pub use lock_file::{LockFile, Pinned, PinnedFile};
pub use names::{Repository, RepositoryKind, Revision};
pub use selection::{Pattern, Wanted};
pub use settings::Settings;
pub use snapshot::{Hub, Watcher};
