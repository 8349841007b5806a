//! The device contract, in four traits; `tests/src/conformance` tests every implementation.
//!
//! All operations run in order on one stream. Regions come from the plan that the device was made
//! with; a region of another plan is a `Usage` error. Nothing here allocates after
//! [`KvMemory::kv_open`] and [`ImageOps::open_camera`]. No operation returns the indices of a
//! selection: on a GPU they never reach the host.

use crate::copy::StridedCopy;
use crate::gpu::Gpu;
use crate::host_memory::HostMemory;
use crate::kv::{Commit, KvCounts, KvLayout, KvRegions, PassKv};
use crate::picture::Pictures;
use crate::resample::ResampleWeights;
use drivewam_core::Result;
use drivewam_core::arena::{ArenaPlan, Region};
use drivewam_core::flow::solver::SolverStep;
use drivewam_core::selection::SlotTable;
use std::fmt;
use std::ops::Range;

/// Work since the device was made. It depends on the plan and on the ride, not on the machine, so
/// a test can compare it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes from the caller into the arena.
    pub uploaded: u64,
    /// Bytes from the arena to the caller.
    pub downloaded: u64,
    /// Bytes of keys and values from a pass into the memory: each once, whatever is forgotten.
    pub committed: u64,
    /// Pictures resampled.
    pub pictures: u64,
    /// Solver steps.
    pub steps: u64,
}

/// The arena of a device, and transfers in and out of it.
pub trait DeviceMemory {
    /// A description of the machine, for reports.
    fn describe(&self) -> String;

    /// The plan of the arena.
    fn plan(&self) -> &ArenaPlan;

    /// The arena as the host addresses it; `None` on a device with memory of its own.
    fn host_arena(&mut self) -> Option<&mut dyn HostMemory>;

    /// The device as a GPU, for engines that run there; `None` on all others.
    fn gpu(&mut self) -> Option<&mut dyn Gpu> {
        None
    }

    /// Copies `data` to the start of the region `to`, rounded to its type.
    ///
    /// # Errors
    /// `Usage` when the region is too short, or of a type that the device does not keep in memory
    /// (the host keeps f32 alone).
    fn upload(&mut self, to: Region, data: &[f32]) -> Result<()>;

    /// Waits for all earlier work, then copies the start of the region `from` to `out`.
    ///
    /// # Errors
    /// Those of [`DeviceMemory::upload`] and [`DeviceMemory::synchronize`].
    fn download(&mut self, from: Region, out: &mut [f32]) -> Result<()>;

    /// Copies rows of `from` to `to` without conversion. Does not wait.
    ///
    /// # Errors
    /// `Usage` for rows that overlap or do not lie inside both regions, for regions of two types,
    /// and for a type that the device does not keep in memory.
    fn copy(&mut self, from: Region, to: Region, rows: StridedCopy) -> Result<()>;

    /// Sets every element of an f32 region.
    ///
    /// # Errors
    /// `Usage` when the region is not f32.
    fn fill(&mut self, region: Region, value: f32) -> Result<()>;

    /// Waits for all earlier work.
    ///
    /// A GPU works while the host goes on, and detects a number that is not finite later than the
    /// call that caused it. So an `Output` error that an operation documents is returned by that
    /// operation, by [`DeviceMemory::download`] or here, whichever comes first. Work that follows
    /// the fault until then does not change the KV memory.
    ///
    /// # Errors
    /// The first fault since the last one was returned. The device stays usable, unless it is a
    /// `Device` error.
    fn synchronize(&mut self) -> Result<()>;

    /// Work so far.
    fn traffic(&self) -> Traffic;
}

/// Resampling of camera pictures.
pub trait ImageOps {
    /// Takes the weights of [`ImageOps::resample`] for a camera's pictures, and allocates its work
    /// space. Warm; a later call replaces the camera.
    ///
    /// # Errors
    /// `Usage` when a weight reads outside the picture, or the picture's size does not suit its
    /// pixel format; `Capacity` when the work space cannot be allocated.
    fn open_camera(&mut self, pictures: Pictures, columns: ResampleWeights, rows: ResampleWeights) -> Result<()>;

