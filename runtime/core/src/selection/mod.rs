//! The selection of the tokens that a full pool forgets when a new chunk arrives. This is the
//! reference implementation that every faster backend is compared with.
//!
//! The selection runs for each layer and each pool m (video, action), with old keys `H_k` (here:
//! the valid slots), queries `Q_k` and budget B (here: the slots of the pool). The paper keeps
//! `H_{k+1} = Top_{B - |new|}(H_k) ∪ new` by the score `s_j = λ ρ_j - (1 - λ) η_j`, where ρ is the
//! relevance of a token and η its redundancy. The new chunk is always kept whole.
//!
//! The inputs are keys, queries and a slot table; the outputs are scores and the slots that the new
//! tokens overwrite. A *set* is one run of the selection: the whole layer under `heads: shared`,
//! one head under `heads: per_head`.

pub mod policy;
pub mod score;
pub mod slots;

pub use policy::{Policy, destinations};
pub use score::{HeadRows, ScoreInputs, has_direction, score, scratch_len};
pub use slots::{Provenance, Slot, SlotTable};

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// `memory.scoring:` how `selective` scores. The default is the literal reading of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scoring {
    /// λ, the weight of relevance against redundancy, 0 to 1: a token's score is
    /// `λ·relevance − (1 − λ)·redundancy`, and the lowest score is forgotten first.
    pub lambda: f32,
    /// Whether all heads of a layer forget the same tokens.
    pub heads: HeadSets,
    /// How relevance and redundancy are normalised before they are combined.
    pub normalise: Normalise,
    /// Which keys and queries are scored.
    pub keys: Keys,
    /// The kernel size of a maximum of the relevance over neighbouring tokens of one chunk: an odd
    /// number, or 0 for none. FlowCache takes 7.
    pub max_pool: u32,
    /// Which tokens the softmax of the relevance and the mean of the redundancy run over.
    pub scored: Scored,
    /// Tokens more than this many chunks older than the new chunk are forgotten before all others.
    /// `0`: no limit, as in the paper, which drives for 75 chunks. Redundancy keeps unusual keys
    /// for ever; an hour later they are farther away than any key in training.
    pub max_age_chunks: u32,
}

/// The score of a token that is too old. It is finite, and below the score of every other
/// token.
pub const TOO_OLD: f32 = f32::MIN;

/// Whether all heads of a layer forget the same tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadSets {
    /// One score for each token: dot products over the whole hidden width, d = H·D.
    #[default]
    Shared,
    /// One score for each token and head: dot products over the head width, d = D. Each head has
    /// its own slots.
    PerHead,
}

/// How each term is normalised before the terms are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Not at all.
    #[default]
    Literal,
    /// A softmax over the tokens, for each of the two terms, as in FlowCache.
    Softmax,
}

/// Which keys and queries are scored. The arithmetic is the same: the caller passes the selected
/// ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// As the cache holds them, after the rotary embedding.
    #[default]
    PostRope,
    /// Before the rotary embedding.
    PreRope,
}

/// Which tokens the softmax of ρ and the mean of η run over. In either case only old tokens can be
/// forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scored {
    /// The valid slots of the old pool.
    #[default]
    Pool,
    /// The valid slots of the old pool, and the new chunk.
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
    /// Checks that the numbers are in range.
    ///
    /// # Errors
    /// `Config`, with the key.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.lambda) {
            return Err(Error::new(ErrorKind::Config, "out of range").at("lambda").got(self.lambda).wanted("0 to 1"));
        }
        if self.max_pool != 0 && self.max_pool.is_multiple_of(2) {
            return Err(Error::new(ErrorKind::Config, "not a kernel size").at("max_pool").got(self.max_pool).wanted("0 or an odd number"));
        }
        Ok(())
    }

    /// Whether a token of chunk `old` is too old for a pool that receives chunk `new`.
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

    /// The heads of set `set`, in a layer with `heads` heads.
    pub fn heads_of(&self, set: usize, heads: usize) -> std::ops::Range<usize> {
        match self.heads {
            HeadSets::Shared => 0..heads,
            HeadSets::PerHead => set..set + 1,
        }
    }
}

#[cfg(test)]
mod tests;
