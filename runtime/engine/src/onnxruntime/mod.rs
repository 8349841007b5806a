//! ONNX Runtime, opened at run time. Building needs nothing of it, and no other engine replaces it
//! when it is missing.
//!
//! A session is made from the bundle's checked bytes, weights included, and every node must be
//! assigned to the CPU provider. The library copies the weights while it makes the session; our
//! bytes are freed as soon as the graph is loaded. Each bound shape has one `IoBinding` whose
//! inputs and outputs are addresses in the arena, so no tensor is copied. A run borrows the arena
//! exclusively, and a lease proves that it is the arena that was bound.

#![expect(unsafe_code, reason = "ONNX Runtime takes addresses: of weights while it loads, of the arena while it runs")]

mod libraries;

use crate::bundle::EngineBundle;
use crate::engine::{Binding, Engine, Io};
use crate::io_check;
use crate::library;
use crate::onnx::{self, GraphSizes};
use drivewam_core::bindings::Graph;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::GraphEntry;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_device::host_memory::Lease;
use libraries::OrtLibrary;
use ort::AsPointer;
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;
use ort::session::{IoBinding, Session};
use ort::value::{Shape, TensorRefMut};
use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::fmt;

/// The provider that every node must be assigned to.
const PROVIDER: &str = "CPUExecutionProvider";

/// A graph loaded into ONNX Runtime.
pub struct OnnxRuntime {
    // Dropped before the session: fields are dropped in the order of their declaration.
    bindings: Vec<Bindings>,
    session: Session,
    library: OrtLibrary,
    graph: Graph,
    sizes: GraphSizes,
    entry: GraphEntry,
    threads: usize,
}

/// One bound shape.
struct Bindings {
    binding: IoBinding,
    #[expect(dead_code, reason = "what `binding` points to; holds addresses of the arena")]
    tensors: Vec<TensorRefMut<'static, f32>>,
    /// Covers all regions that `binding` reads or writes.
    lease: Lease,
}

impl OnnxRuntime {
    /// Loads `graph` to run on `threads` threads, with the library at `path`, or else at the
    /// environment's `ORT_DYLIB_PATH`. A process can open one library. Warm.
    ///
    /// # Errors
    /// `Engine`, with the path, what was got and what was wanted: there is no path, or no file at
    /// it; the file is not ONNX Runtime, or too old; another library was opened before; the library
    /// refuses the graph; a node is not on the CPU provider. `Manifest` when the bundle has no such
    /// graph, a file is not what the manifest says, or the graph's tensors are not the manifest's.
    pub fn open(bundle: &EngineBundle, graph: Graph, threads: usize, path: Option<&str>) -> Result<Self> {
        let at = |e: Error| e.at(format!("graph {graph}")).at("ONNX Runtime");
        let files = bundle.graph_files(graph)?;
        let sizes = onnx::check(graph, files.entry, files.content.as_slice(), &bundle.manifest().files)?;
        let mut tensors = files.entry.inputs.iter().chain(&files.entry.outputs);
        if let Some(tensor) = tensors.find(|t| t.dtype != DType::F32) {
            return Err(at(Error::new(ErrorKind::Engine, "this engine binds inputs and outputs as f32 alone")
                .at(format!("{:?}", tensor.name))
                .got(tensor.dtype)));
        }
        let library = libraries::open(path)?;
        let refused = |e: ort::Error| at(Error::new(ErrorKind::Engine, "the library refuses the graph").caused_by(e.to_string()));
        let mut builder = libraries::call(|| options(&library, threads)).map_err(at)?.map_err(refused)?;
        for (name, bytes) in &files.weights {
            // SAFETY: the library copies the content while it makes the session (its documentation:
            // "the buffer can be freed after session creation"). `builder`, which keeps this
            // reference, is dropped in this function, before `files`, which keeps the bytes.
            let forever: &'static [u8] = unsafe { &*std::ptr::from_ref(bytes.as_slice()) };
            builder = libraries::call(|| {
                builder.with_external_initializer_file_in_memory(name, Cow::Borrowed(forever)).map_err(ort::Error::<()>::from)
            })
            .map_err(at)?
            .map_err(refused)?;
        }
        let session = libraries::call(|| builder.commit_from_memory(files.content.as_slice())).map_err(at)?.map_err(refused)?;
        drop(builder);
        let providers = providers(&session).map_err(refused)?;
        if providers.is_empty() || providers.iter().any(|name| name != PROVIDER) {
            return Err(at(Error::new(ErrorKind::Engine, "a node is not on the provider that was asked for")
                .got(format!("{providers:?}"))
                .wanted(PROVIDER)));
        }
        Ok(Self { bindings: Vec::new(), session, library, graph, sizes, entry: files.entry.clone(), threads })
    }

    fn at(&self, e: Error) -> Error {
        e.at(format!("graph {}", self.graph)).at("ONNX Runtime")
    }

