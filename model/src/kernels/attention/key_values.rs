//! Keys and values of one sequence in one layer, laid out for the attention kernel.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{HeadLayout, KEY_TILE, first_key};
use crate::Numerics;
use crate::kernels::bf16::rounded;
use crate::kernels::matmul::PANEL;
use crate::kernels::team;
use crate::spec::AttentionSpan;

/// Keys and values, appended token by token. Tokens stand in panels of 32; a panel holds, per head, the keys
/// transposed ([head_dim, 32]) and the values by row ([32, padded head_dim]), so both products of attention
/// read their right-hand matrix in order. Unused places are zero.
///
/// In the class `bf16` they are rounded to it and stand in pairs: keys of two dimensions ([head_dim / 2, 32]), values of
/// two tokens ([16, padded head_dim]), the first of the two in the lower half.
///
/// Copies share panels until one of them writes into a panel, so sequences that begin alike hold their beginning once.
///
/// Where the layer sees a window only, tiles of keys that no later token can see are dropped as tokens are appended.
/// Attention walks whole tiles, so what is left gives the bits that everything would.
#[derive(Debug, Clone)]
pub struct KeyValues {
    layout: HeadLayout,
    span: AttentionSpan,
    numerics: Numerics,
    /// Tokens appended so far, dropped ones included.
    length: usize,
    /// Panels dropped from the front.
    dropped: usize,
    panels: VecDeque<Arc<Panel>>,
}

/// 32 tokens of all key-value heads.
#[derive(Debug, Clone)]
enum Panel {
    /// Keys [key_value_heads, head_dim, 32] and values [key_value_heads, 32, padded head_dim].
    F32 { keys: Box<[f32]>, values: Box<[f32]> },
    /// Keys [key_value_heads, pairs of head_dim, 32] and values [key_value_heads, 16, padded head_dim].
    Bf16 { keys: Box<[u32]>, values: Box<[u32]> },
}

