//! Table 5 of the paper: "KV memory summed over all DiT layers" and "attention GFLOPs of one causal
//! self-attention layer".
//!
//! The paper does not say which step the operations belong to, whether the chunk in flight counts,
//! or how many chunks "full" means. So a [`Reading`] states its queries and keys, and the study
//! shows several.

use super::pass::{attention, product};
use crate::dims::Model;
use crate::dtype::DType;

/// Bytes of one token's key and value, summed over all layers.
pub fn bytes_per_token(model: &Model, cached: DType) -> u64 {
    2 * model.layers as u64 * model.dim as u64 * cached.bytes() as u64
}

/// The rows of a step, and what they see of their own chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table5Step {
    /// Nv rows that see the pool and one another.
    Video,
    /// Na rows that see the pool, the predicted video in flight, and one another.
    Action,
    /// Nv rows over the pool and a whole chunk, Nv + Na: the only simple count that gives the
    /// paper's 1.05 for 608 tokens.
    VideoOverChunk,
}

/// Operations of one step's self-attention in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Number of queries.
    pub queries: u64,
    /// Number of keys. Empty slots do not count, although an engine computes them.
    pub keys: u64,
    /// Hidden width.
    width: u64,
}

impl Reading {
    /// The reading of `step` with `pool` tokens in memory.
    pub fn of(model: &Model, step: Table5Step, pool: u64) -> Self {
        let (nv, na) = (model.video_tokens() as u64, model.action_tokens() as u64);
        let (queries, own) = match step {
            Table5Step::Video => (nv, nv),
            Table5Step::Action => (na, nv + na),
            Table5Step::VideoOverChunk => (nv, nv + na),
        };
        Self { queries, keys: pool + own, width: model.dim as u64 }
    }

    /// Operations of scores and of the weighted sum of values.
    pub fn flops(self) -> f64 {
        attention(self.queries, self.keys, self.width)
    }
}

/// Operations of one selection in one layer, over `pools` of (queries, scored keys). Relevance is a
/// product of every query with every key. Redundancy is a sum of unit keys and a product of each
/// key with it: norm, division, addition and product take 6 operations per element.
pub fn selection_flops(model: &Model, pools: [(u64, u64); 2]) -> f64 {
    let width = model.dim as u64;
    pools.iter().map(|&(queries, keys)| product(queries, width, keys) + 6.0 * keys as f64 * width as f64).sum()
}