    fn tie(&self, io: &Io, device: &mut dyn Device) -> Result<Bindings> {
        let arena = io_check::host(device, self.graph)?;
        let (reads, writes) = io_check::exact(io)?;
        let lease = arena.lease(&reads, &writes)?;
        let failed = |what: &str, name: &str| {
            let place = format!("{name:?}");
            let what = what.to_owned();
            move |e: ort::Error| Error::new(ErrorKind::Engine, what).at(place).caused_by(e.to_string())
        };
        let mut binding = self.session.create_binding().map_err(failed("no binding can be made", "*"))?;
        let mut tensors = Vec::new();
        for (i, (tensor, region)) in io.inputs.iter().chain(&io.outputs).zip(reads.iter().chain(&writes)).enumerate() {
            let refused = || failed("cannot be bound", &tensor.name);
            let address = arena.address(*region)?;
            let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default).map_err(refused())?;
            let shape = Shape::new(tensor.shape.iter().map(|&len| len as i64));
            // SAFETY: at `address` there are as many f32 as `shape` has (`io_check::check`,
            // `io_check::exact`), in host memory. Only `run` uses them, where the lease proves that
            // the arena is this one, alive, and borrowed exclusively.
            let value = unsafe { TensorRefMut::<f32>::from_raw(memory, address.cast(), shape) }.map_err(refused())?;
            if i < io.inputs.len() {
                binding.bind_input(tensor.name.as_str(), &value).map_err(refused())?;
            } else {
                bind_output(&mut binding, &tensor.name, &value).map_err(refused())?;
            }
            tensors.push(value);
        }
        Ok(Bindings { binding, tensors, lease })
    }
}

impl Engine for OnnxRuntime {
    fn graph(&self) -> Graph {
        self.graph
    }

    fn describe(&self) -> String {
        format!(
            "ONNX Runtime {} ({}), {PROVIDER}, {}, {} threads",
            self.library.version,
            self.library.path.display(),
            self.entry.precision,
            self.threads
        )
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        io_check::check(self.graph, &self.entry, io)?;
        let (n, s) = io_check::dynamic_dims(&self.entry, io);
        self.sizes.check(n, s).map_err(|e| self.at(e))?;
        let bound = libraries::call(|| self.tie(io, device)).flatten().map_err(|e| self.at(e))?;
        self.bindings.push(bound);
        // This run proves the shapes of the outputs, and makes the library plan and allocate in
        // Warm.
        let binding = Binding(self.bindings.len() - 1);
        self.run(binding, device).inspect_err(|_| {
            self.bindings.pop();
        })?;
        Ok(binding)
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        let bound = self.bindings.get(binding.0).ok_or_else(|| io_check::foreign(self.graph, binding))?;
        let arena = io_check::host(device, self.graph)?;
        // Held until the library is done with the arena.
        let _loan = arena.loan(&bound.lease).map_err(|e| self.at(e))?;
        let outcome = library::enter(|| {
            let session = self.session.ptr().cast_mut();
            // SAFETY: session and binding live in `self`, which is borrowed exclusively: the
            // library forbids two runs of one binding at a time. `_loan` covers every address of
            // the binding.
            let status = unsafe { (ort::api().RunWithBinding)(session, std::ptr::null(), bound.binding.ptr()) };
            // SAFETY: the status was given out just now, and is owned by nobody else.
            unsafe { ort::Error::result_from_status(status) }
        });
        outcome.map_err(|e| self.at(Error::new(ErrorKind::Engine, "the run failed").caused_by(e.to_string())))
    }
}

impl fmt::Debug for OnnxRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxRuntime").field("graph", &self.graph).field("bindings", &self.bindings.len()).finish_non_exhaustive()
    }
}

fn options(library: &OrtLibrary, threads: usize) -> ort::Result<SessionBuilder> {
    Ok(SessionBuilder::new(&library.environment)?
        .with_no_environment_execution_providers()?
        .with_execution_providers([ort::ep::CPU::default().with_arena_allocator(true).build().error_on_failure()])?
        .with_config_entry("session.record_ep_graph_assignment_info", "1")?
        .with_parallel_execution(false)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_deterministic_compute(true)?
        .with_log_level(LogLevel::Fatal)?)
}

fn bind_output(binding: &mut IoBinding, name: &str, value: &TensorRefMut<'static, f32>) -> ort::Result<()> {
    let name = CString::new(name).map_err(ort::Error::wrap)?;
    // SAFETY: all three pointers are valid during the call; the library keeps the value, whose
    // memory outlives every run (see `tie`).
    let status = unsafe { (ort::api().BindOutput)(binding.ptr_mut(), name.as_ptr(), value.ptr()) };
    // SAFETY: the status was given out just now, and is owned by nobody else.
    unsafe { ort::Error::result_from_status(status) }
}

/// The provider of each subgraph of a session, as the library records it.
fn providers(session: &Session) -> ort::Result<Vec<String>> {
    let (mut subgraphs, mut count) = (std::ptr::null(), 0);
    // SAFETY: a successful call has written both results; the list belongs to the session.
    let status = unsafe { (ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut subgraphs, &raw mut count) };
    // SAFETY: the status was given out just now, and is owned by nobody else.
    unsafe { ort::Error::result_from_status(status) }?;
    let list = if count == 0 || subgraphs.is_null() {
        &[][..]
    } else {
        // SAFETY: not null; the library gave the length with it, and the session keeps the list.
        unsafe { std::slice::from_raw_parts(subgraphs, count) }
    };
    let mut names = Vec::new();
    for &subgraph in list {
        let mut name = std::ptr::null();
        // SAFETY: `subgraph` is an entry of the session's list.
        let status = unsafe { (ort::api().EpAssignedSubgraph_GetEpName)(subgraph, &raw mut name) };
        // SAFETY: the status was given out just now, and is owned by nobody else.
        unsafe { ort::Error::result_from_status(status) }?;
        // SAFETY: after a successful call the name is a string that the session keeps.
        names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
