//! TensorRT and TensorRT-RTX, opened at run time. They run engines that `build_engines` built on
//! the target, on one stream of the GPU, in the arena.
//!
//! A C++ shim with a C interface (`../../tensorrt`) is compiled once for each set of the vendor's
//! headers; nothing of the vendor's is linked. Opening checks the driver first, then the library,
//! its version, and the manifest's list of machines. Only then is a runtime made, because a runtime
//! without a driver aborts the process. The engine is deserialised from the buffer that was hashed;
//! the library copies what it needs, so the buffer is freed right after. Each bound shape has its
//! own execution context, whose scratch memory is a region of the arena and whose pass is one CUDA
//! graph: `run` only replays the graph, or enqueues the pass.
//!
//! The order of dropping: execution context (which waits for its passes), engine, runtime, the
//! GPU's context.

#![expect(unsafe_code, reason = "calls the vendor's C++ classes through a shim of ours")]

pub mod builder;
mod error_log;
#[cfg(feature = "fake")]
pub mod fake;
mod ffi;
mod handles;
mod header;
mod library;

pub use header::{Header, header};
pub use library::{Library, headers};

use crate::bundle::{EngineBundle, Signed};
use crate::engine::{Binding, Engine, Io};
use crate::io_check;
use crate::library as calls;
use drivewam_core::bindings::Graph;
use drivewam_core::config;
use drivewam_core::manifest::{Dotted, EngineEntry, Family, GraphEntry, Machine};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::cuda::PrimaryContext;
use drivewam_device::gpu::{CapturedGraph, GraphNodeCounts, capture};
use drivewam_device::{Device, Gpu};
use handles::{CudaEngine, ExecutionContext};
use std::sync::Arc;

/// The alignment that the library requires of tensor addresses, bytes.
const ALIGNMENT: u64 = 256;

/// An engine of one graph.
#[derive(Debug)]
pub struct TensorRt {
    graph: Graph,
    entry: GraphEntry,
    options: config::TensorRtConfig,
    // Dropped before the engine, which each context keeps too.
    shapes: Vec<Shape>,
    plan: Arc<CudaEngine>,
    /// Kernels that were compiled for earlier shapes.
    cache: Vec<u8>,
}

/// One bound shape.
#[derive(Debug)]
struct Shape {
    context: ExecutionContext,
    /// The device whose memory the context uses.
    device: u64,
    pass: Option<CapturedGraph>,
}

/// The machine, as manifests describe one.
fn machine(primary: &PrimaryContext, library: &Library) -> Machine {
    Machine { family: library.family(), library: library.version(), capability: Dotted(primary.capability()), gpu: primary.model() }
}

impl TensorRt {
    /// Deserialises the engine of `graph`. Warm.
    ///
    /// # Errors
    /// `Device` when there is no driver, or no such GPU; `Engine` when the library is missing, of
    /// another family or version than this program was built for, or refuses the engine; `Manifest`
    /// when the bundle has no engine of `family` for this library and GPU, a file is not what the
    /// manifest says, or the engine's tensors or profiles are not the manifest's.
    pub fn open(bundle: &EngineBundle, graph: Graph, family: Family, options: &config::TensorRtConfig) -> Result<Self> {
        let at = |e: Error| e.at(format!("graph {graph}")).at(family);
        let entry = bundle.manifest().graph(graph)?;
        let (Some(built), Some(engine)) = (&bundle.manifest().built, &entry.engine) else {
            return Err(at(Error::new(ErrorKind::Manifest, "the folder holds graphs, not engines")
                .got(&entry.file)
                .wanted("engines: build_engines makes them on the target")));
        };
        let primary = PrimaryContext::retain(i32::try_from(options.gpu).unwrap_or(i32::MAX)).map_err(at)?;
        let library = Library::open(family, options.library.as_deref()).map_err(at)?;
        built.check(&machine(&primary, &library)).map_err(at)?;
        let host_code = built.flags.version_compatible;
        if host_code && !matches!(bundle.signed(), Signed::By(_)) {
            return Err(at(Error::new(
                ErrorKind::Manifest,
                "version-compatible engines contain code for the host, and no trusted key signed these",
            )
            .at("built.flags.version_compatible")
            .wanted("a signature by a key of `vehicle.trusted_keys`")));
        }
        let files = bundle.graph_files(graph)?;
        let plan = calls::enter(|| CudaEngine::load(library, primary, files.content.as_slice(), host_code)).map_err(at)?;
        drop(files);
        agrees(graph, entry, engine, &plan).map_err(at)?;
        if let Some(bytes) = options.weight_budget_bytes {
            plan.set_weight_budget(bytes).map_err(at)?;
        }
        Ok(Self { graph, entry: entry.clone(), options: options.clone(), shapes: Vec::new(), plan: Arc::new(plan), cache: Vec::new() })
    }

