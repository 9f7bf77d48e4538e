//! Generation: prompts in, completions out, every row's bits independent of its neighbours.

mod draft;
mod engine;
mod sampling;
mod slot;

pub use engine::generate;

use crate::ModelResult;
use crate::machine::memory_bytes;
use crate::random::Stream;

/// How the next token is chosen.
#[derive(Debug, Clone)]
pub enum Sampling {
    /// The token of highest logit; the lowest id on equal logits.
    Greedy,
    /// A draw by these rules.
    Random { rules: SamplingRules, stream: Stream },
}

/// How logits become the probabilities of a draw, in this order: penalties, temperature, `top_k`, `top_p` of what is
/// left, `min_p`. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingRules {
    /// Logits of tokens that stand in the prompt or the response are divided by this when positive, else multiplied
    /// (CTRL, arXiv 1909.05858).
    pub repetition_penalty: f64,
    /// Taken from a token's logit for every time it stands in the response.
    pub frequency_penalty: f64,
    /// Logits are divided by this; at 0 the best token is taken.
    pub temperature: f64,
    /// Only so many best tokens; 0 keeps all.
    pub top_k: usize,
    /// Only the smallest set of best tokens whose probability reaches this.
    pub top_p: f64,
    /// Only tokens that are at least this times as probable as the best.
    pub min_p: f64,
}

impl Default for SamplingRules {
    fn default() -> Self {
        Self { repetition_penalty: 1.0, frequency_penalty: 0.0, temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 }
    }
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
    /// The sink wanted no more ([`Next::Stop`]).
    Sink,
}

impl StopReason {
    /// The word used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StopToken => "stop",
            Self::Length => "length",
            Self::Sink => "stop-string",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::StopToken, Self::Length, Self::Sink].into_iter().find(|reason| reason.name() == name)
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
    /// Bytes of keys and values all requests in flight may hold together; one request may always be.
    pub key_value_bytes: usize,
    /// Whether tokens that a text probably goes on with are checked several in one pass, where that is likely to save
    /// time.
    pub drafts: bool,
}

impl Default for Limits {
    fn default() -> Self {
        // A sixteenth of the memory: other stages may run beside, each with weights of its own.
        let key_value_bytes = memory_bytes().map_or(0, |bytes| bytes / 16).max(2 << 30);
        let key_value_bytes = usize::try_from(key_value_bytes).unwrap_or(usize::MAX);
        Self { rows_per_pass: 512, slots: 64, key_value_bytes, drafts: true }
    }
}

/// Whether a request is generated further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    GoOn,
    /// This token is its last.
    Stop,
}

/// Told of each completion as soon as it is there, in no promised order, and of tokens processed.
pub trait Sink {
    /// A request's next token was chosen, the last one (a stop token) included. For text that appears as it is
    /// made; completions bring all tokens again.
    fn generated(&mut self, _request: usize, _token: u32) -> ModelResult<Next> {
        Ok(Next::GoOn)
    }
    /// A request (by its index in the list) is done.
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()>;
    /// `count` more tokens went through the model (prompt and generated). Return an error to stop.
    fn processed(&mut self, count: usize) -> ModelResult<()>;
    /// A pass checked `tried` drafted tokens, of which `kept` were what the model chose.
    fn drafted(&mut self, _tried: usize, _kept: usize) {}
}
