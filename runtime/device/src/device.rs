//! What every device must do; `tests/conformance` holds each implementation to it.
//!
//! All operations run in order on one stream. Regions come from the plan that the device was made with; a region of another plan is `Usage`.
//! Nothing here allocates after [`Device::kv_open`] and [`Device::open_camera`], and nothing returns indices of a selection to the caller: on an accelerator they never
//! visit the host.

use crate::cuda::CudaDevice;
use crate::host::HostArena;
use crate::picture::Pictures;
use crate::rows::Rows;
use crate::taps::Taps;
use drivewam_core::Result;
use drivewam_core::arena::{ArenaPlan, Region};
use drivewam_core::config::{Config, MemoryPolicy};
use drivewam_core::flow::solver::SolverStep;
use drivewam_core::rope::RopeTable;
use drivewam_core::selection::{Policy, Scoring, SlotTable};
use std::fmt;
use std::ops::Range;

/// One of the two pools of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Video tokens.
    Video,
    /// Action tokens.
    Action,
}

/// The shape of the KV memory: slots ordered video pool, action pool, in-flight tail.
#[derive(Debug, Clone, PartialEq)]
pub struct KvLayout {
    /// L.
    pub layers: usize,
    /// H.
    pub heads: usize,
    /// D.
    pub head_dim: usize,
    /// Slots of the video pool.
    pub video_slots: usize,
    /// Slots of the action pool.
    pub action_slots: usize,
    /// Slots of the in-flight tail, where predicted video lives until the observed commit.
    pub tail_slots: usize,
    /// Most tokens of one pass (Nv + Na).
    pub pass_tokens: usize,
    /// Who decides what is forgotten: how large a pool a device can choose from depends on it.
    pub policy: MemoryPolicy,
    /// How `selective` scores.
    pub scoring: Scoring,
    /// Turns a token's place into its rotation: what `keys: pre_rope` undoes.
    pub rope: RopeTable,
}

impl KvLayout {
    /// The memory that a configuration asks for.
    pub fn of(config: &Config) -> Self {
        let model = &config.model;
        let (video_slots, action_slots, tail_slots) = config.slots();
        Self {
            layers: model.layers,
            heads: model.heads,
            head_dim: model.head_dim,
            video_slots,
            action_slots,
            tail_slots,
            pass_tokens: model.packed_tokens(),
            policy: config.memory.policy,
            scoring: config.memory.scoring,
            rope: RopeTable::new(model),
        }
    }

    /// S.
    pub fn slots(&self) -> usize {
        self.video_slots + self.action_slots + self.tail_slots
    }

    /// The slots of `pool`.
    pub fn pool(&self, pool: Pool) -> Range<usize> {
        match pool {
            Pool::Video => 0..self.video_slots,
            Pool::Action => self.video_slots..self.video_slots + self.action_slots,
        }
    }

    /// The in-flight tail.
    pub fn tail(&self) -> Range<usize> {
        self.video_slots + self.action_slots..self.slots()
    }
}

/// Where the memory lies in the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvRegions {
    /// `[H, S, D]` per layer, all of one type: f32 on the host; f32, f16 or bf16 on a GPU.
    pub k: Vec<Region>,
    /// The same.
    pub v: Vec<Region>,
    /// `[S]` f32: 0 for a filled slot, [`drivewam_core::bindings::MASKED`] for an empty one; kept by the device.
    pub bias: Region,
}

/// What a pass of the transformer put out, `[H, N, D]` per layer, of the memory's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassKv {
    /// N of the pass.
    pub tokens: usize,
    /// Keys after the rotation.
    pub k: Vec<Region>,
    /// Values.
    pub v: Vec<Region>,
    /// Queries after the rotation.
    pub q: Vec<Region>,
}

/// Rows of a pass that become the observed tokens of one pool.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    /// Which pool.
    pub pool: Pool,
    /// Who decides what it forgets.
    pub policy: Policy<'a>,
    /// What the pass put out.
    pub pass: &'a PassKv,
    /// The rows of it.
    pub rows: Range<usize>,
}

/// Slots that hold a token. Known by arithmetic: the same for every layer and head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvCounts {
    /// In the video pool.
    pub video: usize,
    /// In the action pool.
    pub action: usize,
    /// In the tail.
    pub tail: usize,
}

impl KvCounts {
    /// Those of a pool, to change.
    pub(crate) fn of_mut(&mut self, pool: Pool) -> &mut usize {
        match pool {
            Pool::Video => &mut self.video,
            Pool::Action => &mut self.action,
        }
    }

    /// All of them: the memory keys that a row sees.
    pub fn total(&self) -> usize {
        self.video + self.action + self.tail
    }
}

/// What moved since the device was made. It depends on the plan and the ride, never on the machine: a regression shows in it.
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

/// Memory and the operations between engine calls. See the module's doc.
pub trait Device: Send + fmt::Debug {
    /// The machine in words, for reports.
    fn describe(&self) -> String;

    /// The plan that its one allocation follows.
    fn plan(&self) -> &ArenaPlan;

    /// Memory that the host can address; `None` on a device with memory of its own.
    fn host(&mut self) -> Option<&mut HostArena>;

