//! Copies, launches and graphs.

#![expect(unsafe_code, reason = "calls the vendor's driver through cudarc's thin layer")]

use super::{Nvidia, STAGING_BYTES, failed, fault};
use crate::cuda::Address;
use crate::cuda::driver::{Driver, Graph, Grid, Kernel, Nodes};
use crate::rows::Rows;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use drivewam_core::arena::ALIGNMENT;
use drivewam_core::{Error, ErrorKind, Result};
use std::ffi::c_void;
use std::ptr::{null, null_mut};

impl Driver for Nvidia {
    fn describe(&self) -> String {
        self.words.clone()
    }

    fn shared_bytes(&self) -> usize {
        self.primary.shared_bytes() as usize
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        self.enter()?;
        let (free, total) = self.told("the device does not tell its free memory", result::mem_get_info())?;
        let refused = || {
            Error::new(ErrorKind::Capacity, "the device does not give the memory")
                .at("device")
                .got(format!("a need of {bytes} bytes"))
                .wanted(format!(
                    "at most the {free} that are free of {total}: free some, or lower `memory.video_slots` or `memory.action_slots`"
                ))
        };
        if bytes > free && !self.primary.is_integrated() {
            return Err(refused());
        }
        // The driver promises 256 bytes: so much more that what is given out can begin where it must.
        let all = bytes.saturating_add(ALIGNMENT);
        // SAFETY: the context is current; the address is kept and freed in `drop`.
        let address = match unsafe { result::malloc_sync(all) } {
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => return Err(refused()),
            other => self.told("an allocation failed", other)?,
        };
        self.memory.push(address);
        // SAFETY: `address` has that many bytes, and nothing else uses them yet.
        let zeroed = unsafe { result::memset_d8_async(address, 0, all, self.stream) };
        self.told("memory cannot be cleared", zeroed)?;
        self.wait()?;
        Ok(address.next_multiple_of(ALIGNMENT as u64))
    }

