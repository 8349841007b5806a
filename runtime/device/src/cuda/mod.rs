//! A GPU as a device: our kernels on one ordered stream, between engine calls, in memory that was fixed in Warm.
//!
//! [`CudaDevice`] knows the memory, the kernels and their order; a [`Driver`] starts them. There are two: [`Nvidia`], which opens the vendor's driver
//! when asked, and the emulator of `../emulator` (feature `emulator`, for tests), which runs the same `.cu` files on the CPU. The host never learns
//! which slots a selection chose. What the device finds wrong while it works (a number that is not finite) waits there and surfaces at the next
//! [`Device::settle`] or [`Device::download`]; until then nothing more is written into the memory.

pub mod cubins;
mod driver;
#[cfg(feature = "emulator")]
mod emulator;
mod engines;
mod fault;
mod image;
mod kv;
mod nvidia;
#[cfg(feature = "nvrtc")]
pub mod nvrtc;
mod solver;

pub use driver::{Driver, Graph, Grid, Kernel, Nodes, Priority};
#[cfg(feature = "emulator")]
pub use emulator::{Counts, Emulator};
pub use nvidia::{Nvidia, Primary, driver_version};

use crate::device::{Commit, Device, KvCounts, KvLayout, KvRegions, PassKv, Traffic};
use crate::host::HostArena;
use crate::picture::Pictures;
use crate::rows::Rows;
use crate::taps::Taps;
use drivewam_core::arena::{ArenaPlan, Region};
use drivewam_core::dtype::DType;
use drivewam_core::flow::solver::SolverStep;
use drivewam_core::selection::SlotTable;
use drivewam_core::{Error, ErrorKind, Result};
use fault::State;
use half::{bf16, f16};
use image::Camera;
use kv::Kv;
use std::ops::Range;

/// An address on the device.
pub type Address = u64;

/// Memory and operations on a GPU.
#[derive(Debug)]
pub struct CudaDevice {
    gpu: Gpu,
    camera: Option<Camera>,
    kv: Option<Kv>,
    /// Every graph, and what the memory held when it was made.
    graphs: Vec<(Graph, KvCounts)>,
    /// Graphs of engines' passes, which do not look at the memory's counts.
    passes: Vec<Graph>,
    id: u64,
    traffic: Traffic,
}

/// What every operation needs: the driver, the arena, and where faults are told.
#[derive(Debug)]
pub(crate) struct Gpu {
    driver: Box<dyn Driver>,
    plan: ArenaPlan,
    base: Address,
    state: Address,
    /// Numbers of 16 bits on their way in or out.
    shorts: Vec<u16>,
    /// Operations are being written down, not done: the chunk that a replay will put its own in the place of.
    captures: Option<u32>,
}

impl Gpu {
    /// Where `region` lies.
    fn at(&self, region: Region) -> Result<Address> {
        self.plan.holds(region)?;
        Ok(self.base + region.offset() as u64)
    }

    /// Where `region`, which must hold f32, lies.
    fn f32_at(&self, region: Region) -> Result<Address> {
        if region.dtype() != DType::F32 {
            return Err(Error::new(ErrorKind::Usage, "a region of another type is read as f32")
                .at("arena")
                .got(format!("{region:?}"))
                .wanted(DType::F32));
        }
        self.at(region)
    }

    /// The first fault since it was last asked for.
    fn take_fault(&mut self) -> Result<Option<State>> {
        let mut state = State::default();
        self.driver.read(self.state, bytemuck::bytes_of_mut(&mut state))?;
        if state.raised == 0 {
            return Ok(None);
        }
        self.driver.write(self.state, bytemuck::bytes_of(&State::default()))?;
        Ok(Some(state))
    }
}

/// A length that had to be enough.
fn length(got: usize, wanted: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, "a region of another length").at("device").got(got).wanted(wanted)
}

impl CudaDevice {
    /// Allocates what `plan` asks for, through `driver`. Warm.
    ///
    /// # Errors
    /// `Capacity` when the device has less free memory; `Device` for a fault of the driver.
    pub fn new(mut driver: Box<dyn Driver>, plan: ArenaPlan) -> Result<Self> {
        let base = driver.allocate_arena(&plan)?;
        let state = driver.allocate(size_of::<State>())?;
        let shorts = plan.rows().iter().map(|row| row.region).filter(|r| matches!(r.dtype(), DType::F16 | DType::Bf16));
        let most = shorts.map(|r| r.len()).max().unwrap_or(0);
        Ok(Self {
            gpu: Gpu { driver, plan, base, state, shorts: vec![u16::MAX; most], captures: None },
            camera: None,
            kv: None,
            graphs: Vec::new(),
            passes: Vec::new(),
            id: engines::next_id(),
            traffic: Traffic::default(),
        })
    }

