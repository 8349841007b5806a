//! What an engine of a vendor's library asks of the device: addresses of regions, the stream, and passes that are one graph each.

use super::driver::{Graph, Nodes};
use super::{Address, CudaDevice};
use drivewam_core::arena::Region;
use drivewam_core::{Error, ErrorKind, Result};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number for every device of the process: whoever keeps addresses of a device proves by it that they are of the device at hand.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl CudaDevice {
    /// This device's number in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where `region` lies, as long as the device lives.
    ///
    /// # Errors
    /// `Usage` for a region of another plan.
    pub fn address(&self, region: Region) -> Result<Address> {
        self.gpu.at(region)
    }

    /// The stream that all work of the device is ordered on; the device's context is current on this thread then. Work put on it may use regions of the
    /// arena as the device's own operations do.
    ///
    /// # Errors
    /// `Device`; also for the emulator of kernels, which has none.
    pub fn stream(&mut self) -> Result<*mut c_void> {
        self.gpu.driver.stream()
    }

    /// Makes a graph of the work that `enqueue` puts on the stream, which is then not done. Warm.
    ///
    /// # Errors
    /// Of `enqueue`; `Device` when the work cannot be captured, or would allocate when it is replayed.
    pub fn record(&mut self, enqueue: impl FnOnce(*mut c_void) -> Result<()>) -> Result<Graph> {
        let stream = self.gpu.driver.stream()?;
        self.gpu.driver.begin_capture()?;
        let enqueued = enqueue(stream);
        let graph = self.gpu.driver.end_capture();
        enqueued?;
        let graph = graph?;
        let nodes = self.gpu.driver.nodes(graph)?;
        if nodes.memory > 0 || nodes == Nodes::default() {
            return Err(Error::new(ErrorKind::Device, "a graph that allocates, or holds nothing")
                .at("device")
                .got(format!("{nodes:?}"))
                .wanted("launches, and no memory nodes"));
        }
        self.passes.push(graph);
        Ok(graph)
    }

    /// Does what a graph of [`CudaDevice::record`] holds. Does not allocate.
    ///
    /// # Errors
    /// `Usage` for another graph; `Device`.
    pub fn play(&mut self, graph: Graph) -> Result<()> {
        if !self.passes.contains(&graph) {
            return Err(Error::new(ErrorKind::Usage, "not a graph of a pass of this device").at("device").got(format!("{graph:?}")));
        }
        self.gpu.driver.replay(graph)
    }
}