    fn at(&self, e: Error) -> Error {
        e.at(format!("graph {}", self.graph)).at(self.plan.library().family())
    }

    /// A context for a checked `io`, with everything said but its graph.
    fn bind_context(&self, io: &Io, device: &mut dyn Gpu) -> Result<ExecutionContext> {
        let (n, s) = io_check::dynamic_dims(&self.entry, io);
        let profiles = self.entry.engine.as_ref().map(|e| e.profiles.as_slice()).unwrap_or_default();
        let profile = if profiles.is_empty() { Some(0) } else { profiles.iter().position(|p| p.holds(n, s)) };
        let profile = profile.and_then(|p| i32::try_from(p).ok()).ok_or_else(|| {
            Error::new(ErrorKind::Manifest, "no optimization profile holds this shape")
                .at("profiles")
                .got(format!("N {n}, S {s}"))
                .wanted(format!("one of {profiles:?}: build the engines for this configuration"))
        })?;
        let stream = device.stream()?;
        let mut context = ExecutionContext::new(&self.plan, &self.cache)?;
        context.set_profile(profile, stream)?;
        for tensor in &io.inputs {
            context.set_shape(&tensor.name, &tensor.shape)?;
        }
        context.check_shapes()?;
        for (tensor, is_input) in io.inputs.iter().map(|t| (t, true)).chain(io.outputs.iter().map(|t| (t, false))) {
            let reported = context.shape(&tensor.name)?;
            if !reported.iter().copied().eq(tensor.shape.iter().map(|&len| Some(len))) {
                return Err(Error::new(ErrorKind::Engine, "the engine puts out another shape")
                    .at(format!("{:?}", tensor.name))
                    .got(format!("{reported:?}"))
                    .wanted(format!("{:?}", tensor.shape)));
            }
            let address = device.address(tensor.region)?;
            if !address.is_multiple_of(ALIGNMENT) {
                return Err(Error::new(ErrorKind::Usage, "a tensor at an address that the library does not accept")
                    .at(format!("{:?}", tensor.name))
                    .got(format!("byte {} of the arena", tensor.region.offset()))
                    .wanted(format!("a multiple of {ALIGNMENT}")));
            }
            context.set_address(&tensor.name, is_input, address)?;
        }
        // 0 can mean that the library does not know. Then the engine's value for all shapes counts.
        let wanted = match context.scratch_bytes() {
            0 => self.plan.scratch_bytes(),
            bytes => bytes,
        };
        let scratch = io.scratch;
        let has = scratch.map_or(0, |region| region.bytes()) as u64;
        if wanted > has {
            return Err(Error::new(ErrorKind::Capacity, "a pass needs more scratch memory than the plan has")
                .at("engine.tensorrt.scratch_bytes")
                .got(format!("{has} bytes"))
                .wanted(format!("at least {wanted}")));
        }
        if let Some(scratch) = scratch {
            let address = device.address(scratch)?;
            let alignment = u64::from(self.plan.primary().texture_alignment().max(1));
            if !address.is_multiple_of(alignment) {
                return Err(Error::new(ErrorKind::Device, "scratch memory at an address that this GPU does not accept")
                    .got(format!("{address:#x}"))
                    .wanted(format!("a multiple of {alignment}")));
            }
            context.set_scratch(address, has);
        }
        Ok(context)
    }

    /// Runs a new context until nothing is compiled any more, and captures its pass as a CUDA
    /// graph.
    fn warm(&self, context: &mut ExecutionContext, device: &mut dyn Device) -> Result<Option<CapturedGraph>> {
        let stream = gpu(device, self.graph)?.stream()?;
        // SAFETY: `bind_context` set every address to a region of this device that is as long as
        // the tensor, and this function waits for the pass.
        unsafe { context.enqueue(stream) }?;
        device.synchronize()?;
        let compiled = context.cache()?.len();
        // SAFETY: as above.
        unsafe { context.enqueue(stream) }?;
        device.synchronize()?;
        // The cache grows with every compiled kernel.
        let again = context.cache()?.len();
        if again != compiled {
            return Err(Error::new(ErrorKind::Engine, "the engine would still compile kernels while it runs")
                .got(format!("compiled kernels of {compiled} bytes after the first pass, of {again} after the second")));
        }
        if !self.options.cuda_graphs {
            return Ok(None);
        }
        if !context.is_capturable(stream) {
            return Err(Error::new(ErrorKind::Engine, "the engine's pass cannot be captured")
                .at("engine.tensorrt.cuda_graphs")
                .wanted("an engine built without weight streaming, or false: every pass is then enqueued"));
        }
        // SAFETY: as above; the graph is replayed on this device alone (`run`).
        let captured = capture(gpu(device, self.graph)?, |_| unsafe { context.enqueue(stream) });
        let pass = captured.map_err(|e| e.at("capture of a pass"))?;
        let nodes = gpu(device, self.graph)?.node_counts(pass)?;
        if nodes.memory > 0 || nodes == GraphNodeCounts::default() {
            return Err(Error::new(ErrorKind::Device, "a graph that allocates, or holds nothing")
                .at("capture of a pass")
                .got(format!("{nodes:?}"))
                .wanted("launches, and no memory nodes"));
        }
        gpu(device, self.graph)?.replay(pass)?;
        device.synchronize()?;
        Ok(Some(pass))
    }
}

