//! The handles of one GPU: context, stream, module, memory and graphs; opened in Warm, released
//! when dropped.

#![expect(unsafe_code, reason = "calls the vendor's driver through cudarc's thin layer")]

use super::clock::Clock;
use super::error::{failed, fault, is_fatal, keep_release_error};
use super::primary::PrimaryContext;
use crate::cuda::cubins::KernelManifest;
use crate::cuda::driver::{Kernel, no_graph};
use crate::gpu::{CapturedGraph, StreamPriority};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use drivewam_core::Result;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

/// Pinned memory for copies in each direction, bytes.
pub(super) const STAGING_BYTES: usize = 8 << 20;

/// One GPU with the kernels loaded.
#[derive(Debug)]
pub struct Nvidia {
    pub(super) description: String,
    pub(super) primary: Arc<PrimaryContext>,
    pub(super) stream: sys::CUstream,
    module: sys::CUmodule,
    pub(super) functions: [sys::CUfunction; Kernel::ALL.len()],
    pub(super) memory: Vec<sys::CUdeviceptr>,
    /// Pinned, [`STAGING_BYTES`] long, for writes. The copies of its first `staged` bytes may still
    /// be under way.
    pub(super) outbox: *mut u8,
    pub(super) staged: usize,
    /// The same for reads.
    pub(super) inbox: *mut u8,
    pub(super) graphs: Vec<(sys::CUgraph, sys::CUgraphExec)>,
    pub(super) is_capturing: bool,
    /// Times launches, for benchmarks.
    pub(super) clock: Option<Clock>,
    /// After a fault that makes the context unusable, every call fails.
    lost: bool,
}

// SAFETY: handles of the driver belong to a context and to no thread; `enter` makes the context
// current on the calling thread.
unsafe impl Send for Nvidia {}

/// Creates a stream in the current context that does not wait for others.
fn stream(priority: StreamPriority) -> std::result::Result<sys::CUstream, DriverError> {
    let (mut low, mut high, mut stream) = (0, 0, null_mut());
    // SAFETY: both variables live through the call.
    unsafe { sys::cuCtxGetStreamPriorityRange(&raw mut low, &raw mut high) }.result()?;
    let priority = if priority == StreamPriority::High { high } else { low };
    let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
    // SAFETY: as above.
    unsafe { sys::cuStreamCreateWithPriority(&raw mut stream, flags, priority) }.result()?;
    Ok(stream)
}

impl Nvidia {
    /// Opens GPU `ordinal` with a stream of `priority`, and loads its kernels from the folder
    /// `kernels`, which `build_kernels` wrote. Warm.
    ///
    /// # Errors
    /// `Device` when no driver is installed, it is too old, there is no such GPU, or the release of
    /// an earlier device failed; `Manifest` when the folder has no attested kernels that the GPU
    /// runs.
    pub fn open(ordinal: i32, kernels: &Path, priority: StreamPriority) -> Result<Self> {
        let primary = PrimaryContext::retain(ordinal)?;
        let ([major, minor], driver) = (primary.capability(), primary.driver());
        let manifest = KernelManifest::read(kernels)?;
        let entry = manifest.for_device((major, minor))?;
        manifest.check(entry, driver.map(u32::cast_signed)).map_err(|e| e.at(kernels.display()))?;
        let mut code = entry.load(kernels)?;
        // PTX is text, which the driver reads up to a zero byte.
        code.push(0);
        let description = format!(
            "{}, compute capability {major}.{minor}, driver CUDA {}.{}, kernels {}",
            primary.name(),
            driver[0],
            driver[1],
            entry.file
        );
        let mut nvidia = Self {
            description,
            primary,
            stream: null_mut(),
            module: null_mut(),
            functions: [null_mut(); Kernel::ALL.len()],
            memory: Vec::new(),
            outbox: null_mut(),
            staged: 0,
            inbox: null_mut(),
            graphs: Vec::new(),
            is_capturing: false,
            clock: None,
            lost: false,
        };
        // From here on `drop` releases what was created.
        nvidia.enter()?;
        nvidia.stream = stream(priority).map_err(|e| failed("cannot create a stream", e))?;
        // SAFETY: `code` is what the manifest attests, ends in a zero, and lives through the call,
        // which copies it.
        nvidia.module =
            unsafe { result::module::load_data(code.as_ptr().cast()) }.map_err(|e| failed("cannot load the kernels", e).at(&entry.file))?;
        for (function, kernel) in nvidia.functions.iter_mut().zip(Kernel::ALL) {
            let missing = |e| failed("a kernel is missing", e).at(kernel.name().to_string_lossy());
            // SAFETY: the module was loaded above.
            *function = unsafe { result::module::get_function(nvidia.module, kernel.name().to_owned()) }.map_err(missing)?;
            let refused = |e| failed("cannot set the shared memory of a kernel", e).at(kernel.name().to_string_lossy());
            let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of the module.
            unsafe { result::function::set_function_attribute(*function, which, nvidia.primary.shared_bytes().cast_signed()) }
                .map_err(refused)?;
        }
        for staging in [&mut nvidia.outbox, &mut nvidia.inbox] {
            // SAFETY: the context is current; the memory holds bytes that are written before they
            // are read.
            *staging = unsafe { result::malloc_host(STAGING_BYTES, 0) }.map_err(|e| failed("cannot allocate pinned memory", e))?.cast();
        }
        Ok(nvidia)
    }

