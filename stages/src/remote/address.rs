//! Where a service is, and the token that opens it.

use std::time::Duration;

use ureq::http::Uri;

use crate::contract::{StageError, StageResult};

/// A token. It is sent to its service and written nowhere: it has no text form.
pub struct Secret(String);

impl Secret {
    /// The value of the authorization header.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

/// A service: its address without a slash at the end, its token, how long it may be silent.
pub struct Address {
    pub(super) base: String,
    pub(super) token: Option<Secret>,
    pub(super) silence: Duration,
}

/// How long a service may be silent, unless the environment says otherwise: a judge reasons at length.
const SILENCE: Duration = Duration::from_secs(300);

impl Address {
    /// The service that the environment names: `RETMASK_{name}_URL`, `RETMASK_{name}_TOKEN` and
    /// `RETMASK_{name}_TIMEOUT` in seconds.
    ///
    /// # Errors
    /// `Environment` when there is none, or a variable cannot be used; no message holds a value of the token.
    pub fn from_environment(name: &str) -> StageResult<Self> {
        Self::find(name, None)
    }

    /// The same; where the environment names none, the service at this address, which a pipeline may say. It gets no token.
    ///
    /// # Errors
    /// As [`Self::from_environment`]; when there is a token and the environment does not say for which address.
    pub fn find(name: &str, of_pipeline: Option<&str>) -> StageResult<Self> {
        let variable = |what: &str| format!("RETMASK_{name}_{what}");
        let read = |what: &str| std::env::var(variable(what)).ok().filter(|value| !value.is_empty());
        let refuse = |what: &str, why: &str| StageError::environment(format!("{} {why}", variable(what)));
        let (url, of_environment) = match (read("URL"), of_pipeline) {
            (Some(url), _) => (url, true),
            (None, Some(url)) => (url.to_owned(), false),
            (None, None) => {
                return Err(refuse("URL", "is not set; it names the service that this stage asks")
                    .with_hint(format!("{} holds the token, where one is needed", variable("TOKEN"))));
            }
        };
        let token = match read("TOKEN") {
            Some(_) if !of_environment => {
                let why = "is set, and the address stands in the pipeline: a token goes nowhere that a file says";
                return Err(refuse("TOKEN", why).with_hint(format!("say the address in {}", variable("URL"))));
            }
            Some(token) if token.bytes().all(|byte| byte.is_ascii_graphic()) => Some(Secret(token)),
            Some(_) => return Err(refuse("TOKEN", "is no token: it holds other than visible ASCII characters")),
            None => None,
        };
        let silence = match read("TIMEOUT") {
            Some(seconds) => {
                let seconds: u64 = seconds
                    .parse()
                    .ok()
                    .filter(|seconds| (1..=3600).contains(seconds))
                    .ok_or_else(|| refuse("TIMEOUT", "is no number of seconds from 1 to 3600"))?;
                Duration::from_secs(seconds)
            }
            None => SILENCE,
        };
        Self::new(&url, token, silence).map_err(|why| match of_environment {
            true => refuse("URL", why),
            false => StageError::input(format!("`base-url` {why}")),
        })
    }

    fn new(url: &str, token: Option<Secret>, silence: Duration) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "is no address; one begins with https:// or http://")?;
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().ok_or("is no address; one begins with https:// or http://")?;
        if !matches!(scheme, "http" | "https") {
            return Err("is no address; one begins with https:// or http://");
        }
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err("holds more than an address; a token belongs in the variable beside it");
        }
        let here = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
        if token.is_some() && scheme == "http" && !here {
            return Err("is not encrypted, and a token would be sent there; use https://");
        }
        Ok(Self { base: url.trim_end_matches('/').to_owned(), token, silence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, token: bool) -> Option<&'static str> {
        let token = token.then(|| Secret("t".into()));
        Address::new(url, token, SILENCE).err()
    }

    #[test]
    fn addresses_hold_no_secrets_and_tokens_go_encrypted() {
        assert_eq!(refused("https://judge.example/v1/", true), None);
        assert_eq!(refused("http://127.0.0.1:8000/v1", true), None);
        assert_eq!(refused("http://judge.example/v1", false), None);
        assert!(refused("http://judge.example/v1", true).unwrap().contains("not encrypted"));
        assert!(refused("https://user:word@judge.example/v1", false).unwrap().contains("more than an address"));
        assert!(refused("https://judge.example/v1?key=x", false).unwrap().contains("more than an address"));
        for url in ["judge", "ftp://judge.example", "file:///x", "https://", "a b"] {
            assert!(refused(url, false).is_some(), "{url}");
        }
    }
}
