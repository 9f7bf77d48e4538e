//! The trait every stage kind implements.

use retmask_model::Numerics;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use super::{Context, InputPort, Inputs, OutputPort, Outputs, StageResult};

/// A stage kind: its name, its version, its ports, its typed parameters and its work.
///
/// `run` must be deterministic: the same parameters and the same input bytes give the same output
/// bytes, whatever the number of threads. Whenever the output bytes of a kind change, `EPOCH` grows.
pub trait Kind: 'static {
    /// Parameters after default filling. A field equal to its default is left out of the key, so a new
    /// option with a default does not invalidate old results. Structs carry
    /// `#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]`-style strictness and hold no
    /// paths, hosts, thread counts or times: whatever is here is in the key.
    type Parameters: Default + Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// The name used in a pipeline file, e.g. `score-heads`.
    const NAME: &'static str;
    /// The version of this kind's behaviour.
    const EPOCH: u32;
    /// One line for people.
    const SUMMARY: &'static str;
    /// Whether every stage of this kind declares ports of its own: the inputs that stand under its `in`, which take any
    /// media, and the outputs that its parameter `outputs` names. `INPUTS` and `OUTPUTS` are empty then.
    const DECLARES_PORTS: bool = false;
    /// Input ports in declared order.
    const INPUTS: &'static [InputPort];
    /// Output ports in declared order.
    const OUTPUTS: &'static [OutputPort];

    /// The class of arithmetic the result depends on, which then enters the key; `None` for kinds without a model.
    fn numerics(parameters: &Self::Parameters) -> Option<Numerics>;

    /// The program that does the work, where it is one outside this process: its file enters the key by its content, in
    /// place of the parameter `program`.
    fn program(_parameters: &Self::Parameters) -> Option<&str> {
        None
    }

    /// Whether nobody can say what made a result: a model on a server, say, that no revision was declared of. Such results
    /// are kept for their maker alone.
    fn is_private(_parameters: &Self::Parameters) -> bool {
        false
    }

    /// Checks what types cannot: ranges and combinations. Runs when the pipeline is read.
    fn validate(parameters: &Self::Parameters) -> Result<(), ParameterError>;

    /// Checks the parameters against what stands under `in`, each as `port` or `port.label`.
    fn validate_inputs(_parameters: &Self::Parameters, _roles: &[String]) -> Result<(), ParameterError> {
        Ok(())
    }

    /// Whether [`Kind::origins`] says anything.
    const TELLS_ORIGINS: bool = false;

    /// What rows of the output were made from besides rows of the inputs, for people: of an evaluation example, its
    /// prompt. `rows` are names of rows; of each that there is, the name and the text.
    ///
    /// # Errors
    /// As [`Kind::run`].
    fn origins(
        _parameters: &Self::Parameters,
        _inputs: &Inputs,
        _context: &Context,
        _rows: &[&str],
    ) -> StageResult<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    /// Does the work. Every declared output must exist at `outputs.path(port)` when it returns.
    fn run(parameters: &Self::Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()>;
}

/// A parameter whose value is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterError {
    /// The field's name as written in the pipeline file, dotted when nested.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ParameterError {
    /// A refusal of `field`, saying why and what is allowed.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}
