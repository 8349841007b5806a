//! Launches `kernels/solver.cu`.

#![expect(unsafe_code, reason = "the caller of a launch guarantees its parameters")]

use super::context::CudaContext;
use super::driver::{Driver, Kernel, LaunchGrid};
use crate::checks;
use crate::gpu::Address;
use crate::kv::KvCounts;
use bytemuck::{Pod, Zeroable};
use drivewam_core::arena::{Region, apart};
use drivewam_core::flow::solver::{SolverStep, check};
use drivewam_core::{Error, ErrorKind, Result};

/// `MAX_CHANNELS` of `solver.cu`.
const MAX_CHANNELS: usize = 1024;

/// `Solver` of `solver.cu`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SolverParams {
    x: Address,
    velocity: Address,
    history: [Address; 3],
    state: Address,
    channels: [u64; MAX_CHANNELS / 64],
    len: u32,
    width: u32,
    unipc: u32,
    corrects: u32,
    span: f32,
    sigma: f32,
    corrector: [f32; 4],
    predictor: [f32; 3],
    counts: [u32; 3],
    reserved: [u32; 2],
}

/// `Fill` of `solver.cu`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FillParams {
    to: Address,
    len: u64,
    value: f32,
    reserved: u32,
}

/// `solver.cu` asserts the same sizes.
const _: () = assert!(size_of::<SolverParams>() == 248 && size_of::<FillParams>() == 24);

/// Sets `len` f32 from `at` on to `value`.
pub(super) fn fill(driver: &mut dyn Driver, at: Address, len: usize, value: f32) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    let params = FillParams { to: at, len: len as u64, value, reserved: 0 };
    // SAFETY: the parameters are those of `fill`; the caller took `at` from the arena, with room
    // for `len` elements.
    unsafe { driver.launch(Kernel::Fill, LaunchGrid::of_elements(len)?, bytemuck::bytes_of(&params)) }
}

/// See [`crate::SolverOps::solve`]. `counts` go to the fault state if the step finds a fault.
pub(super) fn solve(
    context: &mut CudaContext,
    counts: KvCounts,
    step: &SolverStep,
    (x, velocity, history): (Region, Region, &[Region]),
    width: usize,
    channels: &[usize],
) -> Result<()> {
    check(step, [x.len(), velocity.len()], history.iter().map(Region::len), width, channels)?;
    let fits = u32::try_from(x.len()).ok().filter(|_| width <= MAX_CHANNELS);
    let Some(len) = fits else {
        return Err(Error::new(ErrorKind::Usage, "the sample is larger than the kernel allows")
            .at("device")
            .got(format!("{} elements in rows of {width}", x.len()))
            .wanted(format!("rows of at most {MAX_CHANNELS}")));
    };
    let mut params = SolverParams {
        x: context.f32_at(x)?,
        velocity: context.f32_at(velocity)?,
        state: context.state,
        len,
        // `width` is at most MAX_CHANNELS, and `CudaKv` keeps its counts within u32.
        width: width as u32,
        counts: [counts.video, counts.action, counts.tail].map(|n| n as u32),
        ..SolverParams::zeroed()
    };
    match *history {
        [] => apart(&[velocity], &[x])?,
        [last, m1, m2] => {
            apart(&[velocity], &[x, last, m1, m2])?;
            params.history = [context.f32_at(last)?, context.f32_at(m1)?, context.f32_at(m2)?];
        }
        // `check` refuses every other length.
        _ => return Err(checks::length(history.len(), step.history_len())),
    }
    for channel in channels {
        params.channels[channel / 64] |= 1 << (channel % 64);
    }
    match *step {
        SolverStep::Euler { span } => params.span = span,
        SolverStep::Unipc { sigma, corrector, predictor } => {
            (params.unipc, params.sigma, params.predictor) = (1, sigma, predictor);
            params.corrects = u32::from(corrector.is_some());
            params.corrector = corrector.unwrap_or_default();
        }
    }
    if len == 0 {
        return Ok(());
    }
    // SAFETY: the parameters are those of `solver`; every region was checked to be of the plan, f32
    // and `len` long.
    unsafe { context.driver.launch(Kernel::Solver, LaunchGrid::of_elements(x.len())?, bytemuck::bytes_of(&params)) }
}
