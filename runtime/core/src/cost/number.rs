//! Number formats of weights and products: those of manifests, and two that engines may have one
//! day.

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Precision;
use std::fmt;
use std::str::FromStr;

/// A number format of weights and products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Single.
    F32,
    /// Half.
    F16,
    /// bfloat16.
    Bf16,
    /// Eight-bit float. No engine of this project uses it.
    Fp8,
    /// Eight-bit integer. No engine of this project uses it.
    Int8,
}

impl Number {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Fp8, Self::Int8];

    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Fp8 | Self::Int8 => 1,
        }
    }

    /// The precision of keys, values and attention; half precision for eight-bit weights.
    pub fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::F16 | Self::Fp8 | Self::Int8 => Precision::F16,
        }
    }

    /// The element type of cached keys and values.
    pub fn cached(self) -> DType {
        self.precision().dtype()
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
        }
    }
}

impl From<Precision> for Number {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Number {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|number| number.as_str() == text).ok_or_else(|| {
            let words = Self::ALL.map(Self::as_str).join(", ");
            Error::new(ErrorKind::Config, "not a precision").got(format!("{text:?}")).wanted(format!("one of {words}"))
        })
    }
}
