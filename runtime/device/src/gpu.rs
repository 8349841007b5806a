//! What an engine needs of the GPU that a device runs on.
//!
//! At bind time an engine takes the addresses of its regions and captures its pass into a graph;
//! at run time it replays the graph.

use drivewam_core::Result;
use drivewam_core::arena::Region;
use std::ffi::c_void;

/// An address in GPU memory.
pub type Address = u64;

/// A captured graph. It belongs to the device that captured it and lives as long as the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapturedGraph(pub(crate) usize);

/// The nodes of a graph, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GraphNodeCounts {
    /// Kernel launches.
    pub kernels: usize,
    /// Allocations and frees. A graph that has any would allocate in a replay.
    pub memory: usize,
    /// Nodes of any other kind.
    pub others: usize,
}

/// The priority of a stream: which stream's kernels the GPU starts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamPriority {
    /// The ride's stream.
    High,
    /// Streams beside the ride's.
    Low,
}

/// A GPU with one stream, which orders all work on it.
pub trait Gpu {
    /// A number that is unique to this device within the process. An engine that keeps addresses
    /// compares it to detect another device.
    fn id(&self) -> u64;

    /// The address of `region`. It stays valid as long as the device lives.
    ///
    /// # Errors
    /// `Usage` for a region of another plan.
    fn address(&self, region: Region) -> Result<Address>;

    /// The stream, with the device's context current on this thread. Work that a caller enqueues
    /// there may use regions of the arena as the device's own operations do.
    ///
    /// # Errors
    /// `Device`; always on the emulator of kernels, which has no stream.
    fn stream(&mut self) -> Result<*mut c_void>;

    /// Starts a capture: until [`Gpu::end_capture`], work on the stream is recorded and not done.
    /// Prefer [`capture`], which always ends what it began. Warm.
    ///
    /// # Errors
    /// `Device`, also during another capture.
    fn begin_capture(&mut self) -> Result<()>;

    /// Ends a capture and makes a graph of the recorded work. Warm.
    ///
    /// # Errors
    /// `Usage` when the recorded commits fill free slots, which a replay would not do again;
    /// `Device`, also for work that cannot be captured.
    fn end_capture(&mut self) -> Result<CapturedGraph>;

    /// Starts the work of a graph, ordered after all earlier work. Does not allocate.
    ///
    /// # Errors
    /// `Usage` for a graph of another device, and for a graph of KV operations when the memory
    /// holds another number of tokens than at capture; `Device`.
    fn replay(&mut self, graph: CapturedGraph) -> Result<()>;

    /// The nodes of a graph.
    ///
    /// # Errors
    /// `Usage` for a graph of another device; `Device`.
    fn node_counts(&self, graph: CapturedGraph) -> Result<GraphNodeCounts>;
}

/// Captures the work that `enqueue` puts on the stream of `gpu`: work of a library, or operations
/// of the device itself. The work is not done. Warm.
///
/// # Errors
/// Those of `enqueue`, [`Gpu::begin_capture`] and [`Gpu::end_capture`].
pub fn capture<G: Gpu + ?Sized>(gpu: &mut G, enqueue: impl FnOnce(&mut G) -> Result<()>) -> Result<CapturedGraph> {
    gpu.begin_capture()?;
    let enqueued = enqueue(gpu);
    let graph = gpu.end_capture();
    enqueued?;
    graph
}