    /// Makes a graph of `operations`, which are then not done: steps, and commits of full pools. They say `chunk` where a replay will say its own (and the
    /// next, if they say the next). Warm. The driver refuses copies in it.
    ///
    /// # Errors
    /// Of the operations; `Usage` when they would fill slots, which a second time they would not; `Device`.
    pub fn capture(&mut self, chunk: u32, operations: impl FnOnce(&mut Self) -> Result<()>) -> Result<Graph> {
        let before = self.kv_counts();
        self.gpu.driver.begin_capture()?;
        self.gpu.captures = Some(chunk);
        let done = operations(self);
        self.gpu.captures = None;
        let graph = self.gpu.driver.end_capture();
        let after = self.kv_counts();
        if let Some(kv) = &mut self.kv {
            kv.set_counts(before);
        }
        done?;
        if before != after {
            return Err(Error::new(ErrorKind::Usage, "a graph of commits that fill free slots")
                .at("memory")
                .got(format!("{before:?}, then {after:?}"))
                .wanted("a memory that is full already"));
        }
        let graph = graph?;
        self.graphs.push((graph, before));
        Ok(graph)
    }

    /// Does what a graph of this device holds, with `chunk` in the place of the one that it was captured with. Does not allocate.
    ///
    /// # Errors
    /// `Usage` before `kv_open`, for a graph of another device, or when the memory does not hold as much as it did when the graph was made; `Device`.
    pub fn replay(&mut self, graph: Graph, chunk: u32) -> Result<()> {
        let (holds, held) = (self.kv_counts(), self.graphs.iter().find(|(g, _)| *g == graph).map(|(_, counts)| *counts));
        if held != Some(holds) {
            return Err(Error::new(ErrorKind::Usage, "a graph that was made for another memory")
                .at("memory")
                .got(format!("{holds:?}"))
                .wanted(format!("{held:?}")));
        }
        let (kv, gpu) = self.kv()?;
        kv.set_chunk(gpu, chunk)?;
        gpu.driver.replay(graph)
    }

    /// What a graph of this device is made of.
    ///
    /// # Errors
    /// `Usage` for a graph of another device; `Device`.
    pub fn nodes(&self, graph: Graph) -> Result<Nodes> {
        self.gpu.driver.nodes(graph)
    }

    fn kv(&mut self) -> Result<(&mut Kv, &mut Gpu)> {
        match &mut self.kv {
            Some(kv) => Ok((kv, &mut self.gpu)),
            None => Err(Error::new(ErrorKind::Usage, "the memory was not opened").at("memory").wanted("kv_open first")),
        }
    }
}

impl Device for CudaDevice {
    fn describe(&self) -> String {
        self.gpu.driver.describe()
    }

    fn plan(&self) -> &ArenaPlan {
        &self.gpu.plan
    }

    fn host(&mut self) -> Option<&mut HostArena> {
        self.gpu.driver.host()
    }

    fn cuda(&mut self) -> Option<&mut CudaDevice> {
        Some(self)
    }

    fn upload(&mut self, to: Region, data: &[f32]) -> Result<()> {
        let at = self.gpu.at(to)?;
        if data.len() > to.len() {
            return Err(length(to.len(), format!("at least {}", data.len())));
        }
        let Gpu { driver, shorts, .. } = &mut self.gpu;
        match to.dtype() {
            DType::F32 => driver.write(at, bytemuck::cast_slice(data))?,
            DType::F16 | DType::Bf16 => {
                let rounded = &mut shorts[..data.len()];
                for (to_bits, x) in rounded.iter_mut().zip(data) {
                    *to_bits = if to.dtype() == DType::F16 { f16::from_f32(*x).to_bits() } else { bf16::from_f32(*x).to_bits() };
                }
                driver.write(at, bytemuck::cast_slice(rounded))?;
            }
            other => return Err(length(to.len(), "f32, f16 or bf16").got(other)),
        }
        self.traffic.uploaded += (data.len() * to.dtype().bytes()) as u64;
        Ok(())
    }

