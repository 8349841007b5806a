//! What the memory's kernels take: shapes beyond it are refused in Warm.

use crate::device::KvLayout;
use drivewam_core::config::MemoryPolicy;
use drivewam_core::dtype::DType;
use drivewam_core::selection::{Keys, Scored};
use drivewam_core::{Error, ErrorKind, Result};

/// `MOST_LAYERS` of `kv.cuh`.
pub(super) const MOST_LAYERS: usize = 64;
/// Keys of a tile of `score_block.cuh`, tiles of a warp, and warps of a block at most.
const TILE: usize = 16;
const WARP_TILES: usize = 5;
const MOST_WARPS: usize = 8;
/// Tokens that `score.cu` takes.
pub(super) const MOST_SCORED: usize = MOST_WARPS * WARP_TILES * TILE;
/// Queries of a block of `score.cu`, on tensor cores and without.
pub(super) const QUERIES: [usize; 2] = [40, 16];
/// The widest head, and how far the rows of queries lie apart for it, on tensor cores.
const MOST_WIDTH: usize = 192;
const QUERY_STRIDE: usize = 224;
/// Columns of a step.
const COLUMNS: usize = 32;
/// Steps of `score_tensor.cuh` whose keys a block may keep, the most first: it knows how to wait for these.
const STAGES: [usize; 3] = [4, 2, 1];
/// Threads of `decide`, `scatter` and `drop`: a piece of 16 bytes of a token's keys for each, at the paper's shape.
pub(super) const THREADS: u32 = 384;
/// Slots that `choose.cuh` takes: four for each thread.
const MOST_SLOTS: usize = 4 * THREADS as usize;

pub(super) fn narrow(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|e| Error::new(ErrorKind::Capacity, "a memory larger than its kernels count").at("memory").got(n).caused_by(e))
}

/// The largest pool that forgets under `policy`, for the layout's shape, and what bounds it.
pub(super) fn most_slots(layout: &KvLayout) -> usize {
    match layout.policy {
        MemoryPolicy::Full => usize::MAX,
        MemoryPolicy::Fifo => MOST_SLOTS,
        MemoryPolicy::Selective if layout.scoring.scored == Scored::PoolAndNew => MOST_SCORED.saturating_sub(layout.pass_tokens),
        MemoryPolicy::Selective => MOST_SCORED,
    }
}

/// Proves that the kernels take the layout, on a GPU whose blocks may share `most` bytes.
pub(super) fn check(layout: &KvLayout, most: usize) -> Result<()> {
    let refused = |key: &str, got: usize, wanted: String| {
        Err(Error::new(ErrorKind::Capacity, "more than the CUDA kernels take").at(key).got(got).wanted(wanted))
    };
    if layout.layers > MOST_LAYERS {
        return refused("model.layers", layout.layers, format!("at most {MOST_LAYERS}"));
    }
    if !layout.head_dim.is_multiple_of(COLUMNS) || layout.head_dim > MOST_WIDTH {
        return refused("model.head_dim", layout.head_dim, format!("a multiple of {COLUMNS}, at most {MOST_WIDTH}"));
    }
    let shared = [false, true].map(|tensor| score_shared_bytes(tensor, layout.head_dim, MOST_SCORED, 1)).into_iter().max().unwrap_or(0);
    if shared > most {
        return refused("device", most, format!("{shared} bytes that the threads of a block share"));
    }
    let jobs = layout.layers * layout.scoring.sets(layout.heads);
    if jobs > 65_535 {
        return refused("model.heads", layout.heads, "at most 65535 layers and head sets".to_owned());
    }
    for (key, slots) in [("memory.video_slots", layout.video_slots), ("memory.action_slots", layout.action_slots)] {
        if slots > most_slots(layout) {
            return refused(key, slots, format!("at most {} under policy {:?}", most_slots(layout), layout.policy));
        }
    }
    Ok(())
}

/// Proves that a pool of `count` tokens can be chosen from: a policy that the layout was not opened for may ask for more than was proved in Warm.
pub(super) fn fits(layout: &KvLayout, count: usize, scores: bool, fresh: usize) -> Result<()> {
    let scored = if layout.scoring.scored == Scored::PoolAndNew { count + fresh } else { count };
    let (got, most) = if scores { (scored, MOST_SCORED) } else { (count, MOST_SLOTS) };
    if got > most {
        return Err(Error::new(
            ErrorKind::Capacity,
            "more tokens than the CUDA kernels choose from, under another policy than the memory was opened for",
        )
        .at("memory.policy")
        .got(got)
        .wanted(format!("at most {most}")));
    }
    Ok(())
}

/// Warps of a block of `score.cu` for a pool of `scored` tokens: a tile for each while there are few, and as many on each of an SM's four schedulers.
pub(super) fn warps(scored: usize) -> usize {
    scored.div_ceil(TILE).next_multiple_of(4).min(MOST_WARPS)
}

/// What such a block shares. On tensor cores: a ring of keys and their weights, two heads' queries, the sum of unit keys in parts; else one head's queries and
/// the sum. Then, for both, a sum and the peaks of each warp, and the peaks over all.
pub(super) fn score_shared_bytes(tensor: bool, width: usize, scored: usize, stages: usize) -> usize {
    let (queries, warps) = (QUERIES[usize::from(!tensor)], warps(scored));
    let numbers = if tensor {
        scored.div_ceil(TILE) * TILE * (stages * COLUMNS * 2 + 4) + 2 * queries * QUERY_STRIDE * 2 + 8 * COLUMNS * 2
    } else {
        queries * (width * 4 + 16) + COLUMNS * 4
    };
    numbers + warps * COLUMNS * 4 + (warps + 1) * queries * 4
}

/// Steps whose keys a block keeps: as many as fit into `most` bytes. The queries of a head are asked for with the second step of the head before, and are
/// there when that step's keys are: no later than the head begins.
pub(super) fn stages(width: usize, scored: usize, most: usize) -> usize {
    let fits = |n: &usize| *n <= width / COLUMNS && score_shared_bytes(true, width, scored, *n) <= most;
    STAGES.into_iter().find(fits).unwrap_or(1)
}

/// Whether the keys are multiplied on tensor cores.
pub(super) fn on_tensor_cores(layout: &KvLayout, dtype: DType) -> bool {
    dtype != DType::F32 && layout.scoring.keys == Keys::PostRope
}
