//! Table 5 of the paper, computed from its own definitions: "KV memory summed over all DiT layers"
//! and "attention GFLOPs of one causal self-attention layer".
//!
//! The paper does not say which step the operations belong to, whether the chunk in flight counts,
//! or how long a "full" memory is. So a [`Reading`] names its queries and keys, and the study shows
//! several readings.

use super::pass::{attention, product};
use crate::dims::Model;
use crate::dtype::DType;

/// The bytes of the key and the value of one token, summed over all layers.
pub fn bytes_per_token(model: &Model, cached: DType) -> u64 {
    2 * model.layers as u64 * model.dim as u64 * cached.bytes() as u64
}

/// The rows of a step, and the rows of their own chunk that they attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table5Step {
    /// Nv rows. They attend to the pool and to one another.
    Video,
    /// Na rows. They attend to the pool, to the predicted video in flight, and to one another.
    Action,
    /// Nv rows over the pool and a whole chunk, Nv + Na. The only simple count that gives the
    /// paper's 1.05 for its 608 tokens.
    VideoOverChunk,
}

/// The self-attention of one step in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The number of query rows.
    pub queries: u64,
    /// The number of key rows, each counted once. Empty slots are not counted, though an engine
    /// computes them.
    pub keys: u64,
    /// The hidden width.
    width: u64,
}

impl Reading {
    /// The reading of `step`, with `pool` tokens in memory.
    pub fn of(model: &Model, step: Table5Step, pool: u64) -> Self {
        let (nv, na) = (model.video_tokens() as u64, model.action_tokens() as u64);
        let (queries, own) = match step {
            Table5Step::Video => (nv, nv),
            Table5Step::Action => (na, nv + na),
            Table5Step::VideoOverChunk => (nv, nv + na),
        };
        Self { queries, keys: pool + own, width: model.dim as u64 }
    }

    /// The operations of the scores and of the sum of values.
    pub fn flops(self) -> f64 {
        attention(self.queries, self.keys, self.width)
    }
}

/// The operations of one selection in one layer, over `pools` of (queries, scored keys).
///
/// Relevance is a product of every query with every key. Redundancy is a sum of unit keys, and a
/// product of each key with that sum: a norm, a division, an addition and the product, 6 operations
/// for each number.
pub fn selection_flops(model: &Model, pools: [(u64, u64); 2]) -> f64 {
    let width = model.dim as u64;
    pools.iter().map(|&(queries, keys)| product(queries, width, keys) + 6.0 * keys as f64 * width as f64).sum()
}
