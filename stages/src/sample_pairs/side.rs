//! The two sides of a pair: who answers, and what a row of it is.

use retmask_model::checkpoint::Checkpoint;
use retmask_model::generate::StopReason;
use retmask_model::heads::HeadMask;
use retmask_model::random::Stream;
use retmask_model::spec::Yarn;
use retmask_model::text::TextCodec;

use super::parameters::{Parameters, Rejects};
use super::prompts::Prompt;
use crate::artifact::mask;
use crate::artifact::pairs::Response;
use crate::contract::{Input, Inputs, RowContent, RowKey, RowScope, StageError, StageResult};
use crate::models;
use crate::remote::Server;
use crate::rows::{Reader, RowResult, Writer};

/// Which side of a pair a response is on. The name of its random stream holds the side and not the mask, so that runs
/// with other masks have the same chosen side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Chosen,
    Rejected,
}

/// Both, in the order of their row maps.
pub const SIDES: [Side; 2] = [Side::Chosen, Side::Rejected];

/// Parameters that choose among prompts or pairs, are part of prompts, or say who answers, which the inputs or the
/// declaration of a server tell.
const OF_PROMPTS: [&str; 16] = [
    "engine",
    "server",
    "rejected-server",
    "judge",
    "drop-truncated",
    "drop-repeated",
    "samples",
    "limit",
    "subset",
    "system",
    "format",
    "language",
    "history",
    "min-characters",
    "max-characters",
    "max-bad-rows",
];

/// A model in this program that answers.
pub struct Answerer {
    pub checkpoint: Checkpoint,
    pub codec: TextCodec,
}

/// Who answers.
pub enum Who {
    Model(Box<Answerer>),
    Server(Server),
}

/// Who gives rejected answers.
pub enum Rejected {
    /// The model itself, with heads masked.
    Masked(HeadMask),
    Other(Who),
    /// Nobody: a judge takes the worst of several.
    Judged,
}

/// Who answers on the two sides.
pub struct Answerers {
    pub model: Who,
    pub rejected: Rejected,
}

impl Answerers {
    /// Reads models and mask.
    ///
    /// # Errors
    /// `Input`: a model is none or has no chat template or end token; a mask is empty or not of the model; there is no
    /// source of rejected answers, or several.
    pub fn read(parameters: &Parameters, inputs: &Inputs) -> StageResult<Self> {
        let rejects = parameters.rejects(|port| inputs.optional(port).is_some());
        let rejects = rejects.map_err(|error| StageError::input(error.message))?;
        let model = match &parameters.server {
            Some(server) => Who::Server(server.clone()),
            None => Who::Model(Answerer::read(parameters.yarn, inputs.one("model")?)?.into()),
        };
        let rejected = match (rejects, &parameters.rejected_server) {
            (Rejects::Mask, _) => Rejected::Masked(read_mask(inputs.one("mask")?, &model)?),
            // A window is stretched by what its model was trained with, which another model has of its own.
            (Rejects::Model, _) => {
                Rejected::Other(Who::Model(Answerer::read(None, inputs.one("rejected-model")?)?.into()))
            }
            (Rejects::Server, Some(server)) => Rejected::Other(Who::Server(server.clone())),
            (Rejects::Server, None) => return Err(StageError::internal("a server gives answers that is not there")),
            (Rejects::Judge, _) => Rejected::Judged,
        };
        Ok(Self { model, rejected })
    }

    /// The sides whose responses are sampled.
    pub fn sides(&self) -> &'static [Side] {
        if matches!(self.rejected, Rejected::Judged) { &SIDES[..1] } else { &SIDES }
    }

    /// The shortest window of the models in this program, in tokens.
    pub fn window(&self) -> Option<usize> {
        let windows = self.sides().iter().filter_map(|side| match self.of(*side) {
            Who::Model(answerer) => Some(answerer.checkpoint.spec().context_length),
            Who::Server(_) => None,
        });
        windows.min()
    }

    /// Who answers on this side.
    pub fn of(&self, side: Side) -> &Who {
        match (side, &self.rejected) {
            (Side::Rejected, Rejected::Other(other)) => other,
            _ => &self.model,
        }
    }

    /// Heads masked on the rejected side.
    pub fn mask(&self) -> Option<&HeadMask> {
        match &self.rejected {
            Rejected::Masked(mask) => Some(mask),
            Rejected::Other(_) | Rejected::Judged => None,
        }
    }
}

