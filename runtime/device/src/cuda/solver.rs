//! Launches `kernels/solver.cu`.

#![expect(unsafe_code, reason = "a launch is a promise about its parameters")]

use super::driver::{Driver, Grid, Kernel};
use super::{Address, Gpu};
use crate::device::KvCounts;
use bytemuck::{Pod, Zeroable};
use drivewam_core::arena::{Region, apart};
use drivewam_core::flow::solver::{SolverStep, check};
use drivewam_core::{Error, ErrorKind, Result};

/// `MOST_CHANNELS` of `solver.cu`.
const MOST_CHANNELS: usize = 1024;
const THREADS: u32 = 256;

/// `Solver` of `solver.cu`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    x: Address,
    velocity: Address,
    history: [Address; 3],
    state: Address,
    channels: [u64; MOST_CHANNELS / 64],
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

/// `solver.cu` says the same of its own.
const _: () = assert!(size_of::<Params>() == 248 && size_of::<FillParams>() == 24);

/// Blocks of [`THREADS`] for `len` threads.
pub(super) fn blocks(len: usize) -> Result<Grid> {
    let too_many = |_| Error::new(ErrorKind::Usage, "a launch of too many blocks").at("device").got(len);
    let blocks = u32::try_from(len.div_ceil(THREADS as usize).max(1)).map_err(too_many)?;
    Ok(Grid { blocks: [blocks, 1], threads: THREADS, shared_bytes: 0 })
}

/// Sets `len` f32 from `at` on.
pub(super) fn fill(driver: &mut dyn Driver, at: Address, len: usize, value: f32) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    let params = FillParams { to: at, len: len as u64, value, reserved: 0 };
    // SAFETY: the parameters are those of `fill`; the caller took `at` from the arena with room for `len` numbers.
    unsafe { driver.launch(Kernel::Fill, blocks(len)?, bytemuck::bytes_of(&params)) }
}

/// See [`crate::Device::solve`].
pub(super) fn solve(
    gpu: &mut Gpu,
    counts: KvCounts,
    step: &SolverStep,
    (x, velocity, history): (Region, Region, &[Region]),
    width: usize,
    channels: &[usize],
) -> Result<()> {
    check(step, [x.len(), velocity.len()], history.iter().map(Region::len), width, channels)?;
    let fits = u32::try_from(x.len()).ok().filter(|_| width <= MOST_CHANNELS);
    let Some(len) = fits else {
        return Err(Error::new(ErrorKind::Usage, "a sample larger than the kernel takes")
            .at("device")
            .got(format!("{} numbers in rows of {width}", x.len()))
            .wanted(format!("rows of at most {MOST_CHANNELS}")));
    };
    let mut params = Params {
        x: gpu.f32_at(x)?,
        velocity: gpu.f32_at(velocity)?,
        state: gpu.state,
        len,
        // At most MOST_CHANNELS; and what `Kv` counts in u32.
        width: width as u32,
        counts: [counts.video, counts.action, counts.tail].map(|n| n as u32),
        ..Params::zeroed()
    };
    match *history {
        [] => apart(&[velocity], &[x])?,
        [last, m1, m2] => {
            apart(&[velocity], &[x, last, m1, m2])?;
            params.history = [gpu.f32_at(last)?, gpu.f32_at(m1)?, gpu.f32_at(m2)?];
        }
        // `check` knows the solvers' lengths.
        _ => return Err(super::length(history.len(), step.history_len())),
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
    // SAFETY: the parameters are those of `solver`; every region was proved to be of the plan, f32 and `len` long.
    unsafe { gpu.driver.launch(Kernel::Solver, blocks(x.len())?, bytemuck::bytes_of(&params)) }
}
