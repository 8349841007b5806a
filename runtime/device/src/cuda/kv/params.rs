//! Parameters of the memory's kernels: the structs of `kernels/kv.cuh`.

use super::limits::MAX_LAYERS;
use crate::gpu::Address;
use bytemuck::{Pod, Zeroable};

/// `PoolParams` of `kv.cuh`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct PoolParams {
    pub(super) pass_k: [u32; MAX_LAYERS],
    pub(super) pass_v: [u32; MAX_LAYERS],
    pub(super) pass_q: [u32; MAX_LAYERS],
    pub(super) inv_norm_new: Address,
    pub(super) partial: Address,
    pub(super) destinations: Address,
    pub(super) seed: u64,
    pub(super) pass_tokens: u32,
    pub(super) first: u32,
    pub(super) new_tokens: u32,
    pub(super) slot_begin: u32,
    pub(super) slots: u32,
    pub(super) count: u32,
    pub(super) policy: u32,
    pub(super) in_order: u32,
    pub(super) predicted: u32,
    pub(super) is_action: u32,
    pub(super) tiles: u32,
    pub(super) reserved: u32,
}

/// `KvParams` of `kv.cuh`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct KvParams {
    pub(super) arena: Address,
    pub(super) mem_k: [u32; MAX_LAYERS],
    pub(super) mem_v: [u32; MAX_LAYERS],
    pub(super) pools: [PoolParams; 2],
    pub(super) bias: Address,
    pub(super) table: Address,
    pub(super) inv_norm: Address,
    pub(super) rope_step: Address,
    pub(super) keep_mask: Address,
    pub(super) state: Address,
    pub(super) chunk: Address,
    pub(super) layers: u32,
    pub(super) heads: u32,
    pub(super) width: u32,
    pub(super) sets: u32,
    pub(super) slots: u32,
    pub(super) chunk_offset: u32,
    pub(super) select_blocks: u32,
    pub(super) stages: u32,
    pub(super) counts: [u32; 3],
    pub(super) lambda: f32,
    pub(super) softmax: u32,
    pub(super) pool_radius: u32,
    pub(super) scored_new: u32,
    pub(super) max_age_chunks: u32,
    pub(super) columns: u32,
    pub(super) action_tokens: u32,
    pub(super) time_pairs: u32,
    pub(super) height_pairs: u32,
}

/// `kv.cuh` asserts the same sizes.
const _: () = assert!(size_of::<PoolParams>() == 848 && size_of::<KvParams>() == 2352);

impl PoolParams {
    /// Number of scored tokens.
    pub(super) fn scored(&self, scored_new: u32) -> u32 {
        self.count + if scored_new == 0 { 0 } else { self.new_tokens }
    }
}

/// `Policy` of `kv.cuh`. A pool that forgets nothing gets FIFO.
pub(super) const FIFO: u32 = 0;
pub(super) const SELECTIVE: u32 = 1;
pub(super) const RANDOM: u32 = 2;
pub(super) const FORCED: u32 = 3;

/// `Slot` of `kv.cuh`, field by field.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct SlotRow {
    pub(super) chunk: u32,
    pub(super) token: u32,
    pub(super) flags: u32,
    pub(super) score: f32,
}

pub(super) const VALID: u32 = 1;
pub(super) const PREDICTED: u32 = 2;
