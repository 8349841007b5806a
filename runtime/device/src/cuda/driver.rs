//! What the CUDA device needs of the code that runs its kernels.

#![expect(unsafe_code, reason = "the caller of a launch guarantees its parameters")]

use crate::copy::StridedCopy;
use crate::gpu::{Address, CapturedGraph, GraphNodeCounts};
use crate::host_memory::HostMemory;
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
    /// `score.cu` on keys whose rotation is undone.
    ScoreTurnedF32,
    /// The same in half precision.
    ScoreTurnedF16,
    /// The same in bfloat16.
    ScoreTurnedBf16,
    /// `decide.cu`: selects slots and checks new rows.
    DecideF32,
    /// The same in half precision.
    DecideF16,
    /// The same in bfloat16.
    DecideBf16,
    /// `scatter.cu`: writes new rows into their slots.
    ScatterF32,
    /// The same in half precision.
    ScatterF16,
    /// The same in bfloat16.
    ScatterBf16,
    /// `scatter.cu`: empties the tail.
    Drop,
    /// `solver.cu`.
    Solver,
    /// `solver.cu`: fills a region with one value.
    Fill,
    /// `image.cu`.
    Image,
}

impl Kernel {
    /// All kernels, in the order of their numbers.
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

    /// The name of its entry point.
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

/// The grid of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchGrid {
    /// Blocks.
    pub blocks: [u32; 2],
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, bytes: at most [`Driver::shared_bytes`].
    pub shared_bytes: u32,
}

/// Threads of a block of a kernel that works on one element per thread.
const THREADS: u32 = 256;

impl LaunchGrid {
    /// A grid with one thread for each of `len` elements.
    pub(super) fn of_elements(len: usize) -> Result<Self> {
        let too_many = |_| Error::new(ErrorKind::Usage, "the launch has too many blocks").at("device").got(len);
        let blocks = u32::try_from(len.div_ceil(THREADS as usize).max(1)).map_err(too_many)?;
        Ok(Self { blocks: [blocks, 1], threads: THREADS, shared_bytes: 0 })
    }
}

/// The error for a graph that the driver did not capture.
pub(super) fn no_graph(graph: CapturedGraph) -> Error {
    Error::new(ErrorKind::Usage, "the graph belongs to another driver").at("device").got(graph.0)
}

/// Shared memory that a block may request on every supported architecture.
const SHARED_BYTES: usize = 99 * 1024;

/// Runs kernels and copies, in order, on one stream. Addresses are of this driver's own memory.
pub trait Driver: Send + fmt::Debug {
    /// A description of the machine, for reports.
    fn describe(&self) -> String;

    /// Shared memory that a block may request, bytes.
    fn shared_bytes(&self) -> usize {
        SHARED_BYTES
    }

    /// Allocates zeroed memory that lives as long as the driver, aligned as a region
    /// ([`drivewam_core::arena::ALIGNMENT`]). Warm.
    ///
    /// # Errors
    /// `Capacity`, with the free bytes; `Device`.
    fn allocate(&mut self, bytes: usize) -> Result<Address>;

    /// Allocates the memory of `plan`, as [`Driver::allocate`] does. Warm.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn allocate_arena(&mut self, plan: &ArenaPlan) -> Result<Address> {
        self.allocate(plan.bytes())
    }

    /// The arena as the host addresses it, where the host can.
    fn host_arena(&mut self) -> Option<&mut dyn HostMemory> {
        None
    }

    /// Copies `data` to `to`, ordered after all earlier work. The caller may change `data` as soon
    /// as this returns.
    ///
    /// # Errors
    /// `Device`.
    fn write(&mut self, to: Address, data: &[u8]) -> Result<()>;

    /// Waits for all earlier work, then copies to `out`.
    ///
    /// # Errors
    /// `Device`, also for a fault in an earlier launch.
    fn read(&mut self, from: Address, out: &mut [u8]) -> Result<()>;

    /// Copies rows within this driver's memory, ordered after all earlier work. `rows` counts bytes
    /// and stays inside the allocations at both addresses.
    ///
    /// # Errors
    /// `Device`.
    fn copy(&mut self, from: Address, to: Address, rows: StridedCopy) -> Result<()>;

    /// Launches a kernel with `params`, the bytes of its parameter struct.
    ///
    /// # Safety
    /// `params` are those of `kernel`, every address in them points into this driver's memory, and
    /// the kernel stays inside the allocations there.
    ///
    /// # Errors
    /// `Device`.
    unsafe fn launch(&mut self, kernel: Kernel, grid: LaunchGrid, params: &[u8]) -> Result<()>;

    /// The stream, for a library that enqueues its own work; its context is then current on this
    /// thread.
    ///
    /// # Errors
    /// `Device`.
    fn stream(&mut self) -> Result<*mut c_void>;

    /// Starts a capture: launches are recorded, not started. Warm.
    ///
    /// # Errors
    /// `Device`, also during another capture.
    fn begin_capture(&mut self) -> Result<()>;

    /// Ends the capture and makes a graph of it. Warm.
    ///
    /// # Errors
    /// `Device`, also for work that cannot be replayed (copies from the host).
    fn end_capture(&mut self) -> Result<CapturedGraph>;

    /// Starts all work of a graph, in order. Does not allocate.
    ///
    /// # Errors
    /// `Usage` for a graph of another driver; `Device`.
    fn replay(&mut self, graph: CapturedGraph) -> Result<()>;

    /// The nodes of a graph, by kind.
    ///
    /// # Errors
    /// As [`Driver::replay`].
    fn node_counts(&self, graph: CapturedGraph) -> Result<GraphNodeCounts>;
}
