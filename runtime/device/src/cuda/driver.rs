//! What the CUDA device asks of whatever runs its kernels.

#![expect(unsafe_code, reason = "a launch is a promise about its parameters")]

use super::Address;
use crate::host::HostArena;
use crate::rows::Rows;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::{Error, ErrorKind, Result};
use std::ffi::c_void;
use std::fmt;

/// A kernel of `kernels/*.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Kernel {
    /// `score.cu` on keys as the cache holds them.
    ScoreF32,
    /// The same in half precision.
    ScoreF16,
    /// The same in bfloat16.
    ScoreBf16,
    /// `score.cu` on keys that are turned back.
    ScoreTurnedF32,
    /// The same in half precision.
    ScoreTurnedF16,
    /// The same in bfloat16.
    ScoreTurnedBf16,
    /// `decide.cu`: chooses slots and looks at new rows.
    DecideF32,
    /// The same in half precision.
    DecideF16,
    /// The same in bfloat16.
    DecideBf16,
    /// `scatter.cu`: writes them.
    ScatterF32,
    /// The same in half precision.
    ScatterF16,
    /// The same in bfloat16.
    ScatterBf16,
    /// `scatter.cu`: empties the tail.
    Drop,
    /// `solver.cu`.
    Solver,
    /// `solver.cu`: one value everywhere.
    Fill,
    /// `image.cu`.
    Image,
}

impl Kernel {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::ScoreF32,
        Self::ScoreF16,
        Self::ScoreBf16,
        Self::ScoreTurnedF32,
        Self::ScoreTurnedF16,
        Self::ScoreTurnedBf16,
        Self::DecideF32,
        Self::DecideF16,
        Self::DecideBf16,
        Self::ScatterF32,
        Self::ScatterF16,
        Self::ScatterBf16,
        Self::Drop,
        Self::Solver,
        Self::Fill,
        Self::Image,
    ];

    /// Its entry point.
    pub fn name(self) -> &'static std::ffi::CStr {
        match self {
            Self::ScoreF32 => c"score_f32",
            Self::ScoreF16 => c"score_f16",
            Self::ScoreBf16 => c"score_bf16",
            Self::ScoreTurnedF32 => c"score_turned_f32",
            Self::ScoreTurnedF16 => c"score_turned_f16",
            Self::ScoreTurnedBf16 => c"score_turned_bf16",
            Self::DecideF32 => c"decide_f32",
            Self::DecideF16 => c"decide_f16",
            Self::DecideBf16 => c"decide_bf16",
            Self::ScatterF32 => c"scatter_f32",
            Self::ScatterF16 => c"scatter_f16",
            Self::ScatterBf16 => c"scatter_bf16",
            Self::Drop => c"drop",
            Self::Solver => c"solver",
            Self::Fill => c"fill",
            Self::Image => c"image",
        }
    }
}

/// The shape of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks.
    pub blocks: [u32; 2],
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, bytes: at most [`Driver::shared_bytes`].
    pub shared_bytes: u32,
}

/// A graph of the driver that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graph(pub(super) usize);

/// Whose kernels a GPU begins first, where it has room for those of several streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// The ride's.
    High,
    /// Of what runs beside it.
    Low,
}

/// The nodes of a graph by kind. A graph that has memory nodes would allocate when it is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nodes {
    /// Launches.
    pub kernels: usize,
    /// Allocations and frees.
    pub memory: usize,
    /// Anything else.
    pub others: usize,
}

/// Where a graph is looked up.
pub(super) fn no_graph(graph: Graph) -> Error {
    Error::new(ErrorKind::Usage, "a graph of another driver").at("device").got(graph.0)
}

/// Shared memory that a block may have on every supported architecture, when it asks.
const SHARED_BYTES: usize = 99 * 1024;

/// Runs kernels and copies, in order, on one stream. Addresses are of this driver's own memory.
pub trait Driver: Send + fmt::Debug {
    /// The machine in words, for reports.
    fn describe(&self) -> String;

    /// Shared memory that a block may have.
    fn shared_bytes(&self) -> usize {
        SHARED_BYTES
    }

    /// Zeroed memory that lives as long as the driver, aligned as a region ([`drivewam_core::arena::ALIGNMENT`]). Warm.
    ///
    /// # Errors
    /// `Capacity`, with what is free; `Device`.
    fn allocate(&mut self, bytes: usize) -> Result<Address>;

    /// The memory of `plan`, as [`Driver::allocate`]. Warm.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn allocate_arena(&mut self, plan: &ArenaPlan) -> Result<Address> {
        self.allocate(plan.bytes())
    }

    /// The arena as the host addresses it, where the host can.
    fn host(&mut self) -> Option<&mut HostArena> {
        None
    }

    /// Copies `data` to `to`, after everything before it. `data` may change as soon as this returns.
    ///
    /// # Errors
    /// `Device`.
    fn write(&mut self, to: Address, data: &[u8]) -> Result<()>;

    /// Copies to `out`, after everything before it is done: waits.
    ///
    /// # Errors
    /// `Device`, also for what went wrong in an earlier launch.
    fn read(&mut self, from: Address, out: &mut [u8]) -> Result<()>;

    /// Copies rows within this driver's memory, in their order with everything else; `rows` counts bytes, and is inside of what lies at both addresses.
    ///
    /// # Errors
    /// `Device`.
    fn copy_rows(&mut self, from: Address, to: Address, rows: Rows) -> Result<()>;

    /// Starts a kernel with `params`, the bytes of its parameter struct.
    ///
    /// # Safety
    /// `params` are those of `kernel`, every address in them is of this driver's memory, and the kernel stays inside what lies there.
    ///
    /// # Errors
    /// `Device`.
    unsafe fn launch(&mut self, kernel: Kernel, grid: Grid, params: &[u8]) -> Result<()>;

    /// The stream, for a vendor's library that puts work of its own on it; its context is current on this thread then.
    ///
    /// # Errors
    /// `Device`.
    fn stream(&mut self) -> Result<*mut c_void>;

    /// From here on launches are written down, and not started. Warm.
    ///
    /// # Errors
    /// `Device`, also when it is so already.
    fn begin_capture(&mut self) -> Result<()>;

    /// Ends that, and makes a graph of what was written down. Warm.
    ///
    /// # Errors
    /// `Device`, also for what cannot be repeated (copies from the host).
    fn end_capture(&mut self) -> Result<Graph>;

    /// Starts all launches of a graph, in their order. Does not allocate.
    ///
    /// # Errors
    /// `Usage` for a graph of another driver; `Device`.
    fn replay(&mut self, graph: Graph) -> Result<()>;

    /// What a graph is made of.
    ///
    /// # Errors
    /// As [`Driver::replay`].
    fn nodes(&self, graph: Graph) -> Result<Nodes>;
}
