//! Limits of the memory's kernels. Shapes beyond them are refused in Warm.

use crate::kv::KvLayout;
use drivewam_core::config::MemoryPolicy;
use drivewam_core::dtype::DType;
use drivewam_core::selection::{Keys, Scored};
use drivewam_core::{Error, ErrorKind, Result};

/// `MAX_LAYERS` of `kv.cuh`.
pub(super) const MAX_LAYERS: usize = 64;
/// Of `score_block.cuh`: keys of a tile, and the maximal tiles of a warp and warps of a block.
const TILE: usize = 16;
const WARP_TILES: usize = 5;
const MAX_WARPS: usize = 8;
/// Largest number of tokens that `score.cu` scores.
pub(super) const MAX_SCORED: usize = MAX_WARPS * WARP_TILES * TILE;
/// Queries of a block of `score.cu`: with tensor cores, and without.
pub(super) const QUERIES: [usize; 2] = [40, 16];
/// The widest head, and the stride of query rows in shared memory, with tensor cores.
const MAX_WIDTH: usize = 192;
const QUERY_STRIDE: usize = 224;
/// Columns of a step of `score.cu`.
const COLUMNS: usize = 32;
/// Numbers of stages that the ring of `score_tensor.cuh` supports, largest first.
const STAGES: [usize; 3] = [4, 2, 1];
/// Threads of a block of `decide`, `scatter` and `drop`. At the paper's shape each thread has one
/// 16-byte piece of a token's key.
pub(super) const THREADS: u32 = 384;
/// Largest pool that `select.cuh` selects from: four slots for each thread.
const MAX_SLOTS: usize = 4 * THREADS as usize;

pub(super) fn narrow(n: usize) -> Result<u32> {
    u32::try_from(n)
        .map_err(|e| Error::new(ErrorKind::Capacity, "the memory is larger than its kernels can count").at("memory").got(n).caused_by(e))
}

/// The largest pool that the kernels can select from under the layout's policy.
pub(super) fn max_slots(layout: &KvLayout) -> usize {
    match layout.policy {
        MemoryPolicy::Full => usize::MAX,
        MemoryPolicy::Fifo => MAX_SLOTS,
        MemoryPolicy::Selective if layout.scoring.scored == Scored::PoolAndNew => MAX_SCORED.saturating_sub(layout.pass_tokens),
        MemoryPolicy::Selective => MAX_SCORED,
    }
}

/// Checks that the kernels support the layout on a GPU whose blocks may request `max_shared` bytes
/// of shared memory.
pub(super) fn check(layout: &KvLayout, max_shared: usize) -> Result<()> {
    let refused = |key: &str, got: usize, wanted: String| {
        Err(Error::new(ErrorKind::Capacity, "the CUDA kernels do not support this shape").at(key).got(got).wanted(wanted))
    };
    if layout.layers > MAX_LAYERS {
        return refused("model.layers", layout.layers, format!("at most {MAX_LAYERS}"));
    }
    if !layout.head_dim.is_multiple_of(COLUMNS) || layout.head_dim > MAX_WIDTH {
        return refused("model.head_dim", layout.head_dim, format!("a multiple of {COLUMNS}, at most {MAX_WIDTH}"));
    }
    let shared = [false, true].map(|tensor| score_shared_bytes(tensor, layout.head_dim, MAX_SCORED, 1)).into_iter().max().unwrap_or(0);
    if shared > max_shared {
        return refused("device", max_shared, format!("{shared} bytes of shared memory for a block"));
    }
    let jobs = layout.layers * layout.scoring.sets(layout.heads);
    if jobs > 65_535 {
        return refused("model.heads", layout.heads, "at most 65535 layers and head sets".to_owned());
    }
    for (key, slots) in [("memory.video_slots", layout.video_slots), ("memory.action_slots", layout.action_slots)] {
        if slots > max_slots(layout) {
            return refused(key, slots, format!("at most {} under policy {:?}", max_slots(layout), layout.policy));
        }
    }
    Ok(())
}

/// Checks that the kernels can select from a pool of `count` tokens. Warm checks the layout's own
/// policy alone; a commit may name another.
pub(super) fn fits(layout: &KvLayout, count: usize, scores: bool, new_tokens: usize) -> Result<()> {
    let scored = if layout.scoring.scored == Scored::PoolAndNew { count + new_tokens } else { count };
    let (got, max) = if scores { (scored, MAX_SCORED) } else { (count, MAX_SLOTS) };
    if got > max {
        return Err(Error::new(
            ErrorKind::Capacity,
            "the CUDA kernels cannot select from so many tokens under this policy; the memory was opened for another",
        )
        .at("memory.policy")
        .got(got)
        .wanted(format!("at most {max}")));
    }
    Ok(())
}

/// Warps of a block of `score.cu` for a pool of `scored` tokens: one for each tile while there are
/// few, rounded up to a multiple of the four schedulers of an SM.
pub(super) fn warps(scored: usize) -> usize {
    scored.div_ceil(TILE).next_multiple_of(4).min(MAX_WARPS)
}

/// Shared memory of such a block, bytes. With tensor cores (`tensor`): a ring of keys, their
/// weights, the queries of two heads, and the sum of unit keys in parts. Without: the queries of
/// one head and the sum. In both cases also a sum and the peaks of each warp, and the peaks over
/// all warps.
pub(super) fn score_shared_bytes(tensor: bool, width: usize, scored: usize, stages: usize) -> usize {
    let (queries, warps) = (QUERIES[usize::from(!tensor)], warps(scored));
    let operands = if tensor {
        scored.div_ceil(TILE) * TILE * (stages * COLUMNS * 2 + 4) + 2 * queries * QUERY_STRIDE * 2 + 8 * COLUMNS * 2
    } else {
        queries * (width * 4 + 16) + COLUMNS * 4
    };
    operands + warps * COLUMNS * 4 + (warps + 1) * queries * 4
}

/// Stages of the ring: steps whose keys a block holds, as many as fit into `max_shared` bytes. The
/// copy of a head's queries starts with the second step of the previous head and is complete with
/// that step's keys: no later than the head begins. So a ring has at most as many stages as a head
/// has steps.
pub(super) fn stages(width: usize, scored: usize, max_shared: usize) -> usize {
    let fits = |n: &usize| *n <= width / COLUMNS && score_shared_bytes(true, width, scored, *n) <= max_shared;
    STAGES.into_iter().find(fits).unwrap_or(1)
}

/// Whether tensor cores multiply the keys.
pub(super) fn uses_tensor_cores(layout: &KvLayout, dtype: DType) -> bool {
    dtype != DType::F32 && layout.scoring.keys == Keys::PostRope
}
