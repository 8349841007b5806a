//! `lanes:` rollouts that run side by side, each a part of a chunk after the one before.

use crate::dims::Model;
use crate::error::{Error, ErrorKind, Result};
use crate::ranges::within;
use serde::{Deserialize, Serialize};

/// `lanes:` how many rollouts run side by side. A lane is a rollout with a KV memory, a codec cache
/// and a frame grid of its own; the lanes share weights and work space, and one of them computes at
/// a time. With `count` lanes a new plan is ready `count` times a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanesConfig {
    /// The number of lanes. A chunk divided by it must be whole milliseconds. The camera must
    /// deliver a frame for each lane's grid: with 8 lanes of 4 s, every 0.5 s.
    pub count: usize,
    /// Which answers of the language model a lane reads.
    pub guidance: LaneGuidance,
}

/// Which answers of the language model a lane reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneGuidance {
    /// The model is asked once a chunk, by the first lane, and every lane reads its newest answer.
    Shared,
    /// Every lane asks about each of its chunks, and reads the answers to its own questions.
    PerLane,
}

impl Default for LanesConfig {
    fn default() -> Self {
        Self { count: 1, guidance: LaneGuidance::Shared }
    }
}

impl LanesConfig {
    pub(super) fn check(&self, model: &Model) -> Result<()> {
        within("lanes.count", self.count, 1, 32)?;
        let chunk_ns = model.chunk_ns();
        if chunk_ns % (self.count as i64 * 1_000_000) != 0 {
            return Err(Error::new(ErrorKind::Config, "the lanes do not divide the chunk into whole milliseconds")
                .at("lanes.count")
                .got(self.count)
                .wanted(format!("a divisor of the chunk's {} ms", chunk_ns / 1_000_000)));
        }
        Ok(())
    }
}