/// One head's part of a panel, as the right-hand matrix of a product.
#[derive(Clone, Copy)]
pub(super) enum HeadPanel<'a> {
    F32(&'a [f32]),
    /// Pairs along the sum.
    Bf16(&'a [u32]),
}

impl Panel {
    fn empty(layout: HeadLayout, numerics: Numerics) -> Self {
        let HeadLayout { key_value_heads, head_dim, .. } = layout;
        let (keys, values) = (head_dim * PANEL, PANEL * layout.padded_dim());
        match numerics {
            Numerics::F32 => Self::F32 {
                keys: vec![0.0; key_value_heads * keys].into(),
                values: vec![0.0; key_value_heads * values].into(),
            },
            Numerics::Bf16 => Self::Bf16 {
                keys: vec![0; key_value_heads * head_dim.div_ceil(2) * PANEL].into(),
                values: vec![0; key_value_heads * values / 2].into(),
            },
        }
    }

    /// Puts one token's keys and values ([key_value_heads, head_dim]) into a place that is zero.
    fn put(&mut self, layout: HeadLayout, place: usize, new_keys: &[f32], new_values: &[f32]) {
        let (head_dim, padded) = (layout.head_dim, layout.padded_dim());
        let heads = new_keys.chunks_exact(head_dim).zip(new_values.chunks_exact(head_dim)).enumerate();
        match self {
            Self::F32 { keys, values } => {
                for (head, (new_keys, new_values)) in heads {
                    let lanes = keys[head * head_dim * PANEL..].iter_mut().skip(place).step_by(PANEL);
                    lanes.zip(new_keys).for_each(|(lane, &key)| *lane = key);
                    values[(head * PANEL + place) * padded..][..head_dim].copy_from_slice(new_values);
                }
            }
            Self::Bf16 { keys, values } => {
                let pairs = head_dim.div_ceil(2);
                let half = 16 * (place % 2);
                for (head, (new_keys, new_values)) in heads {
                    let lanes = keys[head * pairs * PANEL..].iter_mut().skip(place).step_by(PANEL);
                    for (lane, two) in lanes.zip(new_keys.chunks(2)) {
                        let upper = two.get(1).map_or(0, |&upper| rounded(upper));
                        *lane = rounded(two[0]) | upper << 16;
                    }
                    let row = &mut values[(head * PANEL + place) / 2 * padded..][..head_dim];
                    row.iter_mut().zip(new_values).for_each(|(pair, &value)| *pair |= rounded(value) << half);
                }
            }
        }
    }

    /// Puts zeros into the places from `place` on.
    fn clear_from(&mut self, layout: HeadLayout, place: usize) {
        let padded = layout.padded_dim();
        match self {
            Self::F32 { keys, values } => {
                keys.chunks_exact_mut(PANEL).for_each(|places| places[place..].fill(0.0));
                values.chunks_exact_mut(PANEL * padded).for_each(|rows| rows[place * padded..].fill(0.0));
            }
            Self::Bf16 { keys, values } => {
                keys.chunks_exact_mut(PANEL).for_each(|places| places[place..].fill(0));
                for rows in values.chunks_exact_mut(PANEL / 2 * padded) {
                    let (kept, cleared) = rows.split_at_mut(place.div_ceil(2) * padded);
                    cleared.fill(0);
                    if place % 2 == 1 {
                        let last = kept.len() - padded;
                        kept[last..].iter_mut().for_each(|pair| *pair &= 0xffff);
                    }
                }
            }
        }
    }
}

impl KeyValues {
    /// An empty store for a layer of this span, in this class of arithmetic.
    pub fn new(layout: HeadLayout, span: AttentionSpan, numerics: Numerics) -> Self {
        Self { layout, span, numerics, length: 0, dropped: 0, panels: VecDeque::new() }
    }

    /// The class of arithmetic that it is kept for.
    pub fn numerics(&self) -> Numerics {
        self.numerics
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
        self.panels.len() * Self::panel_bytes(self.layout, self.numerics)
    }

    /// Most bytes a store ever holds while `tokens` tokens are appended, at most `chunk` at a time: all of them, or a
    /// window, the rest of the tile it starts in, and a chunk.
    pub fn most_bytes(
        layout: HeadLayout,
        span: AttentionSpan,
        numerics: Numerics,
        tokens: usize,
        chunk: usize,
    ) -> usize {
        let held = match span {
            AttentionSpan::Full => tokens,
            AttentionSpan::Window(window) => {
                // The next token's window lacks that token itself; the tile it starts in, at most all but one key.
                let seen = (window - 1).saturating_add(KEY_TILE - 1);
                tokens.min(seen.saturating_add(chunk))
            }
        };
        held.div_ceil(PANEL).saturating_mul(Self::panel_bytes(layout, numerics))
    }

    fn panel_bytes(layout: HeadLayout, numerics: Numerics) -> usize {
        let width = match numerics {
            Numerics::F32 => layout.head_dim + layout.padded_dim(),
            Numerics::Bf16 => layout.head_dim.div_ceil(2) + layout.padded_dim() / 2,
        };
        layout.key_value_heads * PANEL * width * size_of::<f32>()
    }

    /// Appends tokens: `keys` and `values` are [tokens, key_value_heads, head_dim].
    pub fn append(&mut self, keys: &[f32], values: &[f32]) {
        self.drop_unseen();
        let (layout, numerics, length) = (self.layout, self.numerics, self.length);
        let width = layout.key_value_heads * layout.head_dim;
        let tokens = keys.len() / width;
        if tokens == 0 {
            return;
        }
        self.length += tokens;
        let first_panel = length / PANEL;
        let missing = self.length.div_ceil(PANEL) - self.dropped - self.panels.len();
        let empty = |_| Arc::new(Panel::empty(layout, numerics));
        self.panels.extend(team::map(vec![(); missing], empty));
        let panels = self.panels.range_mut(first_panel - self.dropped..).collect();
        team::each(panels, |number, panel: &mut Arc<Panel>| {
            let panel = Arc::make_mut(panel);
            let start = (first_panel + number) * PANEL;
            for position in start.max(length)..(start + PANEL).min(length + tokens) {
                let part = (position - length) * width..(position - length + 1) * width;
                panel.put(layout, position - start, &keys[part.clone()], &values[part]);
            }
        });
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

    /// Takes back all but the first `tokens` tokens, of those that were appended last and together: what was dropped before
    /// them is not seen by what comes instead either.
    pub fn truncate(&mut self, tokens: usize) {
        if tokens >= self.length {
            return;
        }
        self.length = tokens;
        self.panels.truncate(tokens.div_ceil(PANEL).saturating_sub(self.dropped));
        let used = tokens % PANEL;
        if used > 0
            && let Some(last) = self.panels.back_mut()
        {
            Arc::make_mut(last).clear_from(self.layout, used);
        }
    }

    /// Drops the tiles that end before the first key the next token sees.
    fn drop_unseen(&mut self) {
        let first_panel = first_key(self.span, self.length) / KEY_TILE * (KEY_TILE / PANEL);
        while self.dropped < first_panel && self.panels.pop_front().is_some() {
            self.dropped += 1;
        }
    }

    /// Panel `panel` of head `head`: keys as [head_dim, 32].
    pub(super) fn key_panel(&self, panel: usize, head: usize) -> HeadPanel<'_> {
        let head_dim = self.layout.head_dim;
        match &*self.panels[panel - self.dropped] {
            Panel::F32 { keys, .. } => HeadPanel::F32(part(keys, head, head_dim * PANEL)),
            Panel::Bf16 { keys, .. } => HeadPanel::Bf16(part(keys, head, head_dim.div_ceil(2) * PANEL)),
        }
    }

    /// Panel `panel` of head `head`: values as [32, padded head_dim].
    pub(super) fn value_panel(&self, panel: usize, head: usize) -> HeadPanel<'_> {
        let size = PANEL * self.layout.padded_dim();
        match &*self.panels[panel - self.dropped] {
            Panel::F32 { values, .. } => HeadPanel::F32(part(values, head, size)),
            Panel::Bf16 { values, .. } => HeadPanel::Bf16(part(values, head, size / 2)),
        }
    }
}

/// Part `index` of parts of one size.
fn part<T>(all: &[T], index: usize, size: usize) -> &[T] {
    &all[index * size..][..size]
}
