//! The two sides of a pair: who answers, and what a row of it is.

use retmask_model::checkpoint::Checkpoint;
use retmask_model::generate::StopReason;
use retmask_model::heads::HeadMask;
use retmask_model::random::Stream;
use retmask_model::text::TextCodec;

use super::Parameters;
use super::prompts::Prompt;
use crate::artifact::mask;
use crate::artifact::pairs::Response;
use crate::contract::{Input, Inputs, RowContent, RowKey, RowScope, StageError, StageResult};
use crate::models;
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

/// Parameters that choose among prompts or pairs, or are part of prompts.
const OF_PROMPTS: [&str; 12] = [
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

/// A model that answers.
pub struct Answerer {
    pub checkpoint: Checkpoint,
    pub codec: TextCodec,
}

/// Who answers on the two sides.
pub struct Answerers {
    /// The model; also of the rejected side, unless there is another.
    pub model: Answerer,
    /// Of the rejected side.
    pub other: Option<Answerer>,
    /// Heads masked on the rejected side.
    pub mask: Option<HeadMask>,
}

impl Answerers {
    /// Reads models and mask.
    ///
    /// # Errors
    /// `Input`: a model is none or has no chat template or end token; a mask is empty or not of the model; there is
    /// neither a mask nor another model, or both.
    pub fn read(parameters: &Parameters, inputs: &Inputs) -> StageResult<Self> {
        let read = |input| Answerer::read(parameters, input);
        let model = read(inputs.one("model")?)?;
        let other = inputs.optional("rejected-model").map(read).transpose()?;
        let mask = match (inputs.optional("mask"), &other) {
            (Some(input), None) => {
                let mask = mask::read(&input.path)?;
                if mask.is_empty() {
                    let message = format!("{} masks no head: both answers would be alike", input.path.display());
                    return Err(StageError::input(message));
                }
                let spec = model.checkpoint.spec();
                mask.check(spec.layers.len(), spec.query_heads)?;
                Some(mask)
            }
            (None, Some(_)) => None,
            (None, None) => {
                return Err(StageError::input("nothing tells the rejected answers from the chosen ones")
                    .with_hint("connect `mask`, or another model at `rejected-model`"));
            }
            (Some(_), Some(_)) => {
                return Err(StageError::input("both `mask` and `rejected-model` are connected")
                    .with_hint("rejected answers come from the model with heads masked, or from another model"));
            }
        };
        Ok(Self { model, other, mask })
    }

    /// The shortest window of the models, in tokens.
    pub fn window(&self) -> usize {
        SIDES.map(|side| self.of(side).checkpoint.spec().context_length).into_iter().min().unwrap_or(0)
    }

    /// Who answers on this side.
    pub fn of(&self, side: Side) -> &Answerer {
        match (side, &self.other) {
            (Side::Rejected, Some(other)) => other,
            _ => &self.model,
        }
    }
}

impl Answerer {
    fn read(parameters: &Parameters, input: &Input) -> StageResult<Self> {
        let checkpoint = models::open(&input.path, parameters.yarn)?;
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
    const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
        }
    }

    /// What responses of this side depend on besides prompt and sample: no mask and nothing else of the rejected side
    /// is in the scope of the chosen one. `other` says that another model gives the rejected answers.
    ///
    /// # Errors
    /// `Internal`: the parameters are no struct.
    pub fn scope(self, parameters: &Parameters, other: bool) -> StageResult<RowScope> {
        let scope = match self {
            Self::Chosen => {
                let without: Vec<&str> = OF_PROMPTS.into_iter().chain(["coupled"]).collect();
                RowScope::new("responses", &["model"], parameters, &without)
            }
            Self::Rejected if other => RowScope::new("responses", &["rejected-model"], parameters, &OF_PROMPTS),
            Self::Rejected => RowScope::new("responses", &["model", "mask"], parameters, &OF_PROMPTS),
        };
        Ok(scope?.with("side", self.name()))
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
    TooLong {
        prompt_tokens: u32,
    },
    Given {
        prompt_tokens: u32,
        response: Response,
    },
}

impl RowResult for Answer {
    fn write(&self, bytes: &mut Writer) {
        match self {
            Self::TooLong { prompt_tokens } => {
                bytes.byte(0);
                bytes.number(*prompt_tokens);
            }
            Self::Given { prompt_tokens, response } => {
                bytes.byte(1);
                bytes.number(*prompt_tokens);
                bytes.text(&response.text);
                bytes.number(response.tokens);
                bytes.text(response.stop);
            }
        }
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        let (form, prompt_tokens) = (bytes.byte()?, bytes.number()?);
        match form {
            0 => Some(Self::TooLong { prompt_tokens }),
            1 => {
                let (text, tokens, stop) = (bytes.text()?, bytes.number()?, bytes.text()?);
                let response = Response { text, tokens, stop: StopReason::from_name(&stop)?.name() };
                Some(Self::Given { prompt_tokens, response })
            }
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
        let scope = |side: Side, parameters: &Parameters| side.scope(parameters, false).unwrap();
        let plain = Parameters::default();
        let [chosen, rejected] = SIDES.map(|side| scope(side, &plain));
        assert_eq!(chosen.inputs, ["model"]);
        assert_ne!(chosen, rejected);
        assert_eq!(Side::Chosen.scope(&plain, true).unwrap(), chosen);
        assert_eq!(Side::Rejected.scope(&plain, true).unwrap().inputs, ["rejected-model"]);
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
            Answer::Given { prompt_tokens: 9, response: given("stop") },
            Answer::Given { prompt_tokens: 0, response: given("length") },
        ] {
            let mut writer = Writer::default();
            answer.write(&mut writer);
            let bytes = writer.finish();
            assert_eq!(Answer::read(&mut Reader::new(&bytes)), Some(answer));
            assert_eq!(Answer::read(&mut Reader::new(&bytes[..bytes.len() - 1])), None);
        }
    }
}
