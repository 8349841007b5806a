//! The passes of a chunk, and the cost of each: the operations of its products, and the bytes that
//! it must read or write.

use super::{Number, parameters};
use crate::config::{ActionStart, Config, PassPacking, VideoCommit};
use crate::dims::Model;

/// The cost of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PassCost {
    /// The floating-point operations of all products. A float, so that no configuration overflows
    /// it; exact below 2^53.
    pub flops: f64,
    /// The bytes of the weights, each read once.
    pub weight_bytes: u64,
    /// The bytes of the cached rows, each counted once: keys and values that are read, and keys,
    /// values and queries that are written.
    pub cache_bytes: u64,
}

impl PassCost {
    /// The bytes of weights and cached rows.
    pub fn bytes(self) -> u64 {
        self.weight_bytes + self.cache_bytes
    }
}

/// A kind of pass of `dit`, and how often a chunk runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The purpose of the pass, for reports.
    pub name: &'static str,
    /// How often a chunk runs the pass.
    pub count: u64,
    /// N, the number of tokens.
    pub tokens: u64,
}

/// The `dit` passes of a chunk, in the order in which the ride's sampler runs them.
pub fn chunk(config: &Config) -> Vec<Pass> {
    let (model, flow) = (&config.model, &config.flow);
    let (nv, na) = (model.video_tokens() as u64, model.action_tokens() as u64);
    let samples = if let ActionStart::Mean(n) = flow.action.start { n } else { 1 };
    let actions = (samples * flow.action.steps) as u64;
    let commits = flow.video_commit != VideoCommit::LastStep;
    let pass = |name, count, tokens| Pass { name, count, tokens };
    let video = pass("video step", flow.video.steps as u64, nv);
    let mut passes = match (flow.passes, commits) {
        (PassPacking::Packed, true) => vec![
            pass("observe, packed", 1, nv + na),
            video,
            pass("first action step with the video's commit, packed", 1, nv + na),
            pass("action step", actions - 1, na),
        ],
        (PassPacking::Packed, false) => vec![pass("observe, packed", 1, nv + na), video, pass("action step", actions, na)],
        (PassPacking::Unpacked, _) => vec![
            pass("observe video", 1, nv),
            pass("observe action", 1, na),
            video,
            pass("the video's commit", u64::from(commits), nv),
            pass("action step", actions, na),
        ],
    };
    passes.retain(|pass| pass.count > 0);
    passes
}

/// The operations of a product of `[rows, from]` and `[from, to]`.
pub(super) fn product(rows: u64, from: u64, to: u64) -> f64 {
    2.0 * rows as f64 * from as f64 * to as f64
}

impl Pass {
    /// The cost of one such pass over `slots` memory slots. Free slots count too, since an engine
    /// reads all slots that it is bound to.
    ///
    /// Counted for each row: both embedders and both heads, whose results are blended; in each
    /// layer eight products with `[d, d]` matrices, the feed-forward part, and attention over
    /// memory and pass, text, and ego. Counted once for each stream: the embedder of the flow time,
    /// for one row.
    pub fn work(&self, model: &Model, slots: u64, number: Number) -> PassCost {
        let (n, d, layers) = (self.tokens, model.dim as u64, model.layers as u64);
        let (video, action, hidden) = (model.video_channels() as u64, model.action.channels as u64, model.action_hidden_dim as u64);
        let (text, ego) = (model.text_rows() as u64, model.ego.tokens as u64);
        let embed = product(n, video, d) + product(n, action, hidden) + product(n, hidden, d);
        let head = product(n, d, video) + product(n, d, hidden) + product(n, hidden, action);
        let time = product(1, model.freq_dim as u64, d) + product(1, d, d) + product(1, d, 6 * d);
        let layer = 8.0 * product(n, d, d) + 2.0 * product(n, d, model.ffn_dim as u64) + attention(n, slots + n + text + ego, d);
        PassCost {
            flops: embed + head + 2.0 * time + layers as f64 * layer,
            weight_bytes: parameters::dit(model).bytes(number),
            cache_bytes: layers * d * (2 * (slots + text + ego) + 3 * n) * number.cached().bytes() as u64,
        }
    }
}

/// The operations of attention of `queries` over `keys` of width `d`, all heads together.
pub(super) fn attention(queries: u64, keys: u64, d: u64) -> f64 {
    4.0 * queries as f64 * keys as f64 * d as f64
}

/// The cost of `context_text`, which runs once for each new text.
pub fn text_work(model: &Model, number: Number) -> PassCost {
    let (rows, d, layers) = (model.text_rows() as u64, model.dim as u64, model.layers as u64);
    PassCost {
        flops: product(rows, model.text.dim as u64, d) + product(rows, d, d) + 2.0 * layers as f64 * product(rows, d, d),
        weight_bytes: parameters::context_text(model).bytes(number),
        cache_bytes: 2 * layers * rows * d * number.cached().bytes() as u64,
    }
}

/// The cost of `context_ego`, which runs once in a chunk.
pub fn ego_work(model: &Model, number: Number) -> PassCost {
    let (rows, d, layers) = (model.ego.tokens as u64, model.dim as u64, model.layers as u64);
    let hidden = model.ego_hidden_dim as u64;
    PassCost {
        flops: product(1, model.ego.features.len() as u64, hidden)
            + product(1, hidden, rows * d)
            + 2.0 * layers as f64 * product(rows, d, d),
        weight_bytes: parameters::context_ego(model).bytes(number),
        cache_bytes: 2 * layers * rows * d * number.cached().bytes() as u64,
    }
}
