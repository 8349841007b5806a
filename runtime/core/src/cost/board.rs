//! Boards by their data sheets, and lower bounds of times on them.

use super::{Number, PassCost};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `configs/target/boards.yaml`: boards, by their names for `--target`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boards {
    boards: BTreeMap<String, Board>,
}

/// One board. Rates are the data sheet's peaks at its clock. Most kernels are slower; a card that
/// boosts above that clock can be faster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The product's name.
    pub product: String,
    /// The GPU's memory.
    pub memory_bytes: u64,
    /// Whether the CPU shares that memory.
    pub shared: bool,
    /// Part of the memory that the plan leaves free.
    pub reserve_bytes: u64,
    /// Bandwidth of the memory.
    pub bandwidth_bytes_per_s: f64,
    /// Dense operations per second, with products accumulated in f32 (int8: in i32).
    pub peak_flops: Peaks,
}

/// Peaks by number format; absent where the board has no such unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peaks {
    /// Without tensor cores: engines compute f32 products exactly unless `build.flags.tf32` is set.
    pub f32: f64,
    /// Tensor cores.
    pub f16: f64,
    /// Tensor cores.
    pub bf16: f64,
    /// Tensor cores.
    #[serde(default)]
    pub fp8: Option<f64>,
    /// Tensor cores.
    #[serde(default)]
    pub int8: Option<f64>,
}

/// What bounds a time from below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RooflineBound {
    /// Memory: bytes over bandwidth is longer.
    Memory,
    /// Compute: operations over peak is longer.
    Compute,
}

/// A lower bound of a time: the longer of two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    /// Bytes over bandwidth, seconds.
    pub memory_s: f64,
    /// Operations over peak, seconds.
    pub compute_s: f64,
}

impl Floor {
    /// Seconds.
    pub fn seconds(self) -> f64 {
        self.memory_s.max(self.compute_s)
    }

    /// Which of the two is longer.
    pub fn bound(self) -> RooflineBound {
        if self.memory_s >= self.compute_s { RooflineBound::Memory } else { RooflineBound::Compute }
    }
}

impl Boards {
    /// Parses and checks the text of `boards.yaml`.
    ///
    /// # Errors
    /// `Config`: not YAML, an unknown or missing key, a number out of range.
    pub fn parse(text: &str) -> Result<Self> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let boards: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|e| Error::new(ErrorKind::Config, "boards cannot be read").caused_by(e))?;
        boards.boards.iter().try_for_each(|(name, board)| board.check().map_err(|e| e.at(format!("boards.{name}"))))?;
        Ok(boards)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.boards.keys().map(String::as_str)
    }

    /// The board called `name`.
    ///
    /// # Errors
    /// `Config`, with the names that there are.
    pub fn get(&self, name: &str) -> Result<&Board> {
        self.boards.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::new(ErrorKind::Config, "no such board")
                .at("--target")
                .got(format!("{name:?}"))
                .wanted(format!("one of {}", names.join(", ")))
        })
    }
}

impl Board {
    fn check(&self) -> Result<()> {
        let bad = |key: &str, got: String, wanted: &str| Err(Error::new(ErrorKind::Config, "out of range").at(key).got(got).wanted(wanted));
        if !(1..=1 << 50).contains(&self.memory_bytes) {
            return bad("memory_bytes", self.memory_bytes.to_string(), "1 to 2^50");
        }
        if self.reserve_bytes >= self.memory_bytes {
            return bad("reserve_bytes", self.reserve_bytes.to_string(), "less than `memory_bytes`");
        }
        let rate = |key: &str, value: f64| {
            if value.is_finite() && value >= 1e6 { Ok(()) } else { bad(key, value.to_string(), "a rate per second, at least 1e6") }
        };
        rate("bandwidth_bytes_per_s", self.bandwidth_bytes_per_s)?;
        Number::ALL.iter().try_for_each(|&number| self.peak(number).map_or(Ok(()), |peak| rate(&format!("peak_flops.{number}"), peak)))
    }

    /// Bytes of memory that the plan may use.
    pub fn room_bytes(&self) -> u64 {
        self.memory_bytes - self.reserve_bytes
    }

    /// Operations per second in `number`; none where the board has no such unit.
    pub fn peak(&self, number: Number) -> Option<f64> {
        let Peaks { f32, f16, bf16, fp8, int8 } = self.peak_flops;
        match number {
            Number::F32 => Some(f32),
            Number::F16 => Some(f16),
            Number::Bf16 => Some(bf16),
            Number::Fp8 => fp8,
            Number::Int8 => int8,
        }
    }

    /// The lower bound of the time for `work` with products in `number`.
    ///
    /// # Errors
    /// `Config` when the board has no such unit.
    pub fn floor(&self, work: PassCost, number: Number) -> Result<Floor> {
        let peak = self.peak(number).ok_or_else(|| {
            let has: Vec<&str> = Number::ALL.iter().filter(|n| self.peak(**n).is_some()).map(|n| n.as_str()).collect();
            Error::new(ErrorKind::Config, "the board has no unit for this precision")
                .at(self.product.clone())
                .got(number)
                .wanted(format!("one of {}", has.join(", ")))
        })?;
        Ok(Floor { memory_s: work.bytes() as f64 / self.bandwidth_bytes_per_s, compute_s: work.flops / peak })
    }
}