    /// The device as a GPU, for engines that run there; `None` on all others.
    fn cuda(&mut self) -> Option<&mut CudaDevice> {
        None
    }

    /// Copies `data` to the start of the region `to`, rounded to its type.
    ///
    /// # Errors
    /// `Usage` when the region is too short, or of a type that the device does not keep in memory (the host: all but f32).
    fn upload(&mut self, to: Region, data: &[f32]) -> Result<()>;

    /// Copies the start of the region `from` to `out`, after everything before it is done.
    ///
    /// # Errors
    /// As [`Device::upload`] and [`Device::settle`].
    fn download(&mut self, from: Region, out: &mut [f32]) -> Result<()>;

    /// Copies rows of `from` to `to`, as they are. Does not wait.
    ///
    /// # Errors
    /// `Usage` for rows that are not inside of both regions, or overlap; for regions of two types, or of one that the device does not keep in memory.
    fn copy_rows(&mut self, from: Region, to: Region, rows: Rows) -> Result<()>;

    /// Sets every element of an f32 region.
    ///
    /// # Errors
    /// `Usage` when the region is not f32.
    fn fill(&mut self, region: Region, value: f32) -> Result<()>;

    /// Waits until everything so far is done. A device that works on its own while the host goes on finds numbers that are not finite only then: an
    /// `Output` that an operation promises surfaces there, here, or in [`Device::download`], whichever comes first; what follows the fault until then
    /// does not change the memory.
    ///
    /// # Errors
    /// The first fault since it was last told. The device is good to go on, unless it is a `Device` error.
    fn settle(&mut self) -> Result<()>;

    /// Takes the taps of [`Device::resample`] for a camera's pictures, and makes its work space. Warm; may be called again for another camera.
    ///
    /// # Errors
    /// `Usage` when taps reach outside the picture, or its size does not fit its format; `Capacity` when the space is not to be had.
    fn open_camera(&mut self, pictures: Pictures, columns: Taps, rows: Taps) -> Result<()>;

    /// Resamples a picture of the open camera, in RGB, to `[3, rows, columns]` f32, v/127.5 − 1: the columns first, then the rows. Without taps an output is black (−1).
    ///
    /// # Errors
    /// `Usage` before [`Device::open_camera`], or when the picture or the region has another size.
    fn resample(&mut self, picture: &[u8], to: Region) -> Result<()>;

    /// One solver step on `x` `[rows, width]` (see [`drivewam_core::flow::solver`]); `channels` are stepped, the others stay as they are.
    /// `history` has the length that the solver asks for, each region as long as `x`.
    ///
    /// # Errors
    /// `Usage` when shapes disagree; `Output` for a velocity that is not finite, with its place.
    fn solve(&mut self, step: &SolverStep, x: Region, velocity: Region, history: &[Region], width: usize, channels: &[usize])
    -> Result<()>;

    /// Takes over the memory's regions: checks them, empties every slot, makes all work space. Warm; called once.
    ///
    /// # Errors
    /// `Usage` when a region's shape or dtype is not the layout's; `Capacity` when work space is not to be had.
    fn kv_open(&mut self, layout: KvLayout, regions: KvRegions) -> Result<()>;

    /// Empties every slot. The values that were there are unreachable: their bias masks them.
    ///
    /// # Errors
    /// `Usage` before `kv_open`.
    fn kv_clear(&mut self) -> Result<()>;

    /// Writes rows `rows` of a pass into the tail as predicted tokens of `chunk`, replacing what was there.
    ///
    /// # Errors
    /// `Usage` when the rows are not in the pass or do not fit the tail; `Output` for a key or value that is not finite. The memory is then
    /// unchanged.
    fn kv_commit_predicted(&mut self, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<()>;

    /// Empties the tail.
    ///
    /// # Errors
    /// `Usage` before `kv_open`.
    fn kv_drop_predicted(&mut self) -> Result<()>;

    /// Commits the observed tokens of `chunk`, those of all pools or none. For each of `commits`: while free slots suffice, into the lowest of them;
    /// else, in every layer and head set, over the slots that its policy forgets. Under [`Policy::Selective`] the device computes the scores itself
    /// (the slice that the variant carries is ignored and may be empty) and keeps them in the slot table. The rows' queries are the relevance's.
    /// No commits change nothing.
    ///
    /// # Errors
    /// `Usage` for a pool that is named twice, or when rows are not in their pass; `Capacity` when they outnumber the pool, or under `full` without free
    /// slots; `Output` for a new key or value, or a query or score of a selection, that is not finite. The memory is then unchanged, its counts too, in
    /// every pool: all pools of all layers choose before any is written.
    fn kv_commit_observed(&mut self, chunk: u32, commits: &[Commit<'_>]) -> Result<()>;

    /// Slots that hold a token.
    fn kv_counts(&self) -> KvCounts;

    /// What moved so far.
    fn traffic(&self) -> Traffic;

    /// The slot table of one layer, for people and tests: allocates, and waits for the device.
    ///
    /// # Errors
    /// `Usage` before `kv_open` or beyond the last layer.
    fn kv_table(&mut self, layer: usize) -> Result<SlotTable>;
}
