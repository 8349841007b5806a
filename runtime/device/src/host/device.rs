//! The host device: every operation is done when its call returns.

use super::image::Resampler;
use super::kv::{HostContext, HostKv};
use super::simd::Simd;
use super::threads::Threads;
use crate::arena::HostArena;
use crate::checks;
use crate::copy::StridedCopy;
use crate::device::{DeviceMemory, ImageOps, KvMemory, SolverOps, Traffic};
use crate::host_memory::HostMemory;
use crate::kv::{Commit, KvCounts, KvLayout, KvRegions, PassKv};
use crate::picture::Pictures;
use crate::resample::ResampleWeights;
use drivewam_core::Result;
use drivewam_core::arena::{ArenaPlan, Region};
use drivewam_core::flow::solver::{self, SolverStep};
use drivewam_core::selection::SlotTable;
use std::ops::Range;

/// Memory and operations on the host.
#[derive(Debug)]
pub struct HostDevice {
    arena: HostArena,
    threads: Threads,
    simd: Simd,
    resampler: Resampler,
    kv: Option<HostKv>,
    traffic: Traffic,
}

/// Bytes of so many f32.
const fn bytes(numbers: usize) -> u64 {
    (numbers * size_of::<f32>()) as u64
}

impl HostDevice {
    /// Allocates the memory of `plan`, and starts `threads` − 1 threads beside the caller's. Warm.
    ///
    /// # Errors
    /// `Capacity` when the host cannot allocate the memory or spawn a thread; `Usage` for zero
    /// threads.
    pub fn new(plan: ArenaPlan, threads: usize) -> Result<Self> {
        Ok(Self {
            arena: HostArena::new(plan)?,
            threads: Threads::new(threads)?,
            simd: Simd::detect(),
            resampler: Resampler::default(),
            kv: None,
            traffic: Traffic::default(),
        })
    }

    /// The same device on the portable loops, whatever the machine has: for comparisons.
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.simd = Simd::PORTABLE;
        self
    }

    fn kv(&mut self) -> Result<(&mut HostKv, HostContext<'_>)> {
        let Self { arena, threads, simd, kv, .. } = self;
        match kv {
            Some(kv) => Ok((kv, HostContext { arena, threads, simd: *simd })),
            None => Err(checks::kv_is_closed()),
        }
    }
}

impl DeviceMemory for HostDevice {
    fn describe(&self) -> String {
        format!("host, {} loops, threads: {}", self.simd.name(), self.threads.count())
    }

    fn plan(&self) -> &ArenaPlan {
        self.arena.plan()
    }

    fn host_arena(&mut self) -> Option<&mut dyn HostMemory> {
        Some(&mut self.arena)
    }

    fn upload(&mut self, to: Region, data: &[f32]) -> Result<()> {
        match self.arena.f32_mut(to)?.get_mut(..data.len()) {
            Some(place) => place.copy_from_slice(data),
            None => return Err(checks::length(to.len(), format!("at least {}", data.len()))),
        }
        self.traffic.uploaded += bytes(data.len());
        Ok(())
    }

    fn download(&mut self, from: Region, out: &mut [f32]) -> Result<()> {
        match self.arena.f32(from)?.get(..out.len()) {
            Some(values) => out.copy_from_slice(values),
            None => return Err(checks::length(from.len(), format!("at least {}", out.len()))),
        }
        self.traffic.downloaded += bytes(out.len());
        Ok(())
    }

    fn copy(&mut self, from: Region, to: Region, rows: StridedCopy) -> Result<()> {
        rows.check(from, to)?;
        let ([from], [to]) = self.arena.disjoint([from], [to])?;
        for (from, to) in from.chunks(rows.from_stride).zip(to.chunks_mut(rows.to_stride)).take(rows.count) {
            to[..rows.len].copy_from_slice(&from[..rows.len]);
        }
        Ok(())
    }

    fn fill(&mut self, region: Region, value: f32) -> Result<()> {
        self.arena.f32_mut(region)?.fill(value);
        Ok(())
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

impl ImageOps for HostDevice {
    fn open_camera(&mut self, pictures: Pictures, columns: ResampleWeights, rows: ResampleWeights) -> Result<()> {
        self.resampler = Resampler::open(pictures, columns, rows)?;
        Ok(())
    }

    fn resample(&mut self, picture: &[u8], to: Region) -> Result<()> {
        self.traffic.pictures += 1;
        self.resampler.resample(self.simd, picture, self.arena.f32_mut(to)?)
    }
}

impl SolverOps for HostDevice {
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
        match *history {
            [] => {
                let ([velocity], [x]) = self.arena.disjoint([velocity], [x])?;
                solver::apply(step, x, velocity, &mut [], width, channels)
            }
            [last, m1, m2] => {
                let ([velocity], [x, last, m1, m2]) = self.arena.disjoint([velocity], [x, last, m1, m2])?;
                solver::apply(step, x, velocity, &mut [last, m1, m2], width, channels)
            }
            _ => Err(checks::length(history.len(), step.history_len())),
        }
    }
}

impl KvMemory for HostDevice {
    fn kv_open(&mut self, layout: &KvLayout, lanes: &[KvRegions]) -> Result<()> {
        if self.kv.is_some() {
            return Err(checks::kv_is_open());
        }
        self.kv = Some(HostKv::open(layout, lanes, &mut self.arena, self.threads.count())?);
        Ok(())
    }

    fn kv_use_lane(&mut self, lane: usize) -> Result<()> {
        self.kv()?.0.use_lane(lane)
    }

    fn kv_clear(&mut self) -> Result<()> {
        let (kv, context) = self.kv()?;
        kv.clear(context.arena)
    }

    fn kv_commit_predicted(&mut self, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<()> {
        let (kv, context) = self.kv()?;
        let bytes = kv.commit_predicted(context, chunk, pass, rows)?;
        self.traffic.committed += bytes;
        Ok(())
    }

    fn kv_drop_predicted(&mut self) -> Result<()> {
        let (kv, context) = self.kv()?;
        kv.drop_predicted(context.arena)
    }

    fn kv_commit_observed(&mut self, chunk: u32, commits: &[Commit<'_>]) -> Result<()> {
        let (kv, context) = self.kv()?;
        let bytes = kv.commit_observed(context, chunk, commits)?;
        self.traffic.committed += bytes;
        Ok(())
    }

    fn kv_counts(&self) -> KvCounts {
        self.kv.as_ref().map(HostKv::counts).unwrap_or_default()
    }

    fn kv_table(&mut self, layer: usize) -> Result<SlotTable> {
        let (kv, _) = self.kv()?;
        kv.table(layer)
    }
}
