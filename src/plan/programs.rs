//! The programs that stages run: their content stands in the keys.

use std::collections::HashMap;

use retmask_cache::{Digest, Store};
use retmask_stages::artifact::Form;
use retmask_stages::command::find_program;

use super::source_digest;
use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, Stage};

/// The content of the programs that stages run; each is looked for once.
pub(super) fn programs(store: &Store, pipeline: &Pipeline) -> Result<Vec<Option<Digest>>> {
    let mut known: HashMap<&str, Option<Digest>> = HashMap::new();
    let stages = pipeline.stages().iter();
    let digests = stages.map(|stage| {
        let Some(name) = stage.work.program() else { return Ok(None) };
        if let Some(digest) = known.get(name) {
            return Ok(*digest);
        }
        let digest = program(store, stage)?;
        known.insert(name, digest);
        Ok(digest)
    });
    digests.collect()
}

/// The content of the program that a stage runs.
pub(super) fn program(store: &Store, stage: &Stage) -> Result<Option<Digest>> {
    let Some(program) = stage.work.program() else { return Ok(None) };
    let path = find_program(program).map_err(|error| {
        let error = Error::from(error);
        match error {
            Error::Message { fault, message, hint } => {
                Error::Message { fault, message: format!("stage `{}`: {message}", stage.name), hint }
            }
            other => other,
        }
    })?;
    source_digest(store, &path, Form::File).map(Some)
}
