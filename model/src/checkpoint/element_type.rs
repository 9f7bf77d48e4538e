//! How the numbers of a tensor are stored.

use super::byte_reader::Reason;

/// The stored types this program reads. Quantised ones come in blocks that share scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q8_0,
    Q4K,
    Q6K,
}

/// Type names by their number in GGUF files (ggml's `enum ggml_type`), to refuse the unsupported ones by name.
const GGML_NAMES: [&str; 40] = [
    "F32",
    "F16",
    "Q4_0",
    "Q4_1",
    "Q4_2",
    "Q4_3",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q8_1",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "Q8_K",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ3_XXS",
    "IQ1_S",
    "IQ4_NL",
    "IQ3_S",
    "IQ2_S",
    "IQ4_XS",
    "I8",
    "I16",
    "I32",
    "I64",
    "F64",
    "IQ1_M",
    "BF16",
    "Q4_0_4_4",
    "Q4_0_4_8",
    "Q4_0_8_8",
    "TQ1_0",
    "TQ2_0",
    "IQ4_NL_4_4",
    "IQ4_NL_4_8",
    "IQ4_NL_8_8",
    "MXFP4",
];

impl ElementType {
    /// Every supported type.
    pub const ALL: [Self; 8] =
        [Self::F32, Self::F16, Self::BF16, Self::Q4_0, Self::Q4_1, Self::Q8_0, Self::Q4K, Self::Q6K];

    /// The name used by the file formats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Values in one block.
    pub const fn block_length(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block, scales included.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 4 + 16,
            Self::Q8_0 => 2 + 32,
            Self::Q4K => 4 + 12 + 128,
            Self::Q6K => 128 + 64 + 16 + 2,
        }
    }

    /// Bytes of rows of `row_length` values each; rows hold whole blocks.
    pub(crate) fn bytes_of(self, rows: usize, row_length: usize) -> Result<usize, Reason> {
        if !row_length.is_multiple_of(self.block_length()) {
            return Err(format!(
                "rows of {row_length} values do not divide into {} blocks of {}",
                self.name(),
                self.block_length()
            ));
        }
        (row_length / self.block_length())
            .checked_mul(self.block_bytes())
            .and_then(|bytes| bytes.checked_mul(rows))
            .ok_or_else(|| format!("{rows} rows of {row_length} values exceed what a machine can address"))
    }

    /// The type with this number in a GGUF file.
    pub(crate) fn from_ggml(number: u32) -> Result<Self, Reason> {
        let Some(&name) = usize::try_from(number).ok().and_then(|number| GGML_NAMES.get(number)) else {
            return Err(format!("the element type number {number} is unknown; {}", supported(&Self::ALL)));
        };
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("the element type {name} is not supported; {}", supported(&Self::ALL)))
    }

    /// The type's number in a GGUF file.
    pub(crate) const fn ggml_number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q6K => 14,
            Self::BF16 => 30,
        }
    }

    /// The type with this name in a safetensors file.
    pub(crate) fn from_safetensors(name: &str) -> Result<Self, Reason> {
        let plain = [Self::F32, Self::F16, Self::BF16];
        plain
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("the element type {name:?} is not supported; {}", supported(&plain)))
    }
}

fn supported(kinds: &[ElementType]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    format!("supported are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::ElementType;

    #[test]
    fn numbers_and_names_are_those_of_the_same_types() {
        for kind in ElementType::ALL {
            assert_eq!(ElementType::from_ggml(kind.ggml_number()), Ok(kind));
        }
    }
}
