//! The types that weights are stored in and products are computed in: those of a manifest, and two
//! eight-bit types that no engine has yet.

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Precision;
use std::fmt;
use std::str::FromStr;

/// A number type of weights and products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Eight-bit floating point. No engine of this project has it.
    Fp8,
    /// Eight-bit integer. No engine of this project has it.
    Int8,
}

impl Number {
    /// All types.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Fp8, Self::Int8];

    /// The size of one number, bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Fp8 | Self::Int8 => 1,
        }
    }

    /// The nearest precision of a manifest. Beside eight-bit weights, keys, values and attention
    /// are in half precision.
    pub fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::F16 | Self::Fp8 | Self::Int8 => Precision::F16,
        }
    }

    /// The type of cached keys and values.
    pub fn cached(self) -> DType {
        self.precision().dtype()
    }

    /// The name, as `--precision` and the reports write it.
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
