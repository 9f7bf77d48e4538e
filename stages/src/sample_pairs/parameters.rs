//! Parameters of `sample-pairs`.

use retmask_model::Numerics;
use retmask_model::generate::SamplingRules;
use retmask_model::spec::Yarn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::judge::Judge;
use crate::contract::ParameterError;
use crate::instructions::{Format, History, Selection};
use crate::remote::{Engine, Server};

/// Which instructions are taken when there are more than `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Subset {
    /// The first ones in the file.
    #[default]
    First,
    /// A seeded draw, kept in file order.
    Random,
}

/// Where rejected answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejects {
    /// The model itself with heads masked.
    Mask,
    /// The model at `rejected-model`.
    Model,
    /// The model on `rejected-server`.
    Server,
    /// The model itself, of whose answers a judge takes the worst.
    Judge,
}

/// Parameters of `sample-pairs`. The defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Where the model runs that gives the chosen answers.
    pub engine: Engine,
    /// With `engine: openai`, the model that gives the chosen answers.
    pub server: Option<Server>,
    /// With `engine: openai`, the model on a server that gives the rejected answers.
    pub rejected_server: Option<Server>,
    /// In place of a mask or another model: several answers of the model, of which a judge takes the best and the worst.
    pub judge: Option<Judge>,
    /// Logits are divided by this; at 0 the best token is taken.
    pub temperature: f64,
    /// Tokens are drawn from the smallest set whose probability reaches this.
    pub top_p: f64,
    /// Tokens are drawn from so many best ones, before `top-p` cuts; 0 keeps all.
    pub top_k: usize,
    /// Tokens are drawn from those at least this times as probable as the best.
    pub min_p: f64,
    /// Logits of tokens that stand in the prompt or the response are divided by this when positive, else multiplied.
    pub repetition_penalty: f64,
    /// Taken from a token's logit for every time it stands in the response.
    pub frequency_penalty: f64,
    /// Texts that end a response; it is kept up to the first of them.
    pub stop: Vec<String>,
    /// Drop pairs of which a response was cut off at `max-new-tokens`.
    pub drop_truncated: bool,
    /// Drop pairs of which a response ends in a loop.
    pub drop_repeated: bool,
    /// The most tokens of a response.
    pub max_new_tokens: u32,
    /// Pairs drawn for each instruction.
    pub samples: u32,
    /// The most instructions used; all when left out.
    pub limit: Option<u32>,
    /// Which instructions are taken when there are more than `limit`.
    pub subset: Subset,
    /// Names the random streams of all draws.
    pub seed: u64,
    /// Draw both sides of a pair with the same random numbers.
    pub coupled: bool,
    /// A system turn before the instruction.
    pub system: Option<String>,
    /// Whether templates that know it are asked for thinking; left to the template when left out. Thoughts are
    /// not part of a response.
    pub thinking: Option<bool>,
    /// The style of the instruction records.
    pub format: Format,
    /// Records of another `language` are skipped; empty keeps all.
    pub language: String,
    /// How much of a conversation comes before the response.
    pub history: History,
    /// Instructions with fewer characters are skipped.
    pub min_characters: usize,
    /// Instructions with more characters are skipped.
    pub max_characters: Option<usize>,
    /// Rows that may be malformed; they are told in the log and skipped.
    pub max_bad_rows: usize,
    /// Stretches the window of the model at `model` by YaRN, to `factor` times `original-context` tokens. That of another
    /// model stays as it is.
    pub yarn: Option<Yarn>,
    /// The class of arithmetic: `f32`, or `bf16`, where linear layers read their inputs and weights in bf16.
    pub numerics: Numerics,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            engine: Engine::Local,
            server: None,
            rejected_server: None,
            judge: None,
            temperature: 0.6,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            stop: Vec::new(),
            drop_truncated: false,
            drop_repeated: false,
            max_new_tokens: 2048,
            samples: 1,
            limit: None,
            subset: Subset::First,
            seed: 42,
            coupled: false,
            system: None,
            thinking: None,
            format: Format::Auto,
            language: "English".into(),
            history: History::FirstTurn,
            min_characters: 0,
            max_characters: None,
            max_bad_rows: 0,
            yarn: None,
            numerics: Numerics::F32,
        }
    }
}

