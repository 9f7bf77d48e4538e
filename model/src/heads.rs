//! Attention heads and sets of them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::spec::ModelSpec;
use crate::{ModelError, ModelResult};

/// One attention (query) head: layer and head counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head {
    pub layer: u32,
    pub head: u32,
}

impl fmt::Display for Head {
    /// `layer-head`, the notation of the published score files.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.layer, self.head)
    }
}

/// A set of heads whose attention output is multiplied by 0 before `o_proj`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadMask {
    heads: BTreeSet<Head>,
}

impl FromIterator<Head> for HeadMask {
    fn from_iter<I: IntoIterator<Item = Head>>(heads: I) -> Self {
        Self { heads: heads.into_iter().collect() }
    }
}

impl HeadMask {
    /// The masked heads in order of layer, then head.
    pub fn heads(&self) -> impl ExactSizeIterator<Item = Head> + '_ {
        self.heads.iter().copied()
    }

    /// How many heads are masked.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Whether this head is masked.
    pub fn contains(&self, head: Head) -> bool {
        self.heads.contains(&head)
    }

    /// Reads JSON `[[layer, head], ...]`.
    ///
    /// # Errors
    /// `Input` when the text is not such a list or names a head twice.
    pub fn from_json(text: &str) -> ModelResult<Self> {
        let pairs: Vec<(u32, u32)> = serde_json::from_str(text)
            .map_err(|error| ModelError::input(format!("a mask is a JSON list [[layer, head], ...]: {error}")))?;
        let mut heads = BTreeSet::new();
        for (layer, head) in pairs {
            if !heads.insert(Head { layer, head }) {
                return Err(ModelError::input(format!("the mask names head {layer}-{head} twice")));
            }
        }
        Ok(Self { heads })
    }

    /// Per head of the model (layer * query_heads + head): whether it is masked.
    ///
    /// # Errors
    /// As [`HeadMask::check`].
    pub fn flags(&self, spec: &ModelSpec) -> ModelResult<Arc<[bool]>> {
        self.check(spec.layers.len(), spec.query_heads)?;
        let mut flags = vec![false; spec.layers.len() * spec.query_heads];
        for head in &self.heads {
            flags[head.layer as usize * spec.query_heads + head.head as usize] = true;
        }
        Ok(flags.into())
    }

    /// Checks every head against a model's shape.
    ///
    /// # Errors
    /// `Input` naming the first head the model does not have.
    pub fn check(&self, layers: usize, heads: usize) -> ModelResult<()> {
        match self.heads.iter().find(|head| head.layer as usize >= layers || head.head as usize >= heads) {
            None => Ok(()),
            Some(head) => Err(ModelError::input(format!(
                "the mask names head {head}, but the model has {layers} layers of {heads} heads (0-0 to {}-{})",
                layers - 1,
                heads - 1
            ))),
        }
    }
}
