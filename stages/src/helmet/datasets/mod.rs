//! The datasets, one small module each, and what those of one family share.

mod alce;
mod icl_banking77;
mod icl_clinic150;
mod icl_nlu;
mod icl_trec;
mod identifiers;
mod in_context;
mod infbench;
mod json_kv;
mod kilt;
mod long_documents;
mod msmarco;
mod multi_lexsum;
mod narrativeqa;
mod passages;
mod ruler_niah;
mod words;

pub use alce::{ALCE_ASQA, ALCE_QAMPARI, Alce};
pub use icl_banking77::ICL_BANKING77;
pub use icl_clinic150::ICL_CLINIC150;
pub use icl_nlu::ICL_NLU;
pub use icl_trec::{ICL_TREC_COARSE, ICL_TREC_FINE};
pub use in_context::{InContext, shots};
pub use infbench::{INFBENCH_CHOICE, INFBENCH_QA, INFBENCH_SUM, InfBench};
pub use json_kv::JsonKv;
pub use kilt::{KILT_HOTPOTQA, KILT_NQ, KILT_POPQA, KILT_TRIVIAQA, Kilt};
pub use msmarco::MsMarcoRerank;
pub use multi_lexsum::MultiLexSum;
pub use narrativeqa::NarrativeQa;
pub use ruler_niah::{RULER_NIAH_MK_2, RULER_NIAH_MK_3, RULER_NIAH_MV, RulerNiah};

use rayon::prelude::*;

use super::dataset::{Example, Request};
use super::random::permutation;
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

/// The rows that are asked of a file of `count` rows: all of them shuffled, the first so many.
fn shuffled(request: &Request<'_>, count: usize) -> Vec<usize> {
    let mut order = permutation(request.seed, count);
    order.truncate(request.samples);
    order
}
