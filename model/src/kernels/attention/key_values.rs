//! Keys and values of one sequence in one layer, laid out for the attention kernel.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{HeadLayout, KEY_TILE, first_key};
use crate::kernels::matmul::PANEL;
use crate::spec::AttentionSpan;

/// Keys and values, appended token by token. Tokens stand in panels of 32; a panel holds, per head, the keys
/// transposed ([head_dim, 32]) and the values by row ([32, padded head_dim]), so both products of attention
/// read their right-hand matrix in order. Unused places are zero.
///
/// Copies share panels until one of them writes into a panel, so sequences that begin alike hold their beginning once.
///
/// Where the layer sees a window only, tiles of keys that no later token can see are dropped as tokens are appended.
/// Attention walks whole tiles, so what is left gives the bits that everything would.
#[derive(Debug, Clone)]
pub struct KeyValues {
    layout: HeadLayout,
    span: AttentionSpan,
    /// Tokens appended so far, dropped ones included.
    length: usize,
    /// Panels dropped from the front.
    dropped: usize,
    panels: VecDeque<Arc<Panel>>,
}

#[derive(Debug, Clone)]
struct Panel {
    /// [key_value_heads, head_dim, 32].
    keys: Box<[f32]>,
    /// [key_value_heads, 32, padded head_dim].
    values: Box<[f32]>,
}

impl Panel {
    /// Puts zeros into the places from `place` on.
    fn clear_from(&mut self, layout: HeadLayout, place: usize) {
        self.keys.chunks_exact_mut(PANEL).for_each(|places| places[place..].fill(0.0));
        let padded = layout.padded_dim();
        self.values.chunks_exact_mut(PANEL * padded).for_each(|rows| rows[place * padded..].fill(0.0));
    }
}

impl KeyValues {
    /// An empty store for a layer of this span.
    pub fn new(layout: HeadLayout, span: AttentionSpan) -> Self {
        Self { layout, span, length: 0, dropped: 0, panels: VecDeque::new() }
    }

    /// Tokens appended so far: the position of the next one.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes of keys and values it holds now.
    pub fn held_bytes(&self) -> usize {
        self.panels.len() * Self::panel_bytes(self.layout)
    }

    /// Most bytes a store ever holds while `tokens` tokens are appended, at most `chunk` at a time: all of them, or a
    /// window, the rest of the tile it starts in, and a chunk.
    pub fn most_bytes(layout: HeadLayout, span: AttentionSpan, tokens: usize, chunk: usize) -> usize {
        let held = match span {
            AttentionSpan::Full => tokens,
            AttentionSpan::Window(window) => {
                // The next token's window lacks that token itself; the tile it starts in, at most all but one key.
                let seen = (window - 1).saturating_add(KEY_TILE - 1);
                tokens.min(seen.saturating_add(chunk))
            }
        };
        held.div_ceil(PANEL).saturating_mul(Self::panel_bytes(layout))
    }

    fn panel_bytes(layout: HeadLayout) -> usize {
        layout.key_value_heads * PANEL * (layout.head_dim + layout.padded_dim()) * size_of::<f32>()
    }

    /// Appends tokens: `keys` and `values` are [tokens, key_value_heads, head_dim].
    pub fn append(&mut self, keys: &[f32], values: &[f32]) {
        self.drop_unseen();
        let HeadLayout { key_value_heads, head_dim, .. } = self.layout;
        let padded = self.layout.padded_dim();
        let width = key_value_heads * head_dim;
        for (keys, values) in keys.chunks_exact(width).zip(values.chunks_exact(width)) {
            let (panel, place) = (self.length / PANEL - self.dropped, self.length % PANEL);
            if panel == self.panels.len() {
                self.panels.push_back(Arc::new(Panel {
                    keys: vec![0.0; width * PANEL].into(),
                    values: vec![0.0; key_value_heads * PANEL * padded].into(),
                }));
            }
            let panel = Arc::make_mut(&mut self.panels[panel]);
            for head in 0..key_value_heads {
                let key_panel = &mut panel.keys[head * head_dim * PANEL..][..head_dim * PANEL];
                for (d, &key) in keys[head * head_dim..][..head_dim].iter().enumerate() {
                    key_panel[d * PANEL + place] = key;
                }
                let value_row = &mut panel.values[(head * PANEL + place) * padded..][..head_dim];
                value_row.copy_from_slice(&values[head * head_dim..][..head_dim]);
            }
            self.length += 1;
        }
    }

    /// The first `tokens` tokens as a store of their own; `None` where some of what the next token sees was dropped.
    pub fn beginning(&self, tokens: usize) -> Option<Self> {
        let needed = first_key(self.span, tokens) / KEY_TILE * (KEY_TILE / PANEL);
        if tokens > self.length || self.dropped > needed {
            return None;
        }
        let kept = tokens.div_ceil(PANEL).saturating_sub(self.dropped);
        let mut panels: VecDeque<Arc<Panel>> = self.panels.iter().take(kept).cloned().collect();
        let used = tokens % PANEL;
        if used > 0
            && tokens < self.length
            && let Some(last) = panels.back_mut()
        {
            Arc::make_mut(last).clear_from(self.layout, used);
        }
        Some(Self { length: tokens, panels, ..*self })
    }

    /// Drops the tiles that end before the first key the next token sees.
    fn drop_unseen(&mut self) {
        let first_panel = first_key(self.span, self.length) / KEY_TILE * (KEY_TILE / PANEL);
        while self.dropped < first_panel && self.panels.pop_front().is_some() {
            self.dropped += 1;
        }
    }

    /// Panel `panel` of head `head`: keys as [head_dim, 32].
    pub(super) fn key_panel(&self, panel: usize, head: usize) -> &[f32] {
        let size = self.layout.head_dim * PANEL;
        &self.panels[panel - self.dropped].keys[head * size..][..size]
    }

    /// Panel `panel` of head `head`: values as [32, padded head_dim].
    pub(super) fn value_panel(&self, panel: usize, head: usize) -> &[f32] {
        let size = PANEL * self.layout.padded_dim();
        &self.panels[panel - self.dropped].values[head * size..][..size]
    }
}
