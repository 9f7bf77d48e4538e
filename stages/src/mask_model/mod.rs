//! `mask-model`: a model and a mask -> the model with those heads masked for good, for programs that know no masks.

use retmask_model::checkpoint::{Destination, SHARD_BYTES};
use retmask_model::{ModelError, Numerics};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Media, mask};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};
use crate::models;

/// Parameters of `mask-model`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {}

/// The stage kind.
pub struct MaskModel;

impl Kind for MaskModel {
    type Parameters = Parameters;

    const NAME: &'static str = "mask-model";
    const EPOCH: u32 = 1;
    const SUMMARY: &'static str =
        "Write a model with heads masked for good, for servers and trainers that know no masks";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The model" },
        InputPort { name: "mask", media: &[Media::Mask], arity: Arity::One, summary: "The heads to mask" },
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort {
        name: "model",
        media: Media::Model,
        summary: "A Hugging Face folder; the columns of o_proj that read a masked head are 0, all else is the model's",
    }];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        None
    }

    fn validate(_parameters: &Parameters) -> Result<(), ParameterError> {
        Ok(())
    }

    fn run(_parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let checkpoint = models::open(&inputs.one("model")?.path, None)?;
        let spec = checkpoint.spec();
        let input = inputs.one("mask")?;
        let mask = mask::read(&input.path)?;
        if mask.is_empty() {
            return Err(StageError::input(format!("{} masks no head", input.path.display())));
        }
        mask.check(spec.layers.len(), spec.query_heads)?;
        let folder = outputs.path("model");
        std::fs::create_dir(&folder).map_err(|error| StageError::io("create the folder", &folder, &error))?;
        let destination = Destination::Folder { path: &folder, shard_bytes: SHARD_BYTES };
        let tensors = spec.tensors().len() as u64;
        context.progress().phase("write the model", "tensors", tensors);
        let stored = checkpoint.lossless_type();
        let written = checkpoint.export(destination, stored, Some(&mask), &mut |_| {
            context.progress().advance(1);
            if context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
        })?;
        context.progress().log(&format!(
            "heads masked: {}; weights in {}: {} bytes, files: {}",
            mask.len(),
            stored.name(),
            written.bytes,
            written.files
        ));
        Ok(())
    }
}
