//! What the memory's kernels are told: the structs of `kernels/kv.cuh`.

use super::super::Address;
use super::limits::MOST_LAYERS;
use bytemuck::{Pod, Zeroable};

/// `Part` of `kv.cuh`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Part {
    pub(super) pass_k: [u32; MOST_LAYERS],
    pub(super) pass_v: [u32; MOST_LAYERS],
    pub(super) pass_q: [u32; MOST_LAYERS],
    pub(super) inverse_new: Address,
    pub(super) partial: Address,
    pub(super) destinations: Address,
    pub(super) seed: u64,
    pub(super) pass_tokens: u32,
    pub(super) first: u32,
    pub(super) fresh: u32,
    pub(super) base: u32,
    pub(super) size: u32,
    pub(super) count: u32,
    pub(super) policy: u32,
    pub(super) in_order: u32,
    pub(super) predicted: u32,
    pub(super) is_action: u32,
    pub(super) tiles: u32,
    pub(super) reserved: u32,
}

/// `Kv` of `kv.cuh`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Params {
    pub(super) arena: Address,
    pub(super) mem_k: [u32; MOST_LAYERS],
    pub(super) mem_v: [u32; MOST_LAYERS],
    pub(super) parts: [Part; 2],
    pub(super) bias: Address,
    pub(super) table: Address,
    pub(super) inverse: Address,
    pub(super) turns: Address,
    pub(super) stays: Address,
    pub(super) state: Address,
    pub(super) chunk: Address,
    pub(super) layers: u32,
    pub(super) heads: u32,
    pub(super) width: u32,
    pub(super) sets: u32,
    pub(super) slots: u32,
    pub(super) ahead: u32,
    pub(super) choosers: u32,
    pub(super) stages: u32,
    pub(super) counts: [u32; 3],
    pub(super) lambda: f32,
    pub(super) softmax: u32,
    pub(super) reach: u32,
    pub(super) scored_new: u32,
    pub(super) max_age_chunks: u32,
    pub(super) columns: u32,
    pub(super) action_tokens: u32,
    pub(super) time_pairs: u32,
    pub(super) height_pairs: u32,
}

/// `kv.cuh` says the same of its own.
const _: () = assert!(size_of::<Part>() == 848 && size_of::<Params>() == 2352);

impl Part {
    /// Scored tokens.
    pub(super) fn scored(&self, scored_new: u32) -> u32 {
        self.count + if scored_new == 0 { 0 } else { self.fresh }
    }
}

/// `Policy` of `kv.cuh`. A pool that forgets nothing is told it is the first.
pub(super) const FIFO: u32 = 0;
pub(super) const SELECTIVE: u32 = 1;
pub(super) const RANDOM: u32 = 2;
pub(super) const FORCED: u32 = 3;

/// `Slot` of `kv.cuh`, field by field.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Row {
    pub(super) chunk: u32,
    pub(super) token: u32,
    pub(super) flags: u32,
    pub(super) score: f32,
}

pub(super) const VALID: u32 = 1;
pub(super) const PREDICTED: u32 = 2;
