//! The datasets, one small module each, and what those of one family share.

mod icl_banking77;
mod icl_clinic150;
mod icl_trec;
mod identifiers;
mod in_context;
mod json_kv;
mod ruler_niah;
mod words;

pub use icl_banking77::ICL_BANKING77;
pub use icl_clinic150::ICL_CLINIC150;
pub use icl_trec::{ICL_TREC_COARSE, ICL_TREC_FINE};
pub use in_context::{InContext, shots};
pub use json_kv::JsonKv;
pub use ruler_niah::{RULER_NIAH_MK_2, RULER_NIAH_MK_3, RULER_NIAH_MV, RulerNiah};

use rayon::prelude::*;

use super::dataset::{Example, Request};
use crate::contract::StageResult;

/// The examples 0, 1, … of a generated dataset, each from its own stream.
fn generate(
    request: &Request<'_>,
    example: impl Fn(usize) -> StageResult<Example> + Sync + Send,
) -> StageResult<Vec<Example>> {
    let one = |index| {
        (request.check)()?;
        example(index)
    };
    (0..request.samples).into_par_iter().map(one).collect()
}
