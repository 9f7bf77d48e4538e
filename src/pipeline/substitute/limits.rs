//! A file with its references resolved may not grow without end.

use super::super::tree::{MAX_DEPTH, MAX_NODES, MAX_TEXT, Node, Value};
use super::super::{Diagnostic, Place};
use super::{Expander, TooLarge};

impl Expander<'_> {
    /// Counts one node of the result against the limits.
    pub(super) fn count(&mut self, node: &Node, depth: usize) -> Result<(), TooLarge> {
        self.nodes += 1;
        self.bytes += node.scalar().map_or(0, |scalar| scalar.text.len());
        if depth > MAX_DEPTH {
            return self.too_large(node.place, format!("values are nested more than {MAX_DEPTH} levels deep here"));
        }
        if self.nodes > MAX_NODES || self.bytes > MAX_TEXT {
            let limits = format!("{MAX_NODES} values or {} MiB of text", MAX_TEXT >> 20);
            return self.too_large(node.place, format!("with its references the file grows beyond {limits} here"));
        }
        Ok(())
    }

    fn too_large(&mut self, place: Place, message: String) -> Result<(), TooLarge> {
        self.faults.push(Diagnostic::new(place, message));
        Err(TooLarge)
    }

    /// Counts a whole value that is copied in at a depth.
    pub(super) fn count_copy(&mut self, node: &Node, depth: usize) -> Result<(), TooLarge> {
        self.count(node, depth)?;
        match &node.value {
            Value::Sequence(items) => items.iter().try_for_each(|item| self.count_copy(item, depth + 1)),
            Value::Mapping(mapping) => {
                mapping.entries.iter().try_for_each(|entry| self.count_copy(&entry.value, depth + 1))
            }
            Value::Scalar(_) | Value::Unresolved => Ok(()),
        }
    }
}
