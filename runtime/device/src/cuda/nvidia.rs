//! The vendor's driver, opened at run time through `cudarc`: one context, one stream, one module of kernels.
//!
//! Everything is ordered by the one stream, so there are no events; two of these on one GPU know nothing of one another, and the ride's goes first. Copies go through pinned memory made in Warm: what is written is staged and sent
//! while the host goes on, what is read is waited for. In Run a launch, a copy and a replay allocate nothing. Handles are given back in the reverse of
//! the order in which they were made, after the stream has come to rest; what fails then is told by the next [`Nvidia::open`] of the process.
//! `run` is what the device asks of it; `clock` times launches for benchmarks.

#![expect(unsafe_code, reason = "calls the vendor's driver through cudarc's thin layer")]

mod clock;
mod primary;
mod run;

pub use primary::{Primary, driver_version};

use super::cubins::Manifest;
use super::driver::{Graph, Kernel, Priority, no_graph};
use clock::Clock;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use drivewam_core::{Error, ErrorKind, Result};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

/// Pinned memory for copies in each direction.
const STAGING_BYTES: usize = 8 << 20;

/// What went wrong while a driver was dropped.
static DROPPED: Mutex<Option<Error>> = Mutex::new(None);

/// One GPU, ready to run the kernels.
#[derive(Debug)]
pub struct Nvidia {
    words: String,
    primary: Arc<Primary>,
    stream: sys::CUstream,
    module: sys::CUmodule,
    functions: [sys::CUfunction; Kernel::ALL.len()],
    memory: Vec<sys::CUdeviceptr>,
    /// Pinned, [`STAGING_BYTES`] long, for writes: up to `staged` it holds what is still on its way.
    outbox: *mut u8,
    staged: usize,
    /// The same for reads.
    inbox: *mut u8,
    graphs: Vec<(sys::CUgraph, sys::CUgraphExec)>,
    captures: bool,
    /// Events before and after every launch, and where the milliseconds between them go: for benchmarks.
    clock: Option<Clock>,
    /// After a fault that the context does not survive nothing works any more.
    lost: bool,
}

// SAFETY: handles of the driver are tied to a context and to no thread; `enter` makes the context current on whatever thread calls.
unsafe impl Send for Nvidia {}

fn fault(what: &str) -> Error {
    Error::new(ErrorKind::Device, what).at("device")
}

/// What the driver says of a failed call.
fn failed(what: &str, error: DriverError) -> Error {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|_| format!("{:?}", error.0));
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    fault(what).got(format!("{name}: {text}"))
}

/// Whether a context is of no use after this.
fn is_fatal(error: DriverError) -> bool {
    use sys::CUresult as R;
    matches!(
        error.0,
        R::CUDA_ERROR_ILLEGAL_ADDRESS
            | R::CUDA_ERROR_LAUNCH_FAILED
            | R::CUDA_ERROR_LAUNCH_TIMEOUT
            | R::CUDA_ERROR_MISALIGNED_ADDRESS
            | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | R::CUDA_ERROR_INVALID_PC
            | R::CUDA_ERROR_HARDWARE_STACK_ERROR
            | R::CUDA_ERROR_ECC_UNCORRECTABLE
            | R::CUDA_ERROR_ASSERT
            | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | R::CUDA_ERROR_MPS_CLIENT_TERMINATED
            | R::CUDA_ERROR_EXTERNAL_DEVICE
            | R::CUDA_ERROR_UNKNOWN
    )
}

/// A stream of the current context, which waits for no other.
fn stream(priority: Priority) -> std::result::Result<sys::CUstream, DriverError> {
    let (mut low, mut high, mut stream) = (0, 0, null_mut());
    // SAFETY: both places live through the call.
    unsafe { sys::cuCtxGetStreamPriorityRange(&raw mut low, &raw mut high) }.result()?;
    let priority = if priority == Priority::High { high } else { low };
    let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
    // SAFETY: as above.
    unsafe { sys::cuStreamCreateWithPriority(&raw mut stream, flags, priority) }.result()?;
    Ok(stream)
}

