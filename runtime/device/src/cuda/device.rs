//! The CUDA device: the device contract and the GPU contract over a driver.

use super::context::{Capture, CudaContext};
use super::driver::Driver;
use super::image::Resampler;
use super::kv::CudaKv;
use super::solver;
use crate::checks;
use crate::copy::StridedCopy;
use crate::device::{DeviceMemory, ImageOps, KvMemory, SolverOps, Traffic};
use crate::gpu::{Address, CapturedGraph, Gpu, GraphNodeCounts};
use crate::host_memory::HostMemory;
use crate::kv::{Commit, KvCounts, KvLayout, KvRegions, PassKv};
use crate::picture::Pictures;
use crate::resample::ResampleWeights;
use drivewam_core::arena::{ArenaPlan, Region};
use drivewam_core::dtype::DType;
use drivewam_core::flow::solver::SolverStep;
use drivewam_core::selection::SlotTable;
use drivewam_core::{Error, ErrorKind, Result};
use half::{bf16, f16};
use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory and operations on a GPU.
#[derive(Debug)]
pub struct CudaDevice {
    context: CudaContext,
    resampler: Option<Resampler>,
    /// The memory of each lane; none before `kv_open`.
    lanes: Vec<CudaKv>,
    /// The lane that operations act on.
    lane: usize,
    /// Every captured graph. For one whose operations carry the memory's counts: the lane and the
    /// counts at capture.
    graphs: Vec<(CapturedGraph, Option<(usize, KvCounts)>)>,
    id: u64,
    traffic: Traffic,
}

impl CudaDevice {
    /// Allocates the memory of `plan` through `driver`. Warm.
    ///
    /// # Errors
    /// `Capacity` when the GPU has less free memory; `Device` for a fault of the driver.
    pub fn new(driver: Box<dyn Driver>, plan: ArenaPlan) -> Result<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            context: CudaContext::new(driver, plan)?,
            resampler: None,
            lanes: Vec::new(),
            lane: 0,
            graphs: Vec::new(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            traffic: Traffic::default(),
        })
    }

    /// Sets the chunk that graphs of commits count from. A commit that is captured keeps the
    /// difference of its chunk to this one, and a replay adds that to the chunk set last. Any
    /// commit that is not captured sets its own chunk here.
    ///
    /// # Errors
    /// `Usage` before [`KvMemory::kv_open`]; `Device`, also during a capture.
    pub fn set_chunk(&mut self, chunk: u32) -> Result<()> {
        let (kv, context) = self.kv()?;
        kv.set_chunk(context, chunk)
    }

    fn kv(&mut self) -> Result<(&mut CudaKv, &mut CudaContext)> {
        self.context.note_counts();
        match self.lanes.get_mut(self.lane) {
            Some(kv) => Ok((kv, &mut self.context)),
            None => Err(checks::kv_is_closed()),
        }
    }

    fn set_counts(&mut self, counts: KvCounts) {
        if let Some(kv) = self.lanes.get_mut(self.lane) {
            kv.set_counts(counts);
        }
    }
}

impl Gpu for CudaDevice {
    fn id(&self) -> u64 {
        self.id
    }

    fn address(&self, region: Region) -> Result<Address> {
        self.context.at(region)
    }

    fn stream(&mut self) -> Result<*mut c_void> {
        self.context.driver.stream()
    }

    fn begin_capture(&mut self) -> Result<()> {
        self.context.driver.begin_capture()?;
        self.context.capture = Some(Capture { counts: self.kv_counts(), uses_counts: false });
        Ok(())
    }

    fn end_capture(&mut self) -> Result<CapturedGraph> {
        let graph = self.context.driver.end_capture();
        let Some(Capture { counts, uses_counts }) = self.context.capture.take() else { return graph };
        let after = self.kv_counts();
        // The captured operations were not done.
        self.set_counts(counts);
        if counts != after {
            return Err(Error::new(ErrorKind::Usage, "the captured commits fill free slots")
                .at("memory")
                .got(format!("{counts:?}, then {after:?}"))
                .wanted("a memory that is already full"));
        }
        let graph = graph?;
        self.graphs.push((graph, uses_counts.then_some((self.lane, counts))));
        Ok(graph)
    }

    fn replay(&mut self, graph: CapturedGraph) -> Result<()> {
        let Some((_, captured)) = self.graphs.iter().find(|(known, _)| *known == graph) else {
            return Err(Error::new(ErrorKind::Usage, "the graph belongs to another device").at("device").got(format!("{graph:?}")));
        };
        let now = (self.lane, self.kv_counts());
        if let Some(captured) = captured
            && *captured != now
        {
            let show = |(lane, counts): (usize, KvCounts)| format!("lane {lane}, {counts:?}");
            return Err(Error::new(ErrorKind::Usage, "the graph was captured for another memory")
                .at("memory")
                .got(show(now))
                .wanted(show(*captured)));
        }
        self.context.driver.replay(graph)
    }

    fn node_counts(&self, graph: CapturedGraph) -> Result<GraphNodeCounts> {
        self.context.driver.node_counts(graph)
    }
}

impl DeviceMemory for CudaDevice {
    fn describe(&self) -> String {
        self.context.driver.describe()
    }

    fn plan(&self) -> &ArenaPlan {
        &self.context.plan
    }

    fn host_arena(&mut self) -> Option<&mut dyn HostMemory> {
        self.context.driver.host_arena()
    }

    fn gpu(&mut self) -> Option<&mut dyn Gpu> {
        Some(self)
    }

