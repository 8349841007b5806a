//! Selects the tokens of a full pool that a new chunk evicts. The reference for all devices.
//!
//! For each layer and pool (video, action), with old keys `H_k` (the valid slots), queries `Q_k`
//! and budget B (the slots of the pool), the paper keeps `H_{k+1} = Top_{B - |new|}(H_k) ∪ new` by
//! the score `s_j = λ ρ_j - (1 - λ) η_j`. The inputs are keys, queries and a slot table; the
//! results are scores and the slots that the new tokens overwrite. The new chunk is always kept
//! whole. A *set* is one run of the selection: a whole layer under `heads: shared`, one head under
//! `heads: per_head`.

pub mod policy;
pub mod score;
pub mod slots;

pub use policy::{Policy, destinations};
pub use score::{HeadRows, ScoreInputs, has_direction, score, scratch_len};
pub use slots::{Provenance, Slot, SlotTable};

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// `memory.scoring:` scoring under `selective`. The default is the paper's literal reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scoring {
    /// λ, the weight of relevance against redundancy. Default 0.07, 0 to 1.
    pub lambda: f32,
    /// Whether the heads of a layer share one selection. Default `shared`.
    pub heads: HeadSets,
    /// Normalisation of each term before they are combined. Default `literal`.
    pub normalise: Normalise,
    /// Which keys and queries are scored. Default `post_rope`.
    pub keys: Keys,
    /// Kernel size of the max pooling of ρ over neighbouring tokens of one chunk; odd, or 0 for
    /// none. Default 0; FlowCache uses 7.
    pub max_pool: u32,
    /// The tokens that the softmax of ρ and the mean of η run over. Default `pool`.
    pub scored: Scored,
    /// Tokens more than this many chunks older than the new one are evicted first; 0 for no limit.
    /// Default 0: the paper has no limit, and drives for 75 chunks. The redundancy term keeps
    /// unusual keys for ever; after an hour their positions are farther away than any in training.
    pub max_age_chunks: u32,
}

/// The score of a token beyond the age limit: below all others, and finite.
pub const TOO_OLD: f32 = f32::MIN;

/// Whether the heads of a layer share one selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadSets {
    /// One score per token: dot products over the whole hidden width, d = H·D.
    #[default]
    Shared,
    /// One score per token and head: d = D; each head has its own slots.
    PerHead,
}

/// Normalisation of each term before they are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// None.
    #[default]
    Literal,
    /// A softmax over tokens, of ρ and of η, as in FlowCache.
    Softmax,
}

/// Which keys and queries are scored. The caller passes them; the arithmetic is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// After the rotation, as in the cache.
    #[default]
    PostRope,
    /// Before the rotation.
    PreRope,
}

/// The tokens that the softmax of ρ and the mean of η run over. Only old tokens can be evicted,
/// either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scored {
    /// The valid slots of the old pool.
    #[default]
    Pool,
    /// Those, and the tokens of the new chunk.
    PoolAndNew,
}

impl Default for Scoring {
    fn default() -> Self {
        Self {
            lambda: 0.07,
            heads: HeadSets::Shared,
            normalise: Normalise::Literal,
            keys: Keys::PostRope,
            max_pool: 0,
            scored: Scored::Pool,
            max_age_chunks: 0,
        }
    }
}

impl Scoring {
    /// Proves that the values are in range.
    ///
    /// # Errors
    /// `Config`, with the key.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.lambda) {
            return Err(Error::new(ErrorKind::Config, "out of range").at("lambda").got(self.lambda).wanted("0 to 1"));
        }
        if self.max_pool != 0 && self.max_pool.is_multiple_of(2) {
            return Err(Error::new(ErrorKind::Config, "not a kernel").at("max_pool").got(self.max_pool).wanted("0 or an odd number"));
        }
        Ok(())
    }

    /// Whether a token of chunk `old` is beyond the age limit when chunk `new` arrives.
    pub fn is_too_old(&self, old: u32, new: u32) -> bool {
        self.max_age_chunks != 0 && new.saturating_sub(old) > self.max_age_chunks
    }

    /// Hs, the number of sets of a layer with `heads` heads: 1 or H.
    pub fn sets(&self, heads: usize) -> usize {
        match self.heads {
            HeadSets::Shared => 1,
            HeadSets::PerHead => heads,
        }
    }

    /// The heads of set `set`.
    pub fn heads_of(&self, set: usize, heads: usize) -> std::ops::Range<usize> {
        match self.heads {
            HeadSets::Shared => 0..heads,
            HeadSets::PerHead => set..set + 1,
        }
    }
}

#[cfg(test)]
mod tests;
