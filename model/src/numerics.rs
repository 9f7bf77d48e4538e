//! Classes of arithmetic. Within a class equal inputs give equal bits on every machine; between classes results
//! differ, so the class is part of what a result is stored under.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How products are computed, those of linear layers and of attention. Sums, the residual stream, norms and softmax are
/// f32 in every class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Numerics {
    /// f32 inputs and weights, fused multiply-add, k ascending.
    #[default]
    F32,
    /// Inputs, weights, queries, keys, values and the exponentials of the softmax rounded to bf16 (denormals to zero),
    /// products of pairs added in f32 as VDPBF16PS does.
    Bf16,
}

impl Numerics {
    /// All classes.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// Its name in pipelines, keys and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Which definition of the class this is, where its bits were once others; a result of the old one is no longer used.
    pub const fn revision(self) -> Option<&'static str> {
        match self {
            Self::F32 => None,
            // 2: attention multiplies in bf16 too. 3: the softmax's exponentials are powers of two.
            Self::Bf16 => Some("3"),
        }
    }
}

impl fmt::Display for Numerics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Numerics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|class| class.name() == text)
            .ok_or_else(|| format!("`{text}` is no class of arithmetic; there are f32 and bf16"))
    }
}
