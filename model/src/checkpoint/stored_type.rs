//! How weights are stored in files this program writes.

use half::{bf16, f16};

use super::element_type::ElementType;

/// How weights are stored in a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredType {
    /// Rounded to nearest, ties to even.
    Bf16,
    /// Rounded to nearest, ties to even.
    F16,
    F32,
}

impl StoredType {
    /// Every stored type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// The name in lower case (`f32`, `f16`, `bf16`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// The stored type that keeps values of this type as they are; `None` for quantised ones.
    pub const fn of(element_type: ElementType) -> Option<Self> {
        match element_type {
            ElementType::F32 => Some(Self::F32),
            ElementType::F16 => Some(Self::F16),
            ElementType::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The same as a type of the file formats.
    pub const fn element_type(self) -> ElementType {
        match self {
            Self::Bf16 => ElementType::BF16,
            Self::F16 => ElementType::F16,
            Self::F32 => ElementType::F32,
        }
    }

    /// The name PyTorch has for it.
    pub(crate) const fn torch_name(self) -> &'static str {
        match self {
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
            Self::F32 => "float32",
        }
    }

    /// Bytes of a value.
    pub const fn bytes(self) -> usize {
        self.element_type().block_bytes()
    }

    /// Appends values in this type, little-endian; whether all are finite in it.
    pub(super) fn append(self, buffer: &mut Vec<u8>, values: &[f32]) -> bool {
        let mut finite = true;
        match self {
            Self::Bf16 => {
                for &value in values {
                    let value = bf16::from_f32(value);
                    finite &= value.is_finite();
                    buffer.extend_from_slice(&value.to_le_bytes());
                }
            }
            Self::F16 => {
                for &value in values {
                    let value = f16::from_f32(value);
                    finite &= value.is_finite();
                    buffer.extend_from_slice(&value.to_le_bytes());
                }
            }
            Self::F32 => {
                for &value in values {
                    finite &= value.is_finite();
                    buffer.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        finite
    }
}
