//! Copies, launches and graphs on the vendor's driver.

#![expect(unsafe_code, reason = "calls the vendor's driver through cudarc's thin layer")]

use super::clock::Edge;
use super::error::{failed, fault};
use super::handles::{Nvidia, STAGING_BYTES};
use crate::copy::StridedCopy;
use crate::cuda::driver::{Driver, Kernel, LaunchGrid};
use crate::gpu::{Address, CapturedGraph, GraphNodeCounts};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use drivewam_core::arena::ALIGNMENT;
use drivewam_core::{Error, ErrorKind, Result};
use std::ffi::c_void;
use std::ptr::{null, null_mut};

impl Driver for Nvidia {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn shared_bytes(&self) -> usize {
        self.primary.shared_bytes() as usize
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        self.enter()?;
        let (free, total) = self.check("cannot read the free memory of the device", result::mem_get_info())?;
        let refused = || {
            Error::new(ErrorKind::Capacity, "the device has too little free memory")
                .at("device")
                .got(format!("a need of {bytes} bytes"))
                .wanted(format!(
                    "at most the {free} that are free of {total}: free some, or lower `memory.video_slots` or `memory.action_slots`"
                ))
        };
        if bytes > free && !self.primary.is_integrated() {
            return Err(refused());
        }
        // The driver aligns to 256 bytes alone, so the allocation has room for the arena's
        // alignment.
        let padded = bytes.saturating_add(ALIGNMENT);
        // SAFETY: the context is current; `drop` frees the address.
        let address = match unsafe { result::malloc_sync(padded) } {
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => return Err(refused()),
            other => self.check("an allocation failed", other)?,
        };
        self.memory.push(address);
        // SAFETY: the allocation has that many bytes, and nothing else uses them yet.
        let zeroed = unsafe { result::memset_d8_async(address, 0, padded, self.stream) };
        self.check("cannot clear memory", zeroed)?;
        self.wait()?;
        Ok(address.next_multiple_of(ALIGNMENT as u64))
    }

