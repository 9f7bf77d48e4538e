//! All stage kinds by name. Adding a kind is one line here and one module beside it.

use crate::contract::Kind;

/// Something done with a kind known by its type: decode parameters, run, list.
pub trait Visitor {
    type Output;
    fn visit<K: Kind>(&mut self) -> Self::Output;
}

/// Declares the kinds once: the names, and the dispatch from a name to its type.
macro_rules! kinds {
    ($($kind:ty),* $(,)?) => {
        /// The names of all kinds, in the order of the method.
        pub const NAMES: &[&str] = &[$(<$kind as Kind>::NAME),*];

        /// Calls the visitor with the kind of this name; `None` when there is no such kind.
        pub fn visit<V: Visitor>(name: &str, visitor: &mut V) -> Option<V::Output> {
            $(if name == <$kind as Kind>::NAME { return Some(visitor.visit::<$kind>()); })*
            let _ = (name, visitor);
            None
        }
    };
}

kinds! {
    crate::pretrain::Pretrain,
    crate::synthetic::Synthetic,
    crate::score_heads::ScoreHeads,
    crate::build_mask::BuildMask,
    crate::mask_model::MaskModel,
    crate::sample_pairs::SamplePairs,
    crate::reference_logprobs::ReferenceLogprobs,
    crate::dpo::Dpo,
    crate::helmet::Helmet,
    crate::helmet_judge::HelmetJudge,
    crate::helmet_citations::HelmetCitations,
    crate::helmet_score::HelmetScore,
    crate::general_eval::GeneralEval,
    crate::report::Report,
    crate::command::Command,
}
