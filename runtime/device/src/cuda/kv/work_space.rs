//! Memory that a commit uses and leaves: the lanes share it, since one of them commits at a time.

use super::limits::{MAX_SCORED, QUERIES, uses_tensor_cores};
use super::params::KvParams;
use crate::cuda::context::CudaContext;
use crate::kv::KvLayout;
use bytemuck::Zeroable;
use drivewam_core::Result;
use drivewam_core::dtype::DType;

/// Queries of a block of `score.cu`.
pub(super) fn queries_of_block(layout: &KvLayout, dtype: DType) -> usize {
    QUERIES[usize::from(!uses_tensor_cores(layout, dtype))]
}

/// Allocates the work space of commits, and the rotations. Warm. The other parameters are zero.
pub(super) fn work_space(context: &mut CudaContext, layout: &KvLayout, dtype: DType) -> Result<KvParams> {
    let (jobs, pass) = (layout.layers * layout.scoring.sets(layout.heads), layout.pass_tokens);
    let tiles = pass.div_ceil(queries_of_block(layout, dtype)).max(1);
    let scored = layout.video_slots.max(layout.action_slots).min(MAX_SCORED) + pass;
    let rope_step = layout.rope.turns();
    let mut params = KvParams::zeroed();
    for pool in &mut params.pools {
        pool.inv_norm_new = context.driver.allocate(jobs * pass * 4)?;
        pool.partial = context.driver.allocate(jobs * tiles * 2 * scored * 4)?;
        pool.destinations = context.driver.allocate(jobs * pass * 4)?;
    }
    params.rope_step = context.driver.allocate(rope_step.len() * 8)?;
    params.keep_mask = context.driver.allocate(layout.slots())?;
    context.driver.write(params.rope_step, bytemuck::cast_slice(&rope_step))?;
    Ok(params)
}
