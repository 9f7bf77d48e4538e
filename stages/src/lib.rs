//! The stage contract, the artifact types, and one module per stage kind.
//!
//! A stage is a pure function: (parameters, inputs, seed) -> outputs. It sees the paths it is handed
//! and nothing else: not the cache, not another stage, not the pipeline file.

pub mod artifact;
pub mod build_mask;
pub mod command;
pub mod contract;
pub mod dpo;
pub mod general_eval;
pub mod helmet;
pub mod helmet_citations;
pub mod helmet_judge;
pub mod helmet_score;
pub mod instructions;
pub mod mask_model;
pub mod metrics;
mod models;
pub mod preference;
pub mod pretrain;
pub mod records;
pub mod reference_logprobs;
pub mod registry;
pub mod remote;
pub mod report;
pub mod rows;
pub mod sample_pairs;
pub mod score_heads;
pub mod stop_texts;
pub mod synthetic;
mod training;
mod written;