fn read_mask(input: &Input, model: &Who) -> StageResult<HeadMask> {
    let mask = mask::read(&input.path)?;
    if mask.is_empty() {
        let message = format!("{} masks no head: both answers would be alike", input.path.display());
        return Err(StageError::input(message));
    }
    if let Who::Model(answerer) = model {
        let spec = answerer.checkpoint.spec();
        mask.check(spec.layers.len(), spec.query_heads)?;
    }
    Ok(mask)
}

impl Answerer {
    fn read(yarn: Option<Yarn>, input: &Input) -> StageResult<Self> {
        let checkpoint = models::open(&input.path, yarn)?;
        let codec = checkpoint.text_codec()?;
        if !codec.has_chat_template() {
            return Err(StageError::input("the model has no chat template to put the instructions in")
                .with_hint("take an instruct model"));
        }
        if codec.end_tokens().is_empty() {
            return Err(StageError::input("the model names no end token, so no response would ever end")
                .with_hint("give the model an `eos_token_id`"));
        }
        Ok(Self { checkpoint, codec })
    }

    /// Whether a prompt of so many tokens leaves room for a response.
    pub fn has_room(&self, parameters: &Parameters, tokens: usize) -> bool {
        tokens + parameters.max_new_tokens as usize <= self.checkpoint.spec().context_length
    }
}

impl Side {
    /// The word used in tables and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
        }
    }

    /// The server of this side, in the names of its variables.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Chosen => "SERVER",
            Self::Rejected => "REJECTED_SERVER",
        }
    }

    /// What responses of this side depend on besides prompt and sample: no mask and nothing else of the rejected side
    /// is in the scope of the chosen one.
    ///
    /// # Errors
    /// `Internal`: the parameters are no struct.
    pub fn scope(self, parameters: &Parameters, answerers: &Answerers) -> StageResult<RowScope> {
        self.scope_of(parameters, answerers.of(self), answerers.mask().is_some())
    }

    fn scope_of(self, parameters: &Parameters, who: &Who, masked: bool) -> StageResult<RowScope> {
        let mut without = OF_PROMPTS.to_vec();
        if self == Self::Chosen {
            without.push("coupled");
        }
        let scope = match (who, self) {
            (Who::Server(server), _) => {
                without.extend(["yarn", "numerics"]);
                RowScope::new("responses", &[], parameters, &without)?.with("server", server.declared())
            }
            (Who::Model(_), Self::Chosen) => RowScope::new("responses", &["model"], parameters, &without)?,
            (Who::Model(_), Self::Rejected) if masked => {
                RowScope::new("responses", &["model", "mask"], parameters, &without)?
            }
            (Who::Model(_), Self::Rejected) => {
                without.push("yarn");
                RowScope::new("responses", &["rejected-model"], parameters, &without)?
            }
        };
        Ok(scope.with("side", self.name()))
    }

    /// The random numbers of one response: named by what it is, never by its place. Both sides draw independently
    /// unless they are coupled.
    pub fn stream(self, parameters: &Parameters, prompt: &Prompt, sample: u32) -> Stream {
        let role = if parameters.coupled { Self::Chosen } else { self };
        Stream::derive(parameters.seed, &[&prompt.digest, role.name().as_bytes(), &sample.to_le_bytes()])
    }
}

/// A row is a prompt and a sample's number.
pub fn row_key(prompt: &Prompt, sample: u32) -> RowKey {
    RowContent::default().bytes("prompt", &prompt.digest).number("sample", sample.into()).key()
}

/// What a model made of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The prompt, of so many tokens, leaves no room for a response.
    TooLong { prompt_tokens: u32 },
    Given {
        prompt_tokens: u32,
        response: Response,
        /// What the model thought before it answered.
        reasoning: Option<String>,
    },
    /// A server refused the request, or replied with what is no response.
    Failed { why: String },
}

