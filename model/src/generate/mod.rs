//! Generation: prompts in, completions out, every row's bits independent of its neighbours.

mod engine;
mod sampling;
mod slot;

pub use engine::generate;

use crate::ModelResult;
use crate::random::Stream;

/// How the next token is chosen.
#[derive(Debug, Clone)]
pub enum Sampling {
    /// The token of highest logit; the lowest id on equal logits.
    Greedy,
    /// Softmax at `temperature`, cut to the smallest set whose probability reaches `top_p`.
    Random { temperature: f64, top_p: f64, stream: Stream },
}

/// What is asked of the model.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt's token ids; at least one.
    pub prompt: Vec<u32>,
    /// Index into the masks given to [`generate()`]; `None` runs the model as it is.
    pub mask: Option<usize>,
    pub max_new_tokens: usize,
    /// Generation ends after any of these, which is kept as the last token.
    pub stop_tokens: Vec<u32>,
    pub sampling: Sampling,
    /// Record the arg-max key of every head at every generated token.
    pub probe: bool,
    /// Record the difference of the two best logits at every generated token.
    pub logit_gaps: bool,
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A stop token was generated.
    StopToken,
    /// `max_new_tokens` were generated.
    Length,
}

impl StopReason {
    /// The word used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StopToken => "stop",
            Self::Length => "length",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::StopToken, Self::Length].into_iter().find(|reason| reason.name() == name)
    }
}

/// What the model said.
#[derive(Debug, Clone)]
pub struct Completion {
    pub tokens: Vec<u32>,
    pub stop: StopReason,
    /// With `probe`: per generated token, the arg-max key position of every head
    /// (`layer * query_heads + head`) for the row whose logits chose that token.
    pub probes: Vec<Vec<u32>>,
    /// With `probe`: per generated token and head, the attention probability of the arg-max key minus that of the
    /// second strongest key.
    pub probe_gaps: Vec<Vec<f32>>,
    /// With `logit_gaps`: best logit minus second best, per generated token.
    pub logit_gaps: Vec<f32>,
}

/// Limits of one generation run. None of them changes any completion's bits.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Rows (prompt tokens and decode steps) in one pass over the weights.
    pub rows_per_pass: usize,
    /// Requests in flight at once.
    pub slots: usize,
    /// Bytes of keys and values all requests in flight may hold together.
    pub key_value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows_per_pass: 512, slots: 32, key_value_bytes: 2 << 30 }
    }
}

/// Told of each completion as soon as it is there, in no promised order, and of tokens processed.
pub trait Sink {
    /// A request's next token was chosen, the last one (a stop token) included. For text that appears as it is
    /// made; completions bring all tokens again.
    fn generated(&mut self, _request: usize, _token: u32) -> ModelResult<()> {
        Ok(())
    }
    /// A request (by its index in the list) is done.
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()>;
    /// `count` more tokens went through the model (prompt and generated). Return an error to stop.
    fn processed(&mut self, count: usize) -> ModelResult<()>;
}
