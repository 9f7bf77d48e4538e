//! The program's error: whose fault, what happened, what to do; and the exit code that follows.

use retmask_stages::contract::{Fault, StageError};

use crate::pipeline::Diagnostics;

/// The result of program work.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command failed.
#[derive(Debug)]
pub enum Error {
    /// One message without a place in a pipeline file.
    Message { fault: Fault, message: String, hint: Option<String> },
    /// Faults of a pipeline file, each with its place; always the input's fault.
    Pipeline(Diagnostics),
    /// The reader of standard output went away; nothing to say, nothing failed.
    OutputClosed,
}

impl Error {
    /// What the user gave is wrong.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Message { fault: Fault::Input, message: message.into(), hint: None }
    }

    /// The machine is in the way.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::Message { fault: Fault::Environment, message: message.into(), hint: None }
    }

    /// This program is wrong.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Message { fault: Fault::Internal, message: message.into(), hint: None }
    }

    /// The user asked to stop.
    pub fn interrupted() -> Self {
        Self::Message { fault: Fault::Interrupted, message: "interrupted".into(), hint: None }
    }

    /// Adds what the user can do about it.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Message { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Who has to act; `None` when nothing failed.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Message { fault, .. } => Some(*fault),
            Self::Pipeline(_) => Some(Fault::Input),
            Self::OutputClosed => None,
        }
    }

    /// The exit code: 2 input, 3 environment, 70 internal, 130 interrupted; 0 when only the reader left.
    pub fn exit_code(&self) -> u8 {
        match self.fault() {
            None => 0,
            Some(Fault::Input) => 2,
            Some(Fault::Environment) => 3,
            Some(Fault::Internal) => 70,
            Some(Fault::Interrupted) => 130,
        }
    }
}

impl From<StageError> for Error {
    fn from(error: StageError) -> Self {
        Self::Message { fault: error.fault, message: error.message, hint: error.hint }
    }
}

impl From<retmask_model::ModelError> for Error {
    fn from(error: retmask_model::ModelError) -> Self {
        let fault = match error.fault {
            retmask_model::Fault::Input => Fault::Input,
            retmask_model::Fault::Environment => Fault::Environment,
            retmask_model::Fault::Internal => Fault::Internal,
            retmask_model::Fault::Interrupted => Fault::Interrupted,
        };
        Self::Message { fault, message: error.message, hint: error.hint }
    }
}

impl From<Diagnostics> for Error {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Pipeline(diagnostics)
    }
}

impl From<retmask_cache::CacheError> for Error {
    fn from(error: retmask_cache::CacheError) -> Self {
        let fault = match error.fault {
            retmask_cache::Fault::Input => Fault::Input,
            retmask_cache::Fault::Environment => Fault::Environment,
            retmask_cache::Fault::Internal => Fault::Internal,
        };
        Self::Message { fault, message: error.message, hint: error.hint }
    }
}
