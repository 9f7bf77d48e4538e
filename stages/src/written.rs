//! What a model wrote to a prompt, as rows keep it.

use retmask_model::generate::StopReason;

use crate::rows::{Reader, RowResult, Writer};

/// A text, how many tokens it is, and why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    pub tokens: u32,
    /// A [`StopReason`] by its name.
    pub stop: &'static str,
}

impl RowResult for Written {
    fn write(&self, bytes: &mut Writer) {
        bytes.text(&self.text);
        bytes.number(self.tokens);
        bytes.text(self.stop);
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        Some(Self { text: bytes.text()?, tokens: bytes.number()?, stop: StopReason::from_name(&bytes.text()?)?.name() })
    }
}