impl Parameters {
    /// How tokens are drawn.
    pub fn rules(&self) -> SamplingRules {
        SamplingRules {
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
        }
    }

    /// What is read of the instructions.
    pub fn selection(&self) -> Selection<'_> {
        Selection {
            format: self.format,
            history: self.history,
            language: &self.language,
            min_characters: self.min_characters,
            max_characters: self.max_characters,
            max_bad_rows: self.max_bad_rows,
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// A refusal of the first field whose value is not allowed.
    pub fn check(&self) -> Result<(), ParameterError> {
        let refuse = |field: &str, message: String| Err(ParameterError::new(field, message));
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return refuse("temperature", format!("{} is not a finite number of at least 0", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top-p", format!("{} is not above 0 and at most 1", self.top_p));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refuse("min-p", format!("{} is not between 0 and 1", self.min_p));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return refuse("repetition-penalty", format!("is {}; it must be above 0", self.repetition_penalty));
        }
        if !self.frequency_penalty.is_finite() {
            return refuse("frequency-penalty", format!("{} is not a finite number", self.frequency_penalty));
        }
        if self.stop.iter().any(String::is_empty) {
            return refuse("stop", "an empty text would end every response at once".into());
        }
        if self.temperature == 0.0 && self.samples > 1 {
            return refuse("samples", "at temperature 0 all samples of an instruction are the same".into());
        }
        if self.temperature == 0.0 && self.judge.is_some() {
            return refuse("judge", "at temperature 0 all samples of an instruction are the same".into());
        }
        if let Some(judge) = &self.judge {
            judge.check()?;
        }
        self.check_engine()?;
        if self.max_new_tokens == 0 {
            return refuse("max-new-tokens", "0 tokens make no response; expected at least 1".into());
        }
        if self.samples == 0 {
            return refuse("samples", "0 samples make no pair; expected at least 1".into());
        }
        if self.max_characters.is_some_and(|most| most < self.min_characters.max(1)) {
            return refuse("max-characters", "must be at least 1, and at least min-characters".into());
        }
        if self.limit == Some(0) {
            return refuse("limit", "0 instructions make no pair; expected at least 1".into());
        }
        Ok(())
    }

    fn check_engine(&self) -> Result<(), ParameterError> {
        Server::check_answering(self.server.as_ref(), self.engine)?;
        Server::check_with(self.rejected_server.as_ref(), self.engine, "rejected-server")?;
        if self.engine == Engine::Openai && self.yarn.is_some() {
            return Err(ParameterError::new("yarn", "the window of a server's model is set at the server"));
        }
        Ok(())
    }

    /// Where rejected answers come from, by the parameters and the inputs that are connected.
    ///
    /// # Errors
    /// A refusal when there is no source or are several, when there is no model, or when a mask is to be applied on a
    /// server.
    pub fn rejects(&self, connected: impl Fn(&str) -> bool) -> Result<Rejects, ParameterError> {
        let refuse = |field: &str, message: String| Err(ParameterError::new(field, message));
        match self.engine {
            Engine::Local if !connected("model") => {
                return refuse("engine", "`local` needs the model at the input `model`".into());
            }
            Engine::Openai if connected("mask") => {
                return refuse(
                    "engine",
                    "no mask can be applied on a server: heads are masked inside this program. Take the rejected answers \
                     from another model (`rejected-model`, `rejected-server`; `retmask model export --mask` writes one with \
                     heads masked for good), or have a `judge` choose"
                        .into(),
                );
            }
            Engine::Openai if connected("model") => {
                let message = "with `openai` the model on `server` answers: leave the input `model` out";
                return refuse("engine", message.into());
            }
            Engine::Local | Engine::Openai => {}
        }
        let sources = [
            ("mask", Rejects::Mask, connected("mask")),
            ("rejected-model", Rejects::Model, connected("rejected-model")),
            ("rejected-server", Rejects::Server, self.rejected_server.is_some()),
            ("judge", Rejects::Judge, self.judge.is_some()),
        ];
        let given: Vec<_> = sources.into_iter().filter(|(_, _, given)| *given).collect();
        match given.as_slice() {
            [(_, source, _)] => Ok(*source),
            [] => refuse(
                "mask",
                "nothing tells the rejected answers from the chosen ones: connect `mask`, or another model at \
                 `rejected-model`, or have a `judge` choose"
                    .into(),
            ),
            several => {
                let names: Vec<String> = several.iter().map(|(name, ..)| format!("`{name}`")).collect();
                refuse(several[1].0, format!("rejected answers come from one source; here are {}", names.join(" and ")))
            }
        }
    }

    /// How many responses a pair is made of.
    pub fn responses_of_a_pair(&self) -> usize {
        self.judge.as_ref().map_or(2, |judge| judge.responses as usize)
    }

    /// Whether nobody knows exactly which model answers.
    pub fn is_undeclared(&self) -> bool {
        [&self.server, &self.rejected_server].into_iter().flatten().any(|server| server.revision.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(engine: Engine) -> Parameters {
        let server = Server { model: "m".into(), ..Server::default() };
        Parameters { engine, server: Some(server), ..Parameters::default() }
    }

    #[test]
    fn rejected_answers_come_from_one_source() {
        let of = |parameters: &Parameters, inputs: &[&str]| {
            parameters.rejects(|name| inputs.contains(&name)).map_err(|error| error.message)
        };
        let local = Parameters::default();
        assert_eq!(of(&local, &["model", "mask"]), Ok(Rejects::Mask));
        assert_eq!(of(&local, &["model", "rejected-model"]), Ok(Rejects::Model));
        let judged = Parameters { judge: Some(Judge { model: "j".into(), ..Judge::default() }), ..local.clone() };
        assert_eq!(of(&judged, &["model"]), Ok(Rejects::Judge));
        assert!(of(&judged, &["model", "mask"]).unwrap_err().contains("here are `mask` and `judge`"));
        assert!(of(&local, &["model", "mask", "rejected-model"]).unwrap_err().contains("one source"));
        assert!(of(&local, &["model"]).unwrap_err().contains("nothing tells"));
        assert!(of(&local, &["mask"]).unwrap_err().contains("needs the model"));
        let remote = served(Engine::Openai);
        assert_eq!(of(&remote, &["rejected-model"]), Ok(Rejects::Model));
        let both = Parameters { rejected_server: remote.server.clone(), ..remote.clone() };
        assert_eq!(of(&both, &[]), Ok(Rejects::Server));
        assert!(of(&remote, &["mask"]).unwrap_err().contains("no mask can be applied on a server"));
        assert!(of(&remote, &["model", "rejected-model"]).unwrap_err().contains("leave the input `model` out"));
    }

    #[test]
    fn servers_are_declared_with_their_engine() {
        assert_eq!(served(Engine::Openai).check(), Ok(()));
        assert_eq!(served(Engine::Local).check().unwrap_err().field, "server");
        let nobody = Parameters { engine: Engine::Openai, ..Parameters::default() };
        assert_eq!(nobody.check().unwrap_err().field, "engine");
        let still = Parameters { temperature: 0.0, judge: Some(Judge::default()), ..Parameters::default() };
        assert_eq!(still.check().unwrap_err().field, "judge");
    }

    #[test]
    fn only_a_declared_model_is_known() {
        assert!(!Parameters::default().is_undeclared());
        let declared = |revision: Option<&str>| {
            Some(Server { model: "m".into(), revision: revision.map(str::to_owned), ..Server::default() })
        };
        let of = |server, rejected_server| Parameters { server, rejected_server, ..Parameters::default() };
        assert!(of(declared(None), None).is_undeclared());
        assert!(!of(declared(Some("1")), None).is_undeclared());
        assert!(of(declared(Some("1")), declared(None)).is_undeclared());
    }

    #[test]
    fn where_a_judge_is_stands_in_no_key() {
        let with = Judge { base_url: Some("http://h/v1".into()), concurrency: 3, ..Judge::default() };
        assert_eq!(serde_json::to_value(with).unwrap(), serde_json::to_value(Judge::default()).unwrap());
    }
}