impl RowResult for Answer {
    fn write(&self, bytes: &mut Writer) {
        match self {
            Self::TooLong { prompt_tokens } => {
                bytes.byte(0);
                bytes.number(*prompt_tokens);
            }
            Self::Given { prompt_tokens, response, reasoning } => {
                bytes.byte(if reasoning.is_some() { 2 } else { 1 });
                bytes.number(*prompt_tokens);
                bytes.text(&response.text);
                bytes.number(response.tokens);
                bytes.text(response.stop);
                if let Some(reasoning) = reasoning {
                    bytes.text(reasoning);
                }
            }
            Self::Failed { why } => {
                bytes.byte(3);
                bytes.text(why);
            }
        }
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        match bytes.byte()? {
            0 => Some(Self::TooLong { prompt_tokens: bytes.number()? }),
            form @ (1 | 2) => {
                let (prompt_tokens, text, tokens) = (bytes.number()?, bytes.text()?, bytes.number()?);
                let response = Response { text, tokens, stop: StopReason::from_name(&bytes.text()?)?.name() };
                let reasoning = if form == 2 { Some(bytes.text()?) } else { None };
                Some(Self::Given { prompt_tokens, response, reasoning })
            }
            3 => Some(Self::Failed { why: bytes.text()? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instructions::History;

    #[test]
    fn sides_draw_independently_unless_coupled_and_share_the_chosen_side() {
        let prompt = Prompt { messages: vec![], digest: [7; 32] };
        let draw = |coupled, sample, side: Side| {
            side.stream(&Parameters { coupled, ..Parameters::default() }, &prompt, sample).next_u64()
        };
        assert_ne!(draw(false, 0, Side::Chosen), draw(false, 0, Side::Rejected));
        assert_eq!(draw(true, 0, Side::Chosen), draw(true, 0, Side::Rejected));
        assert_eq!(draw(true, 0, Side::Chosen), draw(false, 0, Side::Chosen));
        assert_ne!(draw(false, 0, Side::Chosen), draw(false, 1, Side::Chosen));
    }

    #[test]
    fn the_scope_of_a_side_holds_what_matters_to_it() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in retmask_model::embedded::find("tiny").unwrap() {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let input = Input { media: crate::artifact::Media::Model, path: folder.path().into() };
        let model = Who::Model(Answerer::read(None, &input).unwrap().into());
        let scope = |side: Side, parameters: &Parameters| side.scope_of(parameters, &model, true).unwrap();
        let plain = Parameters::default();
        let [chosen, rejected] = SIDES.map(|side| scope(side, &plain));
        assert_eq!(chosen.inputs, ["model"]);
        assert_eq!(rejected.inputs, ["model", "mask"]);
        let other = |parameters: &Parameters| Side::Rejected.scope_of(parameters, &model, false).unwrap();
        assert_eq!(other(&plain).inputs, ["rejected-model"]);
        // The window of another model is not stretched; the model's own is.
        let stretched = Parameters { yarn: Some(Yarn { factor: 4.0, original_context: 512 }), ..plain.clone() };
        assert_eq!(other(&stretched), other(&plain));
        assert_ne!(scope(Side::Chosen, &stretched), chosen);
        // Judged candidates are the very responses that other ablations choose.
        let judged = Parameters { judge: Some(super::super::Judge::default()), ..plain.clone() };
        assert_eq!(scope(Side::Chosen, &judged), chosen);
        // Of a server counts what is declared, and neither where it is nor the class of arithmetic here.
        let server = |server: Server| Side::Chosen.scope_of(&plain, &Who::Server(server), false).unwrap();
        let named = Server { model: "m".into(), ..Server::default() };
        assert!(server(named.clone()).inputs.is_empty());
        let elsewhere = Server { base_url: Some("http://h/v1".into()), concurrency: 1, ..named.clone() };
        assert_eq!(server(elsewhere), server(named.clone()));
        for other in [
            Server { model: "n".into(), ..named.clone() },
            Server { revision: Some("1".into()), ..named.clone() },
            Server { template: Some("t".into()), ..named.clone() },
        ] {
            assert_ne!(server(other), server(named.clone()));
        }
        let coupled = Parameters { coupled: true, ..Parameters::default() };
        assert_eq!(scope(Side::Chosen, &coupled), chosen);
        assert_ne!(scope(Side::Rejected, &coupled), rejected);
        let another = Parameters {
            limit: Some(5),
            samples: 2,
            system: Some("s".into()),
            history: History::Full,
            ..Parameters::default()
        };
        assert_eq!(scope(Side::Chosen, &another), chosen);
        for matters in [
            Parameters { seed: 1, ..Parameters::default() },
            Parameters { max_new_tokens: 1, ..Parameters::default() },
            Parameters { thinking: Some(true), ..Parameters::default() },
        ] {
            assert_ne!(scope(Side::Chosen, &matters), chosen);
        }
    }

    #[test]
    fn answers_come_back_as_they_were_written() {
        let given = |stop| Response { text: "ä\n".into(), tokens: 3, stop };
        for answer in [
            Answer::TooLong { prompt_tokens: 9 },
            Answer::Given { prompt_tokens: 9, response: given("stop"), reasoning: None },
            Answer::Given { prompt_tokens: 0, response: given("length"), reasoning: Some("Well".into()) },
            Answer::Failed { why: "status 400".into() },
        ] {
            let mut writer = Writer::default();
            answer.write(&mut writer);
            let bytes = writer.finish();
            assert_eq!(Answer::read(&mut Reader::new(&bytes)), Some(answer));
            assert_eq!(Answer::read(&mut Reader::new(&bytes[..bytes.len() - 1])), None);
        }
    }
}
