//! The stage: all prompts first, then one pass of generation over those without a kept answer.

use retmask_model::decoder::Decoder;
use retmask_model::generate::{self, Completion, Limits, Sampling, Sink, generate};
use retmask_model::text::TextCodec;
use retmask_model::{ModelError, ModelResult, Numerics};

use super::dataset::Dataset;
use super::parameters::Parameters;
use super::questions::Material;
use super::server;
use crate::artifact::predictions::{self, Prediction};
use crate::artifact::{Media, mask};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, RowScope, StageError, StageResult,
};
use crate::rows::{Made, Row, work_through};
use crate::written::Written;

/// The stage kind.
pub struct Helmet;

impl Kind for Helmet {
    type Parameters = Parameters;

    const NAME: &'static str = "helmet";
    const EPOCH: u32 = 2;
    const SUMMARY: &'static str = "Let a model answer the examples of the HELMET benchmark";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The model to evaluate" },
        InputPort {
            name: "data",
            media: &[Media::HelmetData],
            arity: Arity::Optional,
            summary: "HELMET's data files; needed by the datasets that are not generated",
        },
        InputPort {
            name: "sets",
            media: &[Media::HelmetData],
            arity: Arity::Labelled,
            summary: "Data sets as the hub has them, in place of folders in `data`: narrativeqa, infinitebench, multi_lexsum, by these names",
        },
        InputPort {
            name: "mask",
            media: &[Media::Mask],
            arity: Arity::Optional,
            summary: "Heads to mask while answering",
        },
        InputPort {
            name: "templates",
            media: &[Media::PromptTemplates],
            arity: Arity::Optional,
            summary: "The wording of the prompts, instead of the project's own",
        },
        InputPort {
            name: "length-tokenizer",
            media: &[Media::Tokenizer],
            arity: Arity::Optional,
            summary: "The tokenizer that decides the first cut of long documents (HELMET: Llama-2's), instead of the model's",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort {
        name: "predictions",
        media: Media::Predictions,
        summary: "A row per example: the answer as generated, before any post-processing",
    }];

    fn numerics(parameters: &Self::Parameters) -> Option<Numerics> {
        Some(parameters.numerics)
    }

    fn is_private(parameters: &Parameters) -> bool {
        parameters.is_undeclared()
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    fn validate_inputs(parameters: &Parameters, roles: &[String]) -> Result<(), ParameterError> {
        parameters.check_inputs(roles)
    }

    const TELLS_ORIGINS: bool = true;

    /// The prompts of examples, which are named `DATASET/LENGTH/EXAMPLE`, as their tokens read.
    fn origins(
        parameters: &Parameters,
        inputs: &Inputs,
        context: &Context,
        rows: &[&str],
    ) -> StageResult<Vec<(String, String)>> {
        let material = Material::open(parameters, inputs)?;
        let name = |dataset: &str, number: usize| format!("{dataset}/{}/{number}", parameters.length);
        let named =
            |dataset: &&&'static dyn Dataset| rows.iter().any(|row| row.split('/').next() == Some(dataset.name()));
        let datasets: Vec<&'static dyn Dataset> = material.datasets.iter().filter(named).copied().collect();
        let wanted = |dataset: &str, number: usize| rows.contains(&name(dataset, number).as_str());
        let questions = material.questions(parameters, context, &datasets, &wanted)?.into_iter();
        let told = questions.map(|question| {
            let row = &question.row;
            Ok((name(&row.dataset, row.example as usize), material.codec.decode(&question.prompt, false)?))
        });
        told.collect()
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let material = Material::open(parameters, inputs)?;
        let spec = material.checkpoint.spec();
        let mask = inputs.optional("mask").map(|input| mask::read(&input.path)).transpose()?;
        if let Some(mask) = &mask {
            mask.check(spec.layers.len(), spec.query_heads)?;
        }
        let stop_tokens = stop_tokens(&material.codec, parameters.stop_at_newline)?;
        let questions = material.questions(parameters, context, &material.datasets, &|_, _| true)?;

        let rows: Vec<Row> = questions.iter().map(|question| Row { map: 0, key: question.key() }).collect();
        let scope = RowScope::new("examples", &["model", "mask"], parameters, &OF_PROMPTS)?;
        let answers = work_through(context, vec![context.rows(&scope)?], &rows, &mut |missing, made| {
            if let Some(server) = &parameters.server {
                return server::ask(server, &stop_tokens, &questions, missing, made, context);
            }
            context.progress().phase("load the model", "models", 1);
            let decoder = Decoder::load(&material.checkpoint, parameters.numerics)?;
            context.progress().advance(1);
            let request = |question: &usize| generate::Request {
                prompt: questions[*question].prompt.clone(),
                mask: mask.as_ref().map(|_| 0),
                max_new_tokens: questions[*question].max_new_tokens,
                stop_tokens: stop_tokens.clone(),
                sampling: Sampling::Greedy,
                probe: false,
                logit_gaps: false,
            };
            let requests: Vec<generate::Request> = missing.iter().map(request).collect();
            context.progress().phase("answer", "examples", requests.len() as u64);
            let mut answers = Answers { codec: &material.codec, context, missing, made };
            Ok(generate(&decoder, mask.as_slice(), &requests, &Limits::default(), &mut answers)?)
        })?;
        let rows: Vec<Prediction> =
            questions.into_iter().zip(answers).map(|(question, answer)| question.answered(answer)).collect();
        predictions::write(&outputs.path("predictions"), &rows)
    }
}

/// Ids that end an answer: the model's end tokens and, where asked for, the tokens that are newlines.
fn stop_tokens(codec: &TextCodec, at_newline: bool) -> StageResult<Vec<u32>> {
    let mut stop_tokens = codec.end_tokens().to_vec();
    if at_newline {
        // One or two newlines: plain, as byte-level BPE spells them, and as a byte-fallback token.
        let spellings = ["\n", "\n\n", "Ċ", "ĊĊ", "<0x0A>"];
        let newlines: Vec<u32> = spellings.iter().filter_map(|spelling| codec.token_id(spelling)).collect();
        if newlines.is_empty() {
            return Err(StageError::input("`stop-at-newline: true`, but the model's vocabulary has no newline token")
                .with_hint("leave `stop-at-newline` out"));
        }
        stop_tokens.extend(newlines);
    }
    Ok(stop_tokens)
}

/// What only shapes the prompts.
const OF_PROMPTS: [&str; 7] = ["datasets", "length", "samples", "seed", "shots", "records", "chat-template"];

/// Keeps each answer when it arrives.
struct Answers<'a, 'm> {
    codec: &'a TextCodec,
    context: &'a Context,
    /// The questions that are asked.
    missing: &'a [usize],
    made: &'a mut Made<'m, Written>,
}

impl Sink for Answers<'_, '_> {
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        let answer = Written {
            text: self.codec.decode(&completion.tokens, true)?,
            tokens: completion.tokens.len() as u32,
            stop: completion.stop.name(),
        };
        self.made.done(self.missing[request], answer)?;
        self.context.progress().advance(1);
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.context.progress().tokens(count as u64);
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }
}
