//! The host as a device: one arena, vector loops, a few threads.

pub mod arena;
mod image;
mod kv;
mod score;
mod simd;
mod threads;

pub use arena::{HostArena, Lease, Lent, Reads, Writes};

use crate::device::{Commit, Device, KvCounts, KvLayout, KvRegions, PassKv, Traffic};
use crate::picture::Pictures;
use crate::rows::Rows;
use crate::taps::Taps;
use drivewam_core::arena::{ArenaPlan, Region};
use drivewam_core::flow::solver::{self, SolverStep};
use drivewam_core::selection::SlotTable;
use drivewam_core::{Error, ErrorKind, Result};
use image::Camera;
use kv::{Host, Kv};
use simd::Simd;
use std::ops::Range;
use threads::Threads;

/// Memory and operations on the host.
#[derive(Debug)]
pub struct HostDevice {
    arena: HostArena,
    threads: Threads,
    simd: Simd,
    camera: Camera,
    kv: Option<Kv>,
    traffic: Traffic,
}

/// Bytes of f32.
const fn bytes(numbers: usize) -> u64 {
    (numbers * size_of::<f32>()) as u64
}

impl HostDevice {
    /// Allocates what `plan` asks for, and starts `threads` − 1 threads beside the caller's. Warm.
    ///
    /// # Errors
    /// `Capacity` when the host gives no memory or no thread; `Usage` for zero threads.
    pub fn new(plan: ArenaPlan, threads: usize) -> Result<Self> {
        Ok(Self {
            arena: HostArena::new(plan)?,
            threads: Threads::new(threads)?,
            simd: Simd::detect(),
            camera: Camera::default(),
            kv: None,
            traffic: Traffic::default(),
        })
    }

    /// The same device on the portable loops, whatever the machine has: to compare.
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.simd = Simd::PORTABLE;
        self
    }

    fn kv(&mut self) -> Result<(&mut Kv, Host<'_>)> {
        let Self { arena, threads, simd, kv, .. } = self;
        match kv {
            Some(kv) => Ok((kv, Host { arena, threads, simd: *simd })),
            None => Err(Error::new(ErrorKind::Usage, "the memory was not opened").at("memory").wanted("kv_open first")),
        }
    }
}

/// Two lengths that had to be equal, or one that had to be enough.
fn length(got: usize, wanted: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, "a region of another length").at("device").got(got).wanted(wanted)
}

impl Device for HostDevice {
    fn describe(&self) -> String {
        format!("host, {} loops, threads: {}", self.simd.name(), self.threads.count())
    }

    fn plan(&self) -> &ArenaPlan {
        self.arena.plan()
    }

    fn host(&mut self) -> Option<&mut HostArena> {
        Some(&mut self.arena)
    }

    fn upload(&mut self, to: Region, data: &[f32]) -> Result<()> {
        match self.arena.f32_mut(to)?.get_mut(..data.len()) {
            Some(place) => place.copy_from_slice(data),
            None => return Err(length(to.len(), format!("at least {}", data.len()))),
        }
        self.traffic.uploaded += bytes(data.len());
        Ok(())
    }

    fn download(&mut self, from: Region, out: &mut [f32]) -> Result<()> {
        match self.arena.f32(from)?.get(..out.len()) {
            Some(values) => out.copy_from_slice(values),
            None => return Err(length(from.len(), format!("at least {}", out.len()))),
        }
        self.traffic.downloaded += bytes(out.len());
        Ok(())
    }

    fn copy_rows(&mut self, from: Region, to: Region, rows: Rows) -> Result<()> {
        rows.check(from, to)?;
        let ([from], [to]) = self.arena.disjoint([from], [to])?;
        for (from, to) in from.chunks(rows.from_step).zip(to.chunks_mut(rows.to_step)).take(rows.count) {
            to[..rows.len].copy_from_slice(&from[..rows.len]);
        }
        Ok(())
    }

    fn fill(&mut self, region: Region, value: f32) -> Result<()> {
        self.arena.f32_mut(region)?.fill(value);
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    fn open_camera(&mut self, pictures: Pictures, columns: Taps, rows: Taps) -> Result<()> {
        self.camera = Camera::open(pictures, columns, rows)?;
        Ok(())
    }

    fn resample(&mut self, picture: &[u8], to: Region) -> Result<()> {
        self.traffic.pictures += 1;
        self.camera.resample(self.simd, picture, self.arena.f32_mut(to)?)
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
        match *history {
            [] => {
                let ([velocity], [x]) = self.arena.disjoint([velocity], [x])?;
                solver::apply(step, x, velocity, &mut [], width, channels)
            }
            [last, m1, m2] => {
                let ([velocity], [x, last, m1, m2]) = self.arena.disjoint([velocity], [x, last, m1, m2])?;
                solver::apply(step, x, velocity, &mut [last, m1, m2], width, channels)
            }
            _ => Err(length(history.len(), step.history_len())),
        }
    }

    fn kv_open(&mut self, layout: KvLayout, regions: KvRegions) -> Result<()> {
        if self.kv.is_some() {
            return Err(Error::new(ErrorKind::Usage, "the memory is open already").at("memory"));
        }
        self.kv = Some(Kv::open(layout, regions, &mut self.arena, self.threads.count())?);
        Ok(())
    }

    fn kv_clear(&mut self) -> Result<()> {
        let (kv, host) = self.kv()?;
        kv.clear(host.arena)
    }

    fn kv_commit_predicted(&mut self, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<()> {
        let (kv, host) = self.kv()?;
        let moved = kv.commit_predicted(host, chunk, pass, rows)?;
        self.traffic.committed += moved;
        Ok(())
    }

    fn kv_drop_predicted(&mut self) -> Result<()> {
        let (kv, host) = self.kv()?;
        kv.drop_predicted(host.arena)
    }

    fn kv_commit_observed(&mut self, chunk: u32, commits: &[Commit<'_>]) -> Result<()> {
        let (kv, host) = self.kv()?;
        let moved = kv.commit_observed(host, chunk, commits)?;
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
        let (kv, _) = self.kv()?;
        kv.table(layer)
    }
}