impl Nvidia {
    /// Opens GPU `ordinal`, with a stream of `priority`, and loads its kernels from the folder `kernels`, which `build_kernels` wrote. Warm.
    ///
    /// # Errors
    /// `Device` when no driver is installed, it is too old, there is no such GPU, or an earlier one failed while it was given back; `Manifest` when no kernels
    /// are vouched for that it can run.
    pub fn open(ordinal: i32, kernels: &Path, priority: Priority) -> Result<Self> {
        let primary = Primary::retain(ordinal)?;
        let ([major, minor], driver) = (primary.capability(), primary.driver());
        let manifest = Manifest::read(kernels)?;
        let entry = manifest.for_device((major, minor))?;
        manifest.check(entry, driver.map(u32::cast_signed)).map_err(|e| e.at(kernels.display()))?;
        let mut code = entry.load(kernels)?;
        // PTX is text, which the driver reads up to a zero.
        code.push(0);
        let words = format!(
            "{}, compute capability {major}.{minor}, driver CUDA {}.{}, kernels {}",
            primary.name(),
            driver[0],
            driver[1],
            entry.file
        );
        let mut nvidia = Self {
            words,
            primary,
            stream: null_mut(),
            module: null_mut(),
            functions: [null_mut(); Kernel::ALL.len()],
            memory: Vec::new(),
            outbox: null_mut(),
            staged: 0,
            inbox: null_mut(),
            graphs: Vec::new(),
            captures: false,
            clock: None,
            lost: false,
        };
        // From here on `drop` gives back what was made.
        nvidia.enter()?;
        nvidia.stream = stream(priority).map_err(|e| failed("no stream", e))?;
        // SAFETY: `code` is what the manifest vouches for, ends in a zero, and lives through the call, which copies it.
        nvidia.module =
            unsafe { result::module::load_data(code.as_ptr().cast()) }.map_err(|e| failed("the kernels do not load", e).at(&entry.file))?;
        for (function, kernel) in nvidia.functions.iter_mut().zip(Kernel::ALL) {
            let missing = |e| failed("a kernel is missing", e).at(kernel.name().to_string_lossy());
            // SAFETY: the module was loaded above.
            *function = unsafe { result::module::get_function(nvidia.module, kernel.name().to_owned()) }.map_err(missing)?;
            let refused = |e| failed("a kernel does not get its shared memory", e).at(kernel.name().to_string_lossy());
            let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of the module.
            unsafe { result::function::set_function_attribute(*function, which, nvidia.primary.shared_bytes().cast_signed()) }
                .map_err(refused)?;
        }
        for staging in [&mut nvidia.outbox, &mut nvidia.inbox] {
            // SAFETY: the context is current; the memory is used as bytes that are written before they are read.
            *staging = unsafe { result::malloc_host(STAGING_BYTES, 0) }.map_err(|e| failed("no pinned memory", e))?.cast();
        }
        Ok(nvidia)
    }

    /// Makes the context current on this thread.
    fn enter(&mut self) -> Result<()> {
        if self.lost {
            return Err(fault("the device is lost after an earlier fault").wanted("a new process"));
        }
        let entered = self.primary.set_current();
        self.told("the context cannot be entered", entered)
    }

    /// Takes the result of a call; a fault that the context does not survive loses the device.
    fn told<T>(&mut self, what: &str, result: std::result::Result<T, DriverError>) -> Result<T> {
        result.map_err(|error| {
            self.lost |= is_fatal(error);
            failed(what, error)
        })
    }

    fn wait(&mut self) -> Result<()> {
        // SAFETY: the stream is alive until `drop`.
        let done = unsafe { result::stream::synchronize(self.stream) };
        self.staged = 0;
        self.told("work on the device failed", done)
    }

    fn graph(&self, graph: Graph) -> Result<(sys::CUgraph, sys::CUgraphExec)> {
        self.graphs.get(graph.0).copied().ok_or_else(|| no_graph(graph))
    }

    /// Gives everything back. Returns the first failure.
    fn give_back(&mut self) -> std::result::Result<(), DriverError> {
        let mut first = Ok(());
        let mut note = |result: std::result::Result<(), DriverError>| {
            if first.is_ok() {
                first = result;
            }
        };
        note(self.primary.set_current());
        if std::mem::take(&mut self.captures) {
            // SAFETY: the stream is alive. A panic came between the two ends of a capture; what it had written down goes.
            let graph = unsafe { result::stream::end_capture(self.stream) };
            // SAFETY: just ended, and used by nobody.
            note(graph.and_then(|graph| unsafe { result::graph::destroy(graph) }));
        }
        if !self.stream.is_null() {
            // SAFETY: made in `open`.
            note(unsafe { result::stream::synchronize(self.stream) });
        }
        for (graph, exec) in self.graphs.drain(..) {
            // SAFETY: made in `end_capture`, at rest, and never used again.
            note(unsafe { result::graph::exec_destroy(exec) });
            // SAFETY: as above.
            note(unsafe { result::graph::destroy(graph) });
        }
        for event in self.clock.take().into_iter().flat_map(|clock| clock.events) {
            // SAFETY: made in `timed`, and the stream is at rest.
            note(unsafe { result::event::destroy(event) });
        }
        for staging in [self.inbox, self.outbox] {
            if !staging.is_null() {
                // SAFETY: made in `open` by `malloc_host`, and no copy is under way.
                note(unsafe { result::free_host(staging.cast()) });
            }
        }
        for address in self.memory.drain(..) {
            // SAFETY: made in `allocate`, and no kernel is running.
            note(unsafe { result::free_sync(address) });
        }
        if !self.module.is_null() {
            // SAFETY: made in `open`, and no kernel is running.
            note(unsafe { result::module::unload(self.module) });
        }
        if !self.stream.is_null() {
            // SAFETY: made in `open`, at rest.
            note(unsafe { result::stream::destroy(self.stream) });
        }
        first
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        let lost = self.lost;
        if let Err(error) = self.give_back() {
            // A lost device cannot give anything back: that was told already.
            if !lost {
                *DROPPED.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed("an earlier device could not be given back", error));
            }
        }
    }
}