    fn write(&mut self, to: Address, data: &[u8]) -> Result<()> {
        self.enter()?;
        if self.is_capturing {
            return Err(fault("a graph cannot hold a copy from the host"));
        }
        let mut to = to;
        for piece in data.chunks(STAGING_BYTES) {
            if self.staged + piece.len() > STAGING_BYTES {
                self.wait()?;
            }
            // SAFETY: the outbox is STAGING_BYTES long, and `staged + piece.len()` is at most that.
            let slot = unsafe { self.outbox.add(self.staged) };
            // SAFETY: the slot has room, no copy under way reads it (`staged`), and `piece` is
            // ordinary memory.
            unsafe { slot.copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
            // SAFETY: the bytes were just written and stay until the stream has drained.
            let staged = unsafe { std::slice::from_raw_parts(slot, piece.len()) };
            // SAFETY: the caller's address is of this driver's memory, with room for `data`; the
            // source is pinned, and nothing writes it until `wait`.
            let sent = unsafe { result::memcpy_htod_async(to, staged, self.stream) };
            self.check("a copy to the device failed", sent)?;
            // The next piece begins aligned.
            self.staged = (self.staged + piece.len()).next_multiple_of(16).min(STAGING_BYTES);
            to += piece.len() as u64;
        }
        Ok(())
    }

    fn read(&mut self, from: Address, out: &mut [u8]) -> Result<()> {
        self.enter()?;
        let mut from = from;
        for piece in out.chunks_mut(STAGING_BYTES) {
            // SAFETY: the inbox is STAGING_BYTES long, and any bytes are valid.
            let staged = unsafe { std::slice::from_raw_parts_mut(self.inbox, piece.len()) };
            // SAFETY: the caller's address is of this driver's memory; the target is pinned, and
            // nothing reads it before `wait`.
            let sent = unsafe { result::memcpy_dtoh_async(staged, from, self.stream) };
            self.check("a copy from the device failed", sent)?;
            self.wait()?;
            piece.copy_from_slice(staged);
            from += piece.len() as u64;
        }
        Ok(())
    }

    fn copy(&mut self, from: Address, to: Address, rows: StridedCopy) -> Result<()> {
        self.enter()?;
        let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
        let copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: device,
            srcHost: null(),
            srcDevice: from,
            srcArray: null_mut(),
            srcPitch: rows.from_stride,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: device,
            dstHost: null_mut(),
            dstDevice: to,
            dstArray: null_mut(),
            dstPitch: rows.to_stride,
            WidthInBytes: rows.len,
            Height: rows.count,
        };
        // SAFETY: the caller's rows lie inside this driver's memory; the driver reads `copy` during
        // the call.
        let sent = unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, self.stream) }.result();
        self.check("a copy on the device failed", sent)
    }

    unsafe fn launch(&mut self, kernel: Kernel, grid: LaunchGrid, params: &[u8]) -> Result<()> {
        self.enter()?;
        let mut arguments = [params.as_ptr().cast_mut().cast::<c_void>()];
        let [x, y] = grid.blocks;
        let function = self.functions[kernel as usize];
        self.record_event(Edge::Begin)?;
        // SAFETY: the caller guarantees the parameters, which the driver copies during the call;
        // the function is of a loaded module.
        let launched =
            unsafe { result::launch_kernel(function, (x, y, 1), (grid.threads, 1, 1), grid.shared_bytes, self.stream, &mut arguments) };
        self.check("a launch failed", launched)
            .map_err(|e| e.at(kernel.name().to_string_lossy()).wanted(format!("a launch of {grid:?}")))?;
        self.record_event(Edge::End)?;
        self.report_time(kernel)
    }

    fn stream(&mut self) -> Result<*mut c_void> {
        self.enter()?;
        Ok(self.stream.cast())
    }

    fn begin_capture(&mut self) -> Result<()> {
        self.enter()?;
        self.wait()?;
        // SAFETY: the stream is alive and drained.
        let begun = unsafe { result::stream::begin_capture(self.stream, sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) };
        self.check("cannot begin a capture", begun)?;
        self.is_capturing = true;
        Ok(())
    }

    fn end_capture(&mut self) -> Result<CapturedGraph> {
        self.enter()?;
        self.is_capturing = false;
        // SAFETY: the stream is alive.
        let graph = unsafe { result::stream::end_capture(self.stream) };
        let graph = self.check("cannot end a capture", graph)?;
        // SAFETY: the graph was just created.
        let exec = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        let exec = match self.check("cannot instantiate a graph", exec) {
            Ok(exec) => exec,
            Err(error) => {
                // The first error is returned.
                // SAFETY: created above, and nothing uses it.
                let _ = unsafe { result::graph::destroy(graph) };
                return Err(error);
            }
        };
        self.graphs.push((graph, exec));
        // SAFETY: both are alive.
        let uploaded = unsafe { result::graph::upload(exec, self.stream) };
        self.check("cannot upload a graph to the device", uploaded)?;
        self.wait()?;
        Ok(CapturedGraph(self.graphs.len() - 1))
    }

    fn replay(&mut self, graph: CapturedGraph) -> Result<()> {
        self.enter()?;
        let (_, exec) = self.graph(graph)?;
        // SAFETY: both are alive; addresses in the graph are of this driver's memory, which lives
        // as long.
        let launched = unsafe { result::graph::launch(exec, self.stream) };
        self.check("cannot launch a graph", launched)
    }

    fn node_counts(&self, graph: CapturedGraph) -> Result<GraphNodeCounts> {
        let (graph, _) = self.graph(graph)?;
        let mut count = 0;
        // SAFETY: the graph is alive; without a list the call returns the number of nodes.
        unsafe { sys::cuGraphGetNodes(graph, null_mut(), &raw mut count) }
            .result()
            .map_err(|e| failed("cannot list the nodes of a graph", e))?;
        let mut list = vec![null_mut(); count];
        // SAFETY: the list has `count` entries.
        unsafe { sys::cuGraphGetNodes(graph, list.as_mut_ptr(), &raw mut count) }
            .result()
            .map_err(|e| failed("cannot list the nodes of a graph", e))?;
        let mut nodes = GraphNodeCounts::default();
        for node in list {
            let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
            // SAFETY: the node is of a graph that is alive, and the variable lives through the
            // call.
            unsafe { sys::cuGraphNodeGetType(node, &raw mut kind) }.result().map_err(|e| failed("cannot read the kind of a node", e))?;
            match kind {
                sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL => nodes.kernels += 1,
                sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEM_ALLOC | sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEM_FREE => nodes.memory += 1,
                _ => nodes.others += 1,
            }
        }
        Ok(nodes)
    }
}

impl Nvidia {
    /// Records an event of the clock, where there is one and no capture is under way.
    fn record_event(&mut self, edge: Edge) -> Result<()> {
        let Some(clock) = self.clock.as_ref().filter(|_| !self.is_capturing) else { return Ok(()) };
        // SAFETY: stream and context are alive until `drop`.
        let recorded = unsafe { clock.record(edge, self.stream) };
        self.check("cannot record an event", recorded)
    }

    /// Waits for a launch and reports its time, where there is a clock and no capture is under way.
    fn report_time(&mut self, kernel: Kernel) -> Result<()> {
        if self.clock.is_none() || self.is_capturing {
            return Ok(());
        }
        self.wait()?;
        match &mut self.clock {
            // SAFETY: both events were recorded on the stream, which has drained.
            Some(clock) => unsafe { clock.report(kernel) },
            None => Ok(()),
        }
    }
}