    fn write(&mut self, to: Address, data: &[u8]) -> Result<()> {
        self.enter()?;
        if self.captures {
            return Err(fault("a copy from the host within a graph"));
        }
        let mut to = to;
        for piece in data.chunks(STAGING_BYTES) {
            if self.staged + piece.len() > STAGING_BYTES {
                self.wait()?;
            }
            // SAFETY: the outbox is STAGING_BYTES long, and `staged + piece.len()` is at most that.
            let place = unsafe { self.outbox.add(self.staged) };
            // SAFETY: the place has room, nothing on its way lies there (`staged`), and `piece` is ordinary memory.
            unsafe { place.copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
            // SAFETY: the bytes were just written and stay until the stream has come to rest.
            let staged = unsafe { std::slice::from_raw_parts(place, piece.len()) };
            // SAFETY: the caller's address is of this driver's memory, with room for `data`; the source is pinned and is not touched until `wait`.
            let sent = unsafe { result::memcpy_htod_async(to, staged, self.stream) };
            self.told("a copy to the device failed", sent)?;
            // The next place is aligned, whatever was sent.
            self.staged = (self.staged + piece.len()).next_multiple_of(16).min(STAGING_BYTES);
            to += piece.len() as u64;
        }
        Ok(())
    }

    fn read(&mut self, from: Address, out: &mut [u8]) -> Result<()> {
        self.enter()?;
        let mut from = from;
        for piece in out.chunks_mut(STAGING_BYTES) {
            // SAFETY: the inbox is STAGING_BYTES long; it began as what `malloc_host` gave, which any bytes may be.
            let staged = unsafe { std::slice::from_raw_parts_mut(self.inbox, piece.len()) };
            // SAFETY: the caller's address is of this driver's memory; the target is pinned and not looked at before `wait`.
            let sent = unsafe { result::memcpy_dtoh_async(staged, from, self.stream) };
            self.told("a copy from the device failed", sent)?;
            self.wait()?;
            piece.copy_from_slice(staged);
            from += piece.len() as u64;
        }
        Ok(())
    }

    fn copy_rows(&mut self, from: Address, to: Address, rows: Rows) -> Result<()> {
        self.enter()?;
        let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
        let copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: device,
            srcHost: null(),
            srcDevice: from,
            srcArray: null_mut(),
            srcPitch: rows.from_step,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: device,
            dstHost: null_mut(),
            dstDevice: to,
            dstArray: null_mut(),
            dstPitch: rows.to_step,
            WidthInBytes: rows.len,
            Height: rows.count,
        };
        // SAFETY: the caller's rows are inside of this driver's memory; the driver reads `copy` during the call.
        let sent = unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, self.stream) }.result();
        self.told("a copy on the device failed", sent)
    }

    unsafe fn launch(&mut self, kernel: Kernel, grid: Grid, params: &[u8]) -> Result<()> {
        self.enter()?;
        let mut arguments = [params.as_ptr().cast_mut().cast::<c_void>()];
        let [x, y] = grid.blocks;
        let function = self.functions[kernel as usize];
        if !self.captures {
            self.record(0)?;
        }
        // SAFETY: the caller vouches for the parameters, which the driver copies during the call; the function is of a loaded module.
        let launched =
            unsafe { result::launch_kernel(function, (x, y, 1), (grid.threads, 1, 1), grid.shared_bytes, self.stream, &mut arguments) };
        self.told("a launch failed", launched)
            .map_err(|e| e.at(kernel.name().to_string_lossy()).wanted(format!("a launch of {grid:?}")))?;
        if !self.captures {
            self.record(1)?;
        }
        self.note(kernel)
    }

    fn stream(&mut self) -> Result<*mut c_void> {
        self.enter()?;
        Ok(self.stream.cast())
    }

    fn begin_capture(&mut self) -> Result<()> {
        self.enter()?;
        self.wait()?;
        // SAFETY: the stream is alive and at rest.
        let begun = unsafe { result::stream::begin_capture(self.stream, sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) };
        self.told("a graph cannot be begun", begun)?;
        self.captures = true;
        Ok(())
    }

    fn end_capture(&mut self) -> Result<Graph> {
        self.enter()?;
        self.captures = false;
        // SAFETY: the stream is alive.
        let graph = unsafe { result::stream::end_capture(self.stream) };
        let graph = self.told("a graph cannot be ended", graph)?;
        // SAFETY: the graph was just made.
        let exec = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        let exec = match self.told("a graph cannot be made ready", exec) {
            Ok(exec) => exec,
            Err(error) => {
                // SAFETY: made above, and used by nobody. The error that is told is the first.
                let _ = unsafe { result::graph::destroy(graph) };
                return Err(error);
            }
        };
        self.graphs.push((graph, exec));
        // SAFETY: both are alive.
        let uploaded = unsafe { result::graph::upload(exec, self.stream) };
        self.told("a graph cannot be sent to the device", uploaded)?;
        self.wait()?;
        Ok(Graph(self.graphs.len() - 1))
    }

    fn replay(&mut self, graph: Graph) -> Result<()> {
        self.enter()?;
        let (_, exec) = self.graph(graph)?;
        // SAFETY: both are alive; addresses in the graph are of this driver's memory, which lives as long.
        let launched = unsafe { result::graph::launch(exec, self.stream) };
        self.told("a graph failed to start", launched)
    }

    fn nodes(&self, graph: Graph) -> Result<Nodes> {
        let (graph, _) = self.graph(graph)?;
        let mut count = 0;
        // SAFETY: the graph is alive; without a list the call tells the number.
        unsafe { sys::cuGraphGetNodes(graph, null_mut(), &raw mut count) }
            .result()
            .map_err(|e| failed("a graph does not tell its nodes", e))?;
        let mut list = vec![null_mut(); count];
        // SAFETY: the list has `count` places.
        unsafe { sys::cuGraphGetNodes(graph, list.as_mut_ptr(), &raw mut count) }
            .result()
            .map_err(|e| failed("a graph does not tell its nodes", e))?;
        let mut nodes = Nodes::default();
        for node in list {
            let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
            // SAFETY: the node is of a graph that is alive, and the place lives through the call.
            unsafe { sys::cuGraphNodeGetType(node, &raw mut kind) }.result().map_err(|e| failed("a node does not tell its kind", e))?;
            match kind {
                sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL => nodes.kernels += 1,
                sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEM_ALLOC | sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEM_FREE => nodes.memory += 1,
                _ => nodes.others += 1,
            }
        }
        Ok(nodes)
    }
}
