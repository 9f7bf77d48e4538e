//! What the environment says: the variables of the hub's own tools.

use std::path::PathBuf;

use ureq::tls::{PemItem, RootCerts, parse_pem};

use super::token::Token;
use super::url::Endpoint;
use crate::error::{Error, Result};

/// Settings of this process, from the variables the Python tools read.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) endpoint: Endpoint,
    pub(super) token: Option<Token>,
    /// The hub's cache: a folder per repository.
    pub(super) cache: PathBuf,
    /// Only what is cached may be used.
    pub offline: bool,
    pub(super) certificates: RootCerts,
}

impl Settings {
    /// Reads `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN` and `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// `Input` for a value that means nothing; `Environment` when the token or certificates cannot be read.
    pub fn from_environment() -> Result<Self> {
        let endpoint = variable("HF_ENDPOINT")?;
        let endpoint = Endpoint::parse(endpoint.as_deref().unwrap_or(Endpoint::DEFAULT))
            .map_err(|why| Error::input(format!("HF_ENDPOINT {why}")))?;
        let home = match path("HF_HOME") {
            Some(home) => home,
            None => user_cache()?.join("huggingface"),
        };
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub"));
        let token = if truth("HF_HUB_DISABLE_IMPLICIT_TOKEN")? {
            None
        } else {
            Token::find(&path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")))?
        };
        let offline = truth("HF_HUB_OFFLINE")? || truth("TRANSFORMERS_OFFLINE")?;
        Ok(Self { endpoint, token, cache, offline, certificates: certificates()? })
    }
}

/// A variable that is set and not empty.
pub(super) fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::input(format!("the value of {name} is not UTF-8"))),
    }
}

/// A folder or file; the hub's tools take `~/` for the home folder.
fn path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Some(PathBuf::from(home).join(rest)),
        _ => Some(path),
    }
}

/// The hub's tools take `1`, `on`, `yes` and `true`, in any case.
fn truth(name: &str) -> Result<bool> {
    Ok(variable(name)?
        .is_some_and(|value| ["1", "on", "yes", "true"].iter().any(|word| value.trim().eq_ignore_ascii_case(word))))
}

/// `XDG_CACHE_HOME`, else `~/.cache`.
fn user_cache() -> Result<PathBuf> {
    path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache"))).ok_or_else(|| {
        Error::environment("neither XDG_CACHE_HOME nor HOME names a folder for the Hugging Face cache")
            .with_hint("name one with HF_HOME")
    })
}

/// Mozilla's root certificates, or those of `SSL_CERT_FILE`: a mirror may have an authority of its own.
fn certificates() -> Result<RootCerts> {
    let Some(file) = path("SSL_CERT_FILE") else { return Ok(RootCerts::WebPki) };
    let failed = |why: &dyn std::fmt::Display| {
        Error::environment(format!("cannot read the certificates of SSL_CERT_FILE, {}: {why}", file.display()))
    };
    let bytes = std::fs::read(&file).map_err(|error| failed(&error))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| failed(&error))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(failed(&"it holds none"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
