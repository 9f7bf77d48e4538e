//! Addresses: the hub's endpoint, what is escaped in a path, where a redirect leads, and who may see the token.

use std::fmt;

use ureq::http::Uri;

/// Scheme, host and port: the token is for one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an absolute http address.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let standard = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        Some(Self { scheme, host, port: uri.port_u16().unwrap_or(standard) })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }
}

/// Host and port, for messages: the rest of an address may hold a signature.
impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standard = if self.is_encrypted() { 443 } else { 80 };
        formatter.write_str(&self.host)?;
        if self.port == standard { Ok(()) } else { write!(formatter, ":{}", self.port) }
    }
}

/// Where the hub is.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    base: String,
    pub(super) origin: Origin,
}

impl Endpoint {
    pub(super) const DEFAULT: &str = "https://huggingface.co";

    /// Reads `HF_ENDPOINT`.
    ///
    /// # Errors
    /// What is wrong, after "HF_ENDPOINT". The value is not repeated: it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let base = text.trim().trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| "is no address, https://HOST is expected")?;
        let origin = Origin::of(&uri).ok_or("is no address, https://HOST is expected")?;
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err("holds a user name or password: set HF_TOKEN instead");
        }
        if uri.query().is_some() {
            return Err("has a `?`, https://HOST is expected");
        }
        Ok(Self { base: base.to_owned(), origin })
    }

    /// The address of a path, which begins with `/` and is escaped.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.base)
    }
}

/// Escapes a text for a path; `/` stays where `slash` says so.
pub(super) fn escape(text: &str, slash: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || (slash && byte == b'/') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Where a `Location` leads from `base`; `None` when it is no http address.
pub(super) fn follow(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let has_scheme = location
        .split_once("://")
        .is_some_and(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let absolute = if has_scheme {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let (folder, _) = base.path().rsplit_once('/').unwrap_or_default();
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let uri: Uri = absolute.parse().ok()?;
    Origin::of(&uri).map(|_| uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let endpoint = Endpoint::parse("https://huggingface.co/").unwrap();
        assert_eq!(endpoint.address("/api/models"), "https://huggingface.co/api/models");
        assert_eq!(Endpoint::parse("http://127.0.0.1:8080").unwrap().origin.to_string(), "127.0.0.1:8080");
        for wrong in ["", "huggingface.co", "ftp://x", "https://", "https://u:secret@x", "https://x/?a=1"] {
            assert!(Endpoint::parse(wrong).is_err_and(|why| !why.contains("secret")), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |text: &str| Origin::of(&text.parse().unwrap());
        assert_eq!(origin("https://Hub.example/x"), origin("https://hub.example:443/y"));
        for other in ["http://hub.example", "https://hub.example:444", "https://hub.example.evil", "https://evil"] {
            assert_ne!(origin("https://hub.example"), origin(other), "{other}");
        }
    }

    #[test]
    fn redirects_are_relative_or_absolute() {
        let base: Uri = "https://hub.example:8443/a/b/c?x=1".parse().unwrap();
        for (location, expected) in [
            ("https://cdn.example/y?sig=1", "https://cdn.example/y?sig=1"),
            ("//cdn.example/y", "https://cdn.example/y"),
            ("/y/z", "https://hub.example:8443/y/z"),
            ("y", "https://hub.example:8443/a/b/y"),
            ("/y#part", "https://hub.example:8443/y"),
        ] {
            assert_eq!(follow(&base, location).unwrap().to_string(), expected, "{location}");
        }
        for wrong in ["file:///etc/passwd", "ftp://x/y", "https://", "/a b"] {
            assert!(follow(&base, wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escape("data/a b?#%é.json", true), "data/a%20b%3F%23%25%C3%A9.json");
    }
}