    /// Times every launch on the device, by the driver's events, and calls `watch` with its
    /// milliseconds. For benchmarks: waits for every launch, so nothing overlaps.
    ///
    /// # Errors
    /// `Device`.
    pub fn timed(mut self, watch: impl FnMut(Kernel, f32) + Send + 'static) -> Result<Self> {
        self.enter()?;
        self.clock = Some(Clock::new(watch)?);
        Ok(self)
    }

    /// Makes the context current on this thread.
    pub(super) fn enter(&mut self) -> Result<()> {
        if self.lost {
            return Err(fault("the device is lost after an earlier fault").wanted("a new process"));
        }
        let entered = self.primary.set_current();
        self.check("cannot enter the context", entered)
    }

    /// Converts the result of a call. A fault that makes the context unusable loses the device.
    pub(super) fn check<T>(&mut self, what: &str, result: std::result::Result<T, DriverError>) -> Result<T> {
        result.map_err(|error| {
            self.lost |= is_fatal(error);
            failed(what, error)
        })
    }

    /// Waits until the stream has drained.
    pub(super) fn wait(&mut self) -> Result<()> {
        // SAFETY: the stream is alive until `drop`.
        let done = unsafe { result::stream::synchronize(self.stream) };
        self.staged = 0;
        self.check("work on the device failed", done)
    }

    pub(super) fn graph(&self, graph: CapturedGraph) -> Result<(sys::CUgraph, sys::CUgraphExec)> {
        self.graphs.get(graph.0).copied().ok_or_else(|| no_graph(graph))
    }

    /// Releases everything. Returns the first failure.
    fn release(&mut self) -> std::result::Result<(), DriverError> {
        let mut first = Ok(());
        let mut note = |result: std::result::Result<(), DriverError>| {
            if first.is_ok() {
                first = result;
            }
        };
        note(self.primary.set_current());
        if std::mem::take(&mut self.is_capturing) {
            // A panic ended a capture early; its graph is discarded.
            // SAFETY: the stream is alive.
            let graph = unsafe { result::stream::end_capture(self.stream) };
            // SAFETY: created by the line above, and nothing uses it.
            note(graph.and_then(|graph| unsafe { result::graph::destroy(graph) }));
        }
        if !self.stream.is_null() {
            // SAFETY: created in `open`.
            note(unsafe { result::stream::synchronize(self.stream) });
        }
        for (graph, exec) in self.graphs.drain(..) {
            // SAFETY: created in `end_capture`; the stream has drained, and nothing uses it again.
            note(unsafe { result::graph::exec_destroy(exec) });
            // SAFETY: as above.
            note(unsafe { result::graph::destroy(graph) });
        }
        for event in self.clock.take().into_iter().flat_map(|clock| clock.events) {
            // SAFETY: created in `timed`, and the stream has drained.
            note(unsafe { result::event::destroy(event) });
        }
        for staging in [self.inbox, self.outbox] {
            if !staging.is_null() {
                // SAFETY: allocated in `open` by `malloc_host`, and no copy is under way.
                note(unsafe { result::free_host(staging.cast()) });
            }
        }
        for address in self.memory.drain(..) {
            // SAFETY: allocated in `allocate`, and no kernel is running.
            note(unsafe { result::free_sync(address) });
        }
        if !self.module.is_null() {
            // SAFETY: loaded in `open`, and no kernel is running.
            note(unsafe { result::module::unload(self.module) });
        }
        if !self.stream.is_null() {
            // SAFETY: created in `open`, and drained.
            note(unsafe { result::stream::destroy(self.stream) });
        }
        first
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        let lost = self.lost;
        // A lost device cannot release anything; its fault was returned already.
        if let Err(error) = self.release()
            && !lost
        {
            keep_release_error(error);
        }
    }
}
