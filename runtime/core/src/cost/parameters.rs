//! The number of parameters of each graph. No other code counts them.
//!
//! The layers are those of `export/drivewam_export/model`; a test compares the counts with the
//! shipped files. A weight belongs to one file (`belongs` in
//! `export/drivewam_export/onnx_graphs/graphs.py`): to that of `dit`, or to that of the context,
//! which both context graphs read.

use super::Number;
use crate::dims::Model;
use std::ops::Add;

/// The number of parameters of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// All parameters.
    pub all: u64,
    /// The parameters that stay f32 in every export: gains and offsets of norms, modulation tables,
    /// the embedder of the flow time (`ISLANDS` in
    /// `export/drivewam_export/onnx_graphs/precision.py`).
    pub single: u64,
}

impl Count {
    /// The size in bytes, when the other parameters are stored as `number`.
    pub fn bytes(self, number: Number) -> u64 {
        (self.all - self.single) * number.bytes() + self.single * Number::F32.bytes()
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { all: self.all + other.all, single: self.single + other.single }
    }
}

/// The parameters of a linear layer with its bias.
fn linear(from: u64, to: u64) -> u64 {
    from * to + to
}

/// The parameters of `dit`: embedders, heads, and blocks. The keys and values of the context are
/// not among them.
pub fn dit(model: &Model) -> Count {
    let (d, layers) = (model.dim as u64, model.layers as u64);
    let (video, action) = (model.video_channels() as u64, model.action.channels as u64);
    let (hidden, ffn) = (model.action_hidden_dim as u64, model.ffn_dim as u64);
    let streams = 2;
    let time_embedder = linear(model.freq_dim as u64, d) + linear(d, d);
    // Queries, keys, values and output of self-attention; queries and output of text attention and
    // of ego attention; feed-forward.
    let products = 8 * linear(d, d) + linear(d, ffn) + linear(ffn, d);
    // norm_q and norm_k of self-attention, norm_q of text and of ego attention; gain and offset of
    // two norms; six modulations.
    let single = 4 * d + 4 * d + 6 * d;
    let embed = linear(video, d) + linear(action, hidden) + linear(hidden, d);
    let heads = linear(d, video) + linear(d, hidden) + linear(hidden, action);
    let single = layers * single + 2 * d + streams * time_embedder;
    Count { all: single + layers * products + embed + heads + streams * linear(d, 6 * d), single }
}

/// The parameters that `context_text` reads.
pub fn context_text(model: &Model) -> Count {
    let d = model.dim as u64;
    cross(model) + Count { all: linear(model.text.dim as u64, d) + linear(d, d), single: 0 }
}

/// The parameters that `context_ego` reads.
pub fn context_ego(model: &Model) -> Count {
    let (d, hidden) = (model.dim as u64, model.ego_hidden_dim as u64);
    let embedder = linear(model.ego.features.len() as u64, hidden) + linear(hidden, model.ego.tokens as u64 * d);
    cross(model) + Count { all: embedder, single: 0 }
}

/// The parameters of the keys and values of one kind of context, in every layer.
fn cross(model: &Model) -> Count {
    let (d, layers) = (model.dim as u64, model.layers as u64);
    Count { all: layers * (2 * linear(d, d) + d), single: layers * d }
}