    fn download(&mut self, from: Region, out: &mut [f32]) -> Result<()> {
        let at = self.gpu.at(from)?;
        if out.len() > from.len() {
            return Err(length(from.len(), format!("at least {}", out.len())));
        }
        self.settle()?;
        let Gpu { driver, shorts, .. } = &mut self.gpu;
        match from.dtype() {
            DType::F32 => driver.read(at, bytemuck::cast_slice_mut(out))?,
            DType::F16 | DType::Bf16 => {
                let bits = &mut shorts[..out.len()];
                driver.read(at, bytemuck::cast_slice_mut(bits))?;
                for (x, bits) in out.iter_mut().zip(bits) {
                    *x = if from.dtype() == DType::F16 { f16::from_bits(*bits).to_f32() } else { bf16::from_bits(*bits).to_f32() };
                }
            }
            other => return Err(length(from.len(), "f32, f16 or bf16").got(other)),
        }
        self.traffic.downloaded += (out.len() * from.dtype().bytes()) as u64;
        Ok(())
    }

    fn copy_rows(&mut self, from: Region, to: Region, rows: Rows) -> Result<()> {
        rows.check(from, to)?;
        let (from_at, to_at, bytes) = (self.gpu.at(from)?, self.gpu.at(to)?, from.dtype().bytes());
        let Rows { count, len, from_step, to_step } = rows;
        let in_bytes = Rows { count, len: len * bytes, from_step: from_step * bytes, to_step: to_step * bytes };
        self.gpu.driver.copy_rows(from_at, to_at, in_bytes)
    }

    fn fill(&mut self, region: Region, value: f32) -> Result<()> {
        let at = self.gpu.f32_at(region)?;
        solver::fill(&mut *self.gpu.driver, at, region.len(), value)
    }

    fn settle(&mut self) -> Result<()> {
        match (self.gpu.take_fault()?, &mut self.kv) {
            (None, _) => Ok(()),
            (Some(state), Some(kv)) => Err(kv.go_back(&state)),
            (Some(state), None) => Err(state.error()),
        }
    }

    fn open_camera(&mut self, pictures: Pictures, columns: Taps, rows: Taps) -> Result<()> {
        self.camera = Some(Camera::open(&mut *self.gpu.driver, pictures, &columns, &rows)?);
        Ok(())
    }

    fn resample(&mut self, picture: &[u8], to: Region) -> Result<()> {
        let at = self.gpu.f32_at(to)?;
        self.traffic.pictures += 1;
        match &self.camera {
            Some(camera) => camera.resample(&mut *self.gpu.driver, picture, at, to.len()),
            None => Err(Error::new(ErrorKind::Usage, "no camera is open").at("camera").wanted("open_camera first")),
        }
    }

    fn solve(
        &mut self,
        step: &SolverStep,
        x: Region,
        velocity: Region,
        history: &[Region],
        width: usize,
        channels: &[usize],
    ) -> Result<()> {
        self.traffic.steps += 1;
        let counts = self.kv_counts();
        solver::solve(&mut self.gpu, counts, step, (x, velocity, history), width, channels)
    }

    fn kv_open(&mut self, layout: KvLayout, regions: KvRegions) -> Result<()> {
        if self.kv.is_some() {
            return Err(Error::new(ErrorKind::Usage, "the memory is open already").at("memory"));
        }
        self.kv = Some(Kv::open(&mut self.gpu, layout, regions)?);
        Ok(())
    }

    fn kv_clear(&mut self) -> Result<()> {
        self.kv()?;
        // What went wrong before is told, and the memory is empty all the same.
        let earlier = self.settle();
        let (kv, gpu) = self.kv()?;
        kv.clear(gpu)?;
        earlier
    }

    fn kv_commit_predicted(&mut self, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<()> {
        let (kv, gpu) = self.kv()?;
        let moved = kv.commit_predicted(gpu, chunk, pass, rows)?;
        self.traffic.committed += moved;
        Ok(())
    }

    fn kv_drop_predicted(&mut self) -> Result<()> {
        let (kv, gpu) = self.kv()?;
        kv.drop_predicted(gpu)
    }

    fn kv_commit_observed(&mut self, chunk: u32, commits: &[Commit<'_>]) -> Result<()> {
        let (kv, gpu) = self.kv()?;
        let moved = kv.commit_observed(gpu, chunk, commits)?;
        self.traffic.committed += moved;
        Ok(())
    }

    fn kv_counts(&self) -> KvCounts {
        self.kv.as_ref().map(Kv::counts).unwrap_or_default()
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn kv_table(&mut self, layer: usize) -> Result<SlotTable> {
        self.settle()?;
        let (kv, gpu) = self.kv()?;
        kv.table(gpu, layer)
    }
}