    fn upload(&mut self, to: Region, data: &[f32]) -> Result<()> {
        let at = self.context.at(to)?;
        if data.len() > to.len() {
            return Err(checks::length(to.len(), format!("at least {}", data.len())));
        }
        let CudaContext { driver, halves, .. } = &mut self.context;
        match to.dtype() {
            DType::F32 => driver.write(at, bytemuck::cast_slice(data))?,
            DType::F16 | DType::Bf16 => {
                let rounded = &mut halves[..data.len()];
                for (bits, x) in rounded.iter_mut().zip(data) {
                    *bits = if to.dtype() == DType::F16 { f16::from_f32(*x).to_bits() } else { bf16::from_f32(*x).to_bits() };
                }
                driver.write(at, bytemuck::cast_slice(rounded))?;
            }
            other => return Err(checks::length(to.len(), "f32, f16 or bf16").got(other)),
        }
        self.traffic.uploaded += (data.len() * to.dtype().bytes()) as u64;
        Ok(())
    }

    fn download(&mut self, from: Region, out: &mut [f32]) -> Result<()> {
        let at = self.context.at(from)?;
        if out.len() > from.len() {
            return Err(checks::length(from.len(), format!("at least {}", out.len())));
        }
        self.synchronize()?;
        let CudaContext { driver, halves, .. } = &mut self.context;
        match from.dtype() {
            DType::F32 => driver.read(at, bytemuck::cast_slice_mut(out))?,
            DType::F16 | DType::Bf16 => {
                let bits = &mut halves[..out.len()];
                driver.read(at, bytemuck::cast_slice_mut(bits))?;
                for (x, bits) in out.iter_mut().zip(bits) {
                    *x = if from.dtype() == DType::F16 { f16::from_bits(*bits).to_f32() } else { bf16::from_bits(*bits).to_f32() };
                }
            }
            other => return Err(checks::length(from.len(), "f32, f16 or bf16").got(other)),
        }
        self.traffic.downloaded += (out.len() * from.dtype().bytes()) as u64;
        Ok(())
    }

    fn copy(&mut self, from: Region, to: Region, rows: StridedCopy) -> Result<()> {
        rows.check(from, to)?;
        let (from_at, to_at, bytes) = (self.context.at(from)?, self.context.at(to)?, from.dtype().bytes());
        let StridedCopy { count, len, from_stride, to_stride } = rows;
        let in_bytes = StridedCopy { count, len: len * bytes, from_stride: from_stride * bytes, to_stride: to_stride * bytes };
        self.context.driver.copy(from_at, to_at, in_bytes)
    }

    fn fill(&mut self, region: Region, value: f32) -> Result<()> {
        let at = self.context.f32_at(region)?;
        solver::fill(&mut *self.context.driver, at, region.len(), value)
    }

    fn synchronize(&mut self) -> Result<()> {
        match (self.context.take_fault()?, self.lanes.get_mut(self.lane)) {
            (None, _) => Ok(()),
            (Some(state), Some(kv)) => Err(kv.roll_back(&state)),
            (Some(state), None) => Err(state.error()),
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

impl ImageOps for CudaDevice {
    fn open_camera(&mut self, pictures: Pictures, columns: ResampleWeights, rows: ResampleWeights) -> Result<()> {
        self.resampler = Some(Resampler::open(&mut *self.context.driver, pictures, &columns, &rows)?);
        Ok(())
    }

    fn resample(&mut self, picture: &[u8], to: Region) -> Result<()> {
        let at = self.context.f32_at(to)?;
        self.traffic.pictures += 1;
        match &self.resampler {
            Some(resampler) => resampler.resample(&mut *self.context.driver, picture, at, to.len()),
            None => Err(Error::new(ErrorKind::Usage, "no camera is open").at("camera").wanted("open_camera first")),
        }
    }
}

impl SolverOps for CudaDevice {
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
        self.context.note_counts();
        solver::solve(&mut self.context, counts, step, (x, velocity, history), width, channels)
    }
}

impl KvMemory for CudaDevice {
    fn kv_open(&mut self, layout: &KvLayout, lanes: &[KvRegions]) -> Result<()> {
        if !self.lanes.is_empty() {
            return Err(checks::kv_is_open());
        }
        self.lanes = CudaKv::open(&mut self.context, layout, lanes)?;
        Ok(())
    }

    fn kv_use_lane(&mut self, lane: usize) -> Result<()> {
        self.kv()?;
        checks::lane(lane, self.lanes.len())?;
        if lane == self.lane {
            return Ok(());
        }
        // A fault that is found later would be counted against the other lane.
        let earlier = self.synchronize();
        self.lane = lane;
        earlier
    }

    fn kv_clear(&mut self) -> Result<()> {
        self.kv()?;
        // An earlier fault is returned, and the memory is empty all the same.
        let earlier = self.synchronize();
        let (kv, context) = self.kv()?;
        kv.clear(context)?;
        earlier
    }

    fn kv_commit_predicted(&mut self, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<()> {
        let (kv, context) = self.kv()?;
        let bytes = kv.commit_predicted(context, chunk, pass, rows)?;
        self.traffic.committed += bytes;
        Ok(())
    }

    fn kv_drop_predicted(&mut self) -> Result<()> {
        let (kv, context) = self.kv()?;
        kv.drop_predicted(context)
    }

    fn kv_commit_observed(&mut self, chunk: u32, commits: &[Commit<'_>]) -> Result<()> {
        let (kv, context) = self.kv()?;
        let bytes = kv.commit_observed(context, chunk, commits)?;
        self.traffic.committed += bytes;
        Ok(())
    }

    fn kv_counts(&self) -> KvCounts {
        self.lanes.get(self.lane).map(CudaKv::counts).unwrap_or_default()
    }

    fn kv_table(&mut self, layer: usize) -> Result<SlotTable> {
        self.synchronize()?;
        let (kv, context) = self.kv()?;
        kv.table(context, layer)
    }
}
