//! The KV memory as callers see it: its shape, its regions, and the commits that change it.

use drivewam_core::arena::Region;
use drivewam_core::config::{Config, MemoryPolicy};
use drivewam_core::rope::RopeTable;
use drivewam_core::selection::{Policy, Scoring};
use std::ops::Range;

/// One of the two pools of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Video tokens.
    Video,
    /// Action tokens.
    Action,
}

/// The shape of the KV memory. Slots are ordered: video pool, action pool, in-flight tail.
#[derive(Debug, Clone, PartialEq)]
pub struct KvLayout {
    /// Number of layers, L.
    pub layers: usize,
    /// Number of heads, H.
    pub heads: usize,
    /// Width of a head, D.
    pub head_dim: usize,
    /// Slots of the video pool.
    pub video_slots: usize,
    /// Slots of the action pool.
    pub action_slots: usize,
    /// Slots of the in-flight tail, which holds predicted video until the observed commit.
    pub tail_slots: usize,
    /// Largest number of tokens of a pass (Nv + Na).
    pub pass_tokens: usize,
    /// The policy that the memory is opened for: it bounds the pool that a device can select from.
    pub policy: MemoryPolicy,
    /// How `selective` scores.
    pub scoring: Scoring,
    /// Maps a token's position to its rotation, which `keys: pre_rope` undoes.
    pub rope: RopeTable,
}

impl KvLayout {
    /// The memory of a configuration.
    pub fn of(config: &Config) -> Self {
        let model = &config.model;
        let (video_slots, action_slots, tail_slots) = config.slots();
        Self {
            layers: model.layers,
            heads: model.heads,
            head_dim: model.head_dim,
            video_slots,
            action_slots,
            tail_slots,
            pass_tokens: model.packed_tokens(),
            policy: config.memory.policy,
            scoring: config.memory.scoring,
            rope: RopeTable::new(model),
        }
    }

    /// Number of all slots, S.
    pub fn slots(&self) -> usize {
        self.video_slots + self.action_slots + self.tail_slots
    }

    /// The slots of `pool`.
    pub fn pool(&self, pool: Pool) -> Range<usize> {
        match pool {
            Pool::Video => 0..self.video_slots,
            Pool::Action => self.video_slots..self.video_slots + self.action_slots,
        }
    }

    /// The slots of the in-flight tail.
    pub fn tail(&self) -> Range<usize> {
        self.video_slots + self.action_slots..self.slots()
    }
}

/// The regions of the memory in the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvRegions {
    /// Keys, `[H, S, D]` per layer, all of one type: f32 on the host; f32, f16 or bf16 on a GPU.
    pub k: Vec<Region>,
    /// Values, of the same shape and type.
    pub v: Vec<Region>,
    /// `[S]` f32: 0 for a filled slot, [`drivewam_core::bindings::MASKED`] for an empty one. The
    /// device keeps it up to date.
    pub bias: Region,
}

/// Outputs of a transformer pass, `[H, N, D]` per layer, of the memory's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassKv {
    /// Number of tokens of the pass, N.
    pub tokens: usize,
    /// Keys after the rotation.
    pub k: Vec<Region>,
    /// Values.
    pub v: Vec<Region>,
    /// Queries after the rotation.
    pub q: Vec<Region>,
}

/// Rows of a pass that become observed tokens of one pool.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    /// The pool that takes the tokens.
    pub pool: Pool,
    /// Decides which tokens the pool forgets.
    pub policy: Policy<'a>,
    /// The pass that computed the tokens.
    pub pass: &'a PassKv,
    /// The tokens' rows in the pass.
    pub rows: Range<usize>,
}

/// Slots that hold a token. The host computes them: they are the same in every layer and head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvCounts {
    /// In the video pool.
    pub video: usize,
    /// In the action pool.
    pub action: usize,
    /// In the tail.
    pub tail: usize,
}

impl KvCounts {
    /// The count of a pool, mutable.
    pub(crate) fn of_mut(&mut self, pool: Pool) -> &mut usize {
        match pool {
            Pool::Video => &mut self.video,
            Pool::Action => &mut self.action,
        }
    }

    /// All filled slots: the memory keys that a query attends to.
    pub fn total(&self) -> usize {
        self.video + self.action + self.tail
    }
}