    /// Converts a picture of the open camera to RGB and resamples it, columns first, then rows, to
    /// `[3, rows, columns]` f32, v / 127.5 − 1. An output without weights is black (−1).
    ///
    /// # Errors
    /// `Usage` before [`ImageOps::open_camera`], or when the picture or the region has another
    /// size.
    fn resample(&mut self, picture: &[u8], to: Region) -> Result<()>;
}

/// Steps of the flow solver.
pub trait SolverOps {
    /// One solver step on `x` `[rows, width]` (see [`drivewam_core::flow::solver`]). It steps
    /// `channels` and leaves the others unchanged. `history` has the length that the solver
    /// needs; each of its regions is as long as `x`.
    ///
    /// # Errors
    /// `Usage` when shapes disagree; `Output` for a velocity that is not finite, with its place.
    fn solve(&mut self, step: &SolverStep, x: Region, velocity: Region, history: &[Region], width: usize, channels: &[usize])
    -> Result<()>;
}

/// The KV memory: for each lane two pools of observed tokens and a tail of predicted ones.
pub trait KvMemory {
    /// Takes over the regions of each lane's memory: checks them, empties every slot, allocates the
    /// work space that the lanes share. Operations act on lane 0. Warm; called once.
    ///
    /// # Errors
    /// `Usage` when a region's shape or type is not the layout's, and without a lane; `Capacity`
    /// when the work space cannot be allocated.
    fn kv_open(&mut self, layout: &KvLayout, lanes: &[KvRegions]) -> Result<()>;

    /// Lets the operations below act on lane `lane` from now on.
    ///
    /// # Errors
    /// `Usage` before [`KvMemory::kv_open`] and beyond the last lane; the first fault of the device
    /// that was not returned yet, which belongs to the lane before: the lane is changed all the
    /// same.
    fn kv_use_lane(&mut self, lane: usize) -> Result<()>;

    /// Empties every slot. The bias masks the old values, so nothing reads them.
    ///
    /// # Errors
    /// `Usage` before [`KvMemory::kv_open`].
    fn kv_clear(&mut self) -> Result<()>;

    /// Replaces the tail by rows `rows` of a pass, as predicted tokens of `chunk`.
    ///
    /// # Errors
    /// `Usage` when the rows are not in the pass or do not fit the tail; `Output` for a key or
    /// value that is not finite. The memory is then unchanged.
    fn kv_commit_predicted(&mut self, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<()>;

    /// Empties the tail.
    ///
    /// # Errors
    /// `Usage` before [`KvMemory::kv_open`].
    fn kv_drop_predicted(&mut self) -> Result<()>;

    /// Commits the observed tokens of `chunk`, those of all pools or none.
    ///
    /// Each commit fills the lowest free slots of its pool while they suffice. Otherwise it
    /// overwrites, in every layer and head set, the slots that its policy forgets. Under
    /// [`drivewam_core::selection::Policy::Selective`] the device computes the scores, relevance
    /// from the queries of the committed rows, and stores them in the slot table. An empty slice
    /// changes nothing.
    ///
    /// # Errors
    /// `Usage` for a pool that is named twice, or for rows outside their pass; `Capacity` when the
    /// rows outnumber the pool, or under `full` without free slots; `Output` for a new key or
    /// value, or a query or score of a selection, that is not finite. The memory and its counts
    /// are then unchanged in every pool: all pools of all layers select before any is written.
    fn kv_commit_observed(&mut self, chunk: u32, commits: &[Commit<'_>]) -> Result<()>;

    /// Slots that hold a token.
    fn kv_counts(&self) -> KvCounts;

    /// The slot table of one layer, for reports and tests: allocates, and waits for the device.
    ///
    /// # Errors
    /// `Usage` before [`KvMemory::kv_open`] or beyond the last layer.
    fn kv_table(&mut self, layer: usize) -> Result<SlotTable>;
}

/// A whole device: memory and all operations between engine calls.
pub trait Device: DeviceMemory + ImageOps + SolverOps + KvMemory + Send + fmt::Debug {}

impl<T: DeviceMemory + ImageOps + SolverOps + KvMemory + Send + fmt::Debug> Device for T {}
