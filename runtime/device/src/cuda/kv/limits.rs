//! What the memory's kernels take: shapes beyond it are refused in Warm.

use crate::device::KvLayout;
use drivewam_core::config::MemoryPolicy;
use drivewam_core::dtype::DType;
use drivewam_core::selection::{Keys, Scored};
use drivewam_core::{Error, ErrorKind, Result};

/// `MOST_LAYERS` of `kv.cuh`.
pub(super) const MOST_LAYERS: usize = 64;
/// Keys of a warp of `score.cu`, and its most warps: so that a thread may have 168 registers.
pub(super) const WARP_KEYS: usize = 48;
pub(super) const MOST_WARPS: usize = 12;
/// Tokens that `score.cu` takes.
pub(super) const MOST_SCORED: usize = MOST_WARPS * WARP_KEYS;
/// Queries of a block of `score.cu`, on tensor cores and without.
pub(super) const QUERIES: [usize; 2] = [40, 16];
/// Columns that a warp takes at once.
pub(super) const COLUMNS: usize = 32;
/// Steps of `score.cu` whose keys may be on their way: `wait_copies` knows no more.
const MOST_STAGES: usize = 6;
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
    let shared = (0..2).map(|f32| score_shared_bytes(f32 == 1, layout.head_dim, MOST_WARPS, 1)).max().unwrap_or(0);
    if !layout.head_dim.is_multiple_of(COLUMNS) || shared > most {
        return refused(
            "model.head_dim",
            layout.head_dim,
            format!("a multiple of {COLUMNS}, with all that a block shares in {most} bytes"),
        );
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

/// What a block of `score.cu` shares: on tensor cores the rings of its warps; queries; a sum per warp and over all; a peak per query; a word.
pub(super) fn score_shared_bytes(f32: bool, width: usize, warps: usize, stages: usize) -> usize {
    let queries = QUERIES[usize::from(f32)];
    // On tensor cores the next head's queries are on their way while one is multiplied.
    let numbers = if f32 { queries * (width * 4 + 16) } else { stages * warps * WARP_KEYS * COLUMNS * 2 + 2 * queries * (width * 2 + 64) };
    numbers + (warps + 1) * (COLUMNS + queries) * 4 + 4
}

/// Steps whose keys a block keeps: as many as fit into `most` bytes. The queries of a head are asked for a head before they are multiplied, so no more than
/// that may be ahead.
pub(super) fn stages(width: usize, warps: usize, most: usize) -> usize {
    (2..=MOST_STAGES.min(width / COLUMNS + 1)).rev().find(|n| score_shared_bytes(false, width, warps, *n) <= most).unwrap_or(1)
}

/// Whether the keys are multiplied on tensor cores.
pub(super) fn on_tensor_cores(layout: &KvLayout, dtype: DType) -> bool {
    dtype != DType::F32 && layout.scoring.keys == Keys::PostRope
}
