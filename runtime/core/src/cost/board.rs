//! A board by its data sheet, and the least time that work could take on it.

use super::{Number, PassCost};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `configs/target/boards.yaml`: boards by the name that `--target` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boards {
    boards: BTreeMap<String, Board>,
}

/// One board. Rates are peaks of the data sheet at its clock: most things run slower, and a card that boosts above that clock can beat them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The product's name.
    pub product: String,
    /// Memory that the GPU computes in.
    pub memory_bytes: u64,
    /// Whether the CPU lives in the same memory.
    pub shared: bool,
    /// What of it the plan leaves to others.
    pub reserve_bytes: u64,
    /// Of that memory.
    pub bandwidth_bytes_per_s: f64,
    /// Operations per second, dense, products accumulated in f32 (of int8: in i32).
    pub peak_flops: Peaks,
}

/// Peaks by type of number; absent where the board has no such unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peaks {
    /// Without tensor cores: the engines of this project keep f32 products exact unless `build.flags.tf32` says otherwise.
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

/// What a floor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RooflineBound {
    /// Bytes over bandwidth is the longer.
    Memory,
    /// Operations over peak is the longer.
    Compute,
}

/// The least time for some work: the longer of two.
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

    /// Which is the longer.
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

    /// Names, in order.
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

    /// What of the memory the plan may fill.
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

    /// The least time for `work` with products in `number`.
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
