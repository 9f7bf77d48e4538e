//! Errors by fault: who has to act.

use std::fmt;
use std::path::Path;

use retmask_model::ModelError;

/// Who is at fault, and so which exit code the program ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What the user gave is wrong (exit 2).
    Input,
    /// The machine is: disk full, no permission, out of memory (exit 3).
    Environment,
    /// We are: "this is a bug" (exit 70).
    Internal,
    /// The user asked to stop (exit 130).
    Interrupted,
}

/// Why a stage could not finish: one clear message, and a hint where there is one.
#[derive(Debug, Clone)]
pub struct StageError {
    pub fault: Fault,
    pub message: String,
    pub hint: Option<String>,
}

/// The result of stage work.
pub type StageResult<T> = Result<T, StageError>;

impl StageError {
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

    /// An I/O failure while doing `what` at `path`: a missing file is the input's fault, all else the machine's.
    pub fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        let message = format!("cannot {what} {}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData => Self::input(message),
            _ => Self::environment(message),
        }
    }
}

impl From<ModelError> for StageError {
    /// The model's errors are classed by the same faults.
    fn from(error: ModelError) -> Self {
        let fault = match error.fault {
            retmask_model::Fault::Input => Fault::Input,
            retmask_model::Fault::Environment => Fault::Environment,
            retmask_model::Fault::Internal => Fault::Internal,
            retmask_model::Fault::Interrupted => Fault::Interrupted,
        };
        Self { fault, message: error.message, hint: error.hint }
    }
}

impl From<StageError> for ModelError {
    /// For what a stage does while the model calls back.
    fn from(error: StageError) -> Self {
        let fault = match error.fault {
            Fault::Input => retmask_model::Fault::Input,
            Fault::Environment => retmask_model::Fault::Environment,
            Fault::Internal => retmask_model::Fault::Internal,
            Fault::Interrupted => retmask_model::Fault::Interrupted,
        };
        Self { fault, message: error.message, hint: error.hint }
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for StageError {}
