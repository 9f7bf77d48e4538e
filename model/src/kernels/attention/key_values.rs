//! Keys and values of one sequence in one layer, laid out for the attention kernel.

use super::HeadLayout;
use crate::kernels::matmul::PANEL;

/// Keys and values, appended token by token. Tokens stand in panels of 32; panel p of head h holds the keys
/// transposed ([head_dim, 32]) and the values by row ([32, padded head_dim]), so both products of attention
/// read their right-hand matrix in order. Unused places are zero.
#[derive(Debug, Clone)]
pub struct KeyValues {
    layout: HeadLayout,
    length: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KeyValues {
    /// An empty store with room for `capacity` tokens.
    pub fn new(layout: HeadLayout, capacity: usize) -> Self {
        let panels = capacity.div_ceil(PANEL) * layout.key_value_heads * PANEL;
        Self {
            layout,
            length: 0,
            keys: Vec::with_capacity(panels * layout.head_dim),
            values: Vec::with_capacity(panels * layout.padded_dim()),
        }
    }

    /// Tokens stored.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that [`KeyValues::new`] reserves for `capacity` tokens.
    pub fn bytes(layout: HeadLayout, capacity: usize) -> usize {
        let tokens = capacity.next_multiple_of(PANEL);
        tokens * layout.key_value_heads * (layout.head_dim + layout.padded_dim()) * size_of::<f32>()
    }

    /// Appends tokens: `keys` and `values` are [tokens, key_value_heads, head_dim].
    pub fn append(&mut self, keys: &[f32], values: &[f32]) {
        let HeadLayout { key_value_heads, head_dim, .. } = self.layout;
        let padded = self.layout.padded_dim();
        let width = key_value_heads * head_dim;
        let panels = (self.length + keys.len() / width).div_ceil(PANEL);
        self.keys.resize(panels * key_value_heads * head_dim * PANEL, 0.0);
        self.values.resize(panels * key_value_heads * PANEL * padded, 0.0);
        for (keys, values) in keys.chunks_exact(width).zip(values.chunks_exact(width)) {
            let (panel, place) = (self.length / PANEL, self.length % PANEL);
            for head in 0..key_value_heads {
                let block = panel * key_value_heads + head;
                let key_panel = &mut self.keys[block * head_dim * PANEL..][..head_dim * PANEL];
                for (d, &key) in keys[head * head_dim..][..head_dim].iter().enumerate() {
                    key_panel[d * PANEL + place] = key;
                }
                let value_row = &mut self.values[(block * PANEL + place) * padded..][..head_dim];
                value_row.copy_from_slice(&values[head * head_dim..][..head_dim]);
            }
            self.length += 1;
        }
    }

    /// Panel `panel` of head `head`: keys as [head_dim, 32].
    pub(super) fn key_panel(&self, panel: usize, head: usize) -> &[f32] {
        let size = self.layout.head_dim * PANEL;
        &self.keys[(panel * self.layout.key_value_heads + head) * size..][..size]
    }

    /// Panel `panel` of head `head`: values as [32, padded head_dim].
    pub(super) fn value_panel(&self, panel: usize, head: usize) -> &[f32] {
        let size = PANEL * self.layout.padded_dim();
        &self.values[(panel * self.layout.key_value_heads + head) * size..][..size]
    }
}
