//! A board as its data sheet describes it, and the least time that work takes on it.

use super::{Number, PassCost};
use crate::error::{Error, ErrorKind, Result};
use crate::excerpt::one_line;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `configs/target/boards.yaml`: boards, by the name that `--target` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boards {
    boards: BTreeMap<String, Board>,
}

/// One board. Rates are the peaks of the data sheet at its clock. Most work runs slower, and a card
/// that boosts above that clock can exceed them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The name of the product.
    pub product: String,
    /// The memory that the GPU computes in, bytes.
    pub memory_bytes: u64,
    /// Whether the CPU uses the same memory.
    pub shared: bool,
    /// The part of the memory that a plan leaves to other uses, bytes.
    pub reserve_bytes: u64,
    /// The bandwidth of that memory, bytes per second.
    pub bandwidth_bytes_per_s: f64,
    /// Dense operations per second, with products accumulated in f32 (int8: in i32).
    pub peak_flops: Peaks,
}

/// Peak rates by type of number. Absent where the board has no unit for the type.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peaks {
    /// Without tensor cores, because the engines of this project compute f32 products exactly
    /// unless `build.flags.tf32` is set.
    pub f32: f64,
    /// On tensor cores.
    pub f16: f64,
    /// On tensor cores.
    pub bf16: f64,
    /// On tensor cores.
    #[serde(default)]
    pub fp8: Option<f64>,
    /// On tensor cores.
    #[serde(default)]
    pub int8: Option<f64>,
}

/// What bounds the least time of some work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RooflineBound {
    /// The memory: bytes over bandwidth is the longer time.
    Memory,
    /// The computation: operations over peak is the longer time.
    Compute,
}

/// The least time for some work: the longer of two times (the roofline model).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    /// Bytes over bandwidth, s.
    pub memory_s: f64,
    /// Operations over peak, s.
    pub compute_s: f64,
}

impl Floor {
    /// The least time, s.
    pub fn seconds(self) -> f64 {
        self.memory_s.max(self.compute_s)
    }

    /// Which of the two times is the longer.
    pub fn bound(self) -> RooflineBound {
        if self.memory_s >= self.compute_s { RooflineBound::Memory } else { RooflineBound::Compute }
    }
}

impl Boards {
    /// Parses and checks the text of `boards.yaml`.
    ///
    /// # Errors
    /// `Config` for text that is not YAML, an unknown or missing key, or a number out of range.
    pub fn parse(text: &str) -> Result<Self> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let boards: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|e| Error::new(ErrorKind::Config, "boards cannot be read").caused_by(one_line(e)))?;
        boards.boards.iter().try_for_each(|(name, board)| board.check().map_err(|e| e.at(format!("boards.{name}"))))?;
        Ok(boards)
    }

    /// The names of the boards, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.boards.keys().map(String::as_str)
    }

    /// The board called `name`.
    ///
    /// # Errors
    /// `Config` when there is none; the message lists the names.
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

    /// The part of the memory that a plan may use, bytes.
    pub fn room_bytes(&self) -> u64 {
        self.memory_bytes - self.reserve_bytes
    }

    /// The peak rate in `number`, operations per second. `None` where the board has no such unit.
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

    /// The least time for `work`, with products in `number`.
    ///
    /// # Errors
    /// `Config` when the board has no unit for `number`.
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
