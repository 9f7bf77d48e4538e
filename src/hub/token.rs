//! The user's access token. It goes into one request header and nowhere else.

use std::fmt;
use std::path::Path;

use super::settings::variable;
use crate::error::{Error, Result};

/// No token is as long.
const LONGEST: u64 = 4096;

/// An access token. Shown as what it is, never as its text.
#[derive(Clone)]
pub(super) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(hidden)")
    }
}

impl Token {
    /// The value of the header `Authorization`.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The token of `HF_TOKEN`, else of the file that `hf auth login` writes.
    ///
    /// # Errors
    /// `Input` when what is there cannot be a token; `Environment` when the file cannot be read.
    pub(super) fn find(file: &Path) -> Result<Option<Self>> {
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if let Some(text) = variable(name)? {
                return Self::read(&text, &format!("the value of {name}"));
            }
        }
        let shown = file.display();
        let failed = |error: &dyn fmt::Display| {
            Error::environment(format!("cannot read the access token in {shown}: {error}"))
                .with_hint("make the file readable, or set HF_TOKEN")
        };
        match std::fs::metadata(file) {
            Ok(facts) if facts.len() > LONGEST => Err(failed(&"it is too large for one")),
            Ok(_) => {
                let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
                Self::read(&text, &format!("the content of {shown}"))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// A header can hold visible ASCII; line breaks around it are an editor's.
    fn read(text: &str, origin: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::input(format!(
                "{origin} is no access token: it holds spaces or characters beyond ASCII"
            )));
        }
        Ok(Some(Self(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::read(" hf_secret\n", "it").unwrap().unwrap();
        assert_eq!(format!("{token:?} {:?}", Some(&token)), "Token(hidden) Some(Token(hidden))");
        assert_eq!(token.header(), "Bearer hf_secret");
        assert!(Token::read(" \n", "it").unwrap().is_none());
        let Err(Error::Message { message, .. }) = Token::read("hf_sec ret", "the value of HF_TOKEN") else { panic!() };
        assert!(!message.contains("sec"), "{message}");
    }
}
