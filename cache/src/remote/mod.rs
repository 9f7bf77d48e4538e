//! A store elsewhere: a folder or a bucket with the same layout, reached through object_store.
//!
//! What it says is never believed: every record and blob that arrives is compared with its digest. Credentials come from
//! the environment and go nowhere but into signatures.

mod http;
mod objects;

pub(crate) use objects::{Fetched, Listed};

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use crate::{CacheError, CacheResult, Fault, Key};

/// What may be done with a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// A store elsewhere.
pub struct Remote {
    /// Its address, as it was given.
    address: String,
    objects: Arc<dyn ObjectStore>,
    /// The folder in the bucket, with a `/` at its end unless it is empty.
    prefix: String,
    access: Access,
    /// Whether it is of this layout; asked once.
    version: OnceLock<()>,
    /// Keys of which something arrived damaged: all of them is written anew when it was made here.
    distrusted: Mutex<HashSet<Key>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Remote({}, {:?})", self.address, self.access)
    }
}

impl Remote {
    /// The remote at `file:///FOLDER` or `s3://BUCKET/FOLDER`. Nothing is asked of it yet.
    ///
    /// For S3 the environment says the rest, as for the AWS tools: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, those of web identities and containers.
    ///
    /// # Errors
    /// Input: the address is not understood, or the environment lacks credentials. Environment: the folder cannot be
    /// made (it is, where it may be written to).
    pub fn open(address: &str, access: Access) -> CacheResult<Self> {
        let wrong = |why: &str| {
            let message = format!("the remote `{}` {why}", address.escape_debug());
            CacheError { fault: Fault::Input, message, path: None, hint: None }
                .with_hint("expected file:///FOLDER or s3://BUCKET/FOLDER")
        };
        let (scheme, rest) = address.split_once("://").ok_or_else(|| wrong("is not an address"))?;
        let (objects, prefix): (Arc<dyn ObjectStore>, String) = match scheme {
            "file" if rest.starts_with('/') => (Arc::new(folder(Path::new(rest), access)?), String::new()),
            "file" => return Err(wrong("names no absolute folder")),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() || bucket.contains(['@', ':', '?']) {
                    return Err(wrong("names no bucket; credentials belong in the environment"));
                }
                let prefix = prefix.trim_matches('/');
                let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
                (Arc::new(s3(address, bucket)?), prefix)
            }
            _ => return Err(wrong("is of a kind that is not known")),
        };
        let (version, distrusted) = (OnceLock::new(), Mutex::default());
        Ok(Self { address: address.to_owned(), objects, prefix, access, version, distrusted })
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn access(&self) -> Access {
        self.access
    }

    /// Remembers that what is there of a key is not all sound.
    pub(crate) fn distrust(&self, key: &Key) {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).insert(*key);
    }

    pub(crate) fn is_distrusted(&self, key: &Key) -> bool {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// The remote does not do what is wanted.
    pub(crate) fn trouble(&self, what: impl fmt::Display) -> CacheError {
        let message = format!("the remote {}: {what}", self.address);
        CacheError { fault: Fault::Environment, message, path: None, hint: None }
    }

    fn failed(&self, what: &str, name: &str, error: &object_store::Error) -> CacheError {
        use object_store::Error::{PermissionDenied, Unauthenticated};
        let trouble = self.trouble(format!("cannot {what} {name}: {}", with_sources(error)));
        match error {
            PermissionDenied { .. } | Unauthenticated { .. } => {
                trouble.with_hint("the credentials in the environment, or the rights of the folder, do not allow it")
            }
            _ => trouble,
        }
    }
}

fn folder(path: &Path, access: Access) -> CacheResult<LocalFileSystem> {
    if access == Access::ReadWrite {
        crate::disk::make_folders(path)?;
    }
    if !path.is_dir() {
        return Err(CacheError::environment(path, format!("the remote file://{} is not a folder", path.display())));
    }
    crate::sharing::follow(path)?;
    let opened = LocalFileSystem::new_with_prefix(path);
    let opened = opened.map_err(|error| CacheError::environment(path, with_sources(&error)))?;
    Ok(opened.with_fsync(true))
}

fn s3(address: &str, bucket: &str) -> CacheResult<object_store::aws::AmazonS3> {
    let given = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let sources = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",
    ];
    let input = |message: String| CacheError { fault: Fault::Input, message, path: None, hint: None };
    if !sources.into_iter().any(given) {
        return Err(input(format!("the remote {address} needs credentials, and the environment has none")).with_hint(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_SKIP_SIGNATURE=true for a public bucket",
        ));
    }
    AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_http_connector(http::Connector)
        .with_retry(RetryConfig {
            backoff: BackoffConfig { init_backoff: Duration::from_millis(200), ..BackoffConfig::default() },
            max_retries: 4,
            retry_timeout: Duration::from_secs(60),
        })
        .build()
        .map_err(|error| input(format!("the remote {address} cannot be used: {}", with_sources(&error))))
}

/// An error with what lies behind it, each once.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        source = cause.source();
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests;
