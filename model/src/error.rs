//! Errors of this crate, by fault.

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The model, its files or the request are wrong.
    Input,
    /// The machine is: memory, disk, permissions.
    Environment,
    /// This program is.
    Internal,
    /// The caller asked to stop.
    Interrupted,
}

/// One clear message, whose fault it is, and what would be right where that is known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    pub fault: Fault,
    pub message: String,
    pub hint: Option<String>,
}

/// The result of model work.
pub type ModelResult<T> = Result<T, ModelError>;

impl ModelError {
    pub fn input(message: impl Into<String>) -> Self {
        Self { fault: Fault::Input, message: message.into(), hint: None }
    }

    pub fn environment(message: impl Into<String>) -> Self {
        Self { fault: Fault::Environment, message: message.into(), hint: None }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self { fault: Fault::Internal, message: message.into(), hint: None }
    }

    pub fn interrupted() -> Self {
        Self { fault: Fault::Interrupted, message: "interrupted".into(), hint: None }
    }

    /// Adds what the user can do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<candle_core::Error> for ModelError {
    /// Tensor operations fail only on shapes and layouts this crate chose itself.
    fn from(error: candle_core::Error) -> Self {
        Self::internal(format!("tensor operation failed: {error}"))
    }
}