/// Proves that the engine's tensors and profiles are the manifest's.
fn agrees(graph: Graph, entry: &GraphEntry, engine: &EngineEntry, plan: &CudaEngine) -> Result<()> {
    let tensors = plan.tensors()?;
    let side = |inputs: bool| tensors.iter().filter(|t| t.is_input == inputs).map(|t| t.reported.clone()).collect::<Vec<_>>();
    io_check::agrees(graph, "input", &side(true), &entry.inputs)?;
    io_check::agrees(graph, "output", &side(false), &entry.outputs)?;
    let bad = |what: &str| Error::new(ErrorKind::Manifest, what).at(format!("{:?}", entry.file));
    if let Some(tensor) = tensors.iter().find(|t| !t.on_device) {
        return Err(bad("a tensor that the engine expects on the host").at(format!("{:?}", tensor.reported.name)));
    }
    let profiles = usize::try_from(plan.profiles()).unwrap_or(0);
    if profiles != engine.profiles.len().max(1) {
        return Err(bad("another number of optimization profiles").got(profiles).wanted(engine.profiles.len().max(1)));
    }
    for (i, profile) in (0..).zip(&engine.profiles) {
        for spec in &entry.inputs {
            let reported = plan.range(i, &spec.name)?;
            for (which, reported) in reported.iter().enumerate() {
                let wanted = spec.resolve(profile.n[which], profile.s[which]);
                if !reported.iter().copied().eq(wanted.iter().map(|&len| Some(len))) {
                    return Err(bad("an optimization profile of another range")
                        .at(format!("profile {i}: {:?}", spec.name))
                        .got(format!("{reported:?}"))
                        .wanted(format!("{wanted:?}")));
                }
            }
        }
    }
    Ok(())
}

/// The device as a GPU. Allocates only for an error.
fn gpu(device: &mut dyn Device, graph: Graph) -> Result<&mut dyn Gpu> {
    if device.gpu().is_none() {
        return Err(Error::new(ErrorKind::Device, "this engine computes on a GPU and cannot reach the device's memory")
            .at(format!("graph {graph}"))
            .got(device.describe()));
    }
    device.gpu().ok_or_else(|| Error::new(ErrorKind::Device, "the GPU is gone").at(format!("graph {graph}")))
}

impl Engine for TensorRt {
    fn graph(&self) -> Graph {
        self.graph
    }

    fn describe(&self) -> String {
        let fusion = self.entry.engine.as_ref().map(|e| e.fusion.to_string()).unwrap_or_default();
        format!(
            "{} ({}), compute capability {}, {}, attention: {fusion}, {}",
            self.plan.library(),
            self.plan.library().path().display(),
            Dotted(self.plan.primary().capability()),
            self.entry.precision,
            if self.options.cuda_graphs { "a CUDA graph a pass" } else { "enqueued" }
        )
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        io_check::check(self.graph, &self.entry, io)?;
        if let Some(spec) = self.entry.outputs.iter().find(|spec| io.outputs.iter().all(|bound| bound.name != spec.name)) {
            return Err(self.at(Error::new(ErrorKind::Usage, "an output is not bound").at(format!("{:?}", spec.name)).wanted(spec)));
        }
        let id = gpu(device, self.graph)?.id();
        let made = calls::enter(|| {
            let mut context = self.bind_context(io, gpu(device, self.graph)?)?;
            let pass = self.warm(&mut context, device)?;
            Ok((context.cache()?, Shape { context, device: id, pass }))
        });
        let (cache, shape) = made.map_err(|e| self.at(e))?;
        self.cache = cache;
        self.shapes.push(shape);
        Ok(Binding(self.shapes.len() - 1))
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        let graph = self.graph;
        let shape = self.shapes.get_mut(binding.0).ok_or_else(|| io_check::foreign(graph, binding))?;
        let device = gpu(device, graph)?;
        if device.id() != shape.device {
            return Err(Error::new(ErrorKind::Usage, "a binding of another device").at(format!("graph {graph}")));
        }
        let done = calls::enter(|| match shape.pass {
            Some(pass) => device.replay(pass),
            None => {
                let stream = device.stream()?;
                // SAFETY: `bind_context` set every address to a region of this very device (its id
                // was just compared), as long as the tensor; the device is alive, and orders all
                // work on its arena on this stream.
                unsafe { shape.context.enqueue(stream) }
            }
        });
        done.map_err(|e| self.at(e))
    }
}
