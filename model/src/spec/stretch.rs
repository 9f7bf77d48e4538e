//! YaRN put on a model whose configuration does not state it, or states it for shorter texts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rotary_settings::{check, yarn_attention_factor};
use super::{AttentionSpan, ModelSpec, RotaryScaling};

/// A window stretched by YaRN (arXiv 2309.00071), as `rope_scaling` of type `yarn` in a config.json does it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Yarn {
    /// How many times the original window.
    pub factor: f64,
    /// Tokens of the window the model was trained with before any stretching (Qwen3: 32768, Olmo-3: 8192).
    pub original_context: u32,
}

impl ModelSpec {
    /// This model with its window stretched to `factor` times `original_context` tokens. Layers that see everything
    /// get the scaled table; those with a window and a table of their own (Olmo-3) keep it. Settings of a YaRN that
    /// is there already stay, but for the factor, the window, and the attention factor 0.1·ln(factor) + 1.
    ///
    /// # Errors
    /// What is out of range, that positions are scaled in another way already, or that no layer sees everything.
    pub fn stretched(&self, yarn: Yarn) -> Result<Self, String> {
        let original_context = yarn.original_context as usize;
        // Converting saturates; the result is checked.
        let context_length = (yarn.factor * original_context as f64) as usize;
        let mut stretched = Self { context_length, ..self.clone() };
        if self.layers.iter().all(|layer| layer.span != AttentionSpan::Full) {
            return Err("every layer sees a window only, so longer texts need no other positions".into());
        }
        for layer in self.layers.iter().filter(|layer| layer.span == AttentionSpan::Full) {
            let table = &mut stretched.rotary[layer.rotary];
            let (beta_fast, beta_slow, truncate) = match self.rotary[layer.rotary].scaling {
                RotaryScaling::None => (32.0, 1.0, true),
                RotaryScaling::Yarn { beta_fast, beta_slow, truncate, .. } => (beta_fast, beta_slow, truncate),
                RotaryScaling::Linear { .. } | RotaryScaling::Llama3 { .. } | RotaryScaling::Divisors(_) => {
                    return Err(
                        "the model scales its positions in another way already; YaRN cannot be put on top".into()
                    );
                }
            };
            table.scaling = RotaryScaling::Yarn {
                factor: yarn.factor,
                beta_fast,
                beta_slow,
                attention_factor: yarn_attention_factor(yarn.factor, 1.0),
                original_context,
                truncate,
            };
            check(table)?;
        }
        if context_length == 0 || context_length > super::LARGEST_DIMENSION {
            return Err(format!(
                "a window of {context_length} tokens is not between 1 and {}",
                super::LARGEST_DIMENSION
            ));
        }
        Ok(stretched)
    }
}
