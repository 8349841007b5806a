//! The embedded engine: `rten`, pure Rust, f32 on the CPU, nothing to install.
//!
//! The library reads weights in place, so an engine keeps the bundle's checked bytes for as long as
//! it lives; graphs that share a weight file share its bytes. Of the ONNX file it keeps the
//! constants. Inputs are passed as views of the arena, so the KV memory is not copied. The library
//! allocates its outputs, which are then copied into their regions. A panic inside the library
//! becomes an error.

#![expect(unsafe_code, reason = "rten wants weights that live for ever, or a second copy of them")]

use crate::bundle::{EngineBundle, GraphFiles};
use crate::bytes::Bytes;
use crate::engine::{Binding, Engine, Io};
use crate::io_check;
use crate::library;
use crate::onnx::{self, GraphSizes};
use drivewam_core::bindings::Graph;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::{GraphEntry, Precision};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_device::host_memory::{Lease, Loan};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value};
use rten_tensor::{AsView, Layout, TensorView};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The library does not tell its version. A test compares this with the pinned one.
const VERSION: &str = "0.27";

/// A graph loaded into `rten`.
#[derive(Debug)]
pub struct Rten {
    // Dropped before `weights`, whose bytes it reads: fields are dropped in the order of
    // declaration.
    model: Model,
    #[expect(dead_code, reason = "keeps the bytes alive that `model` reads in place")]
    weights: Vec<Arc<Bytes>>,
    graph: Graph,
    sizes: GraphSizes,
    entry: GraphEntry,
    threads: usize,
    pool: Arc<ThreadPool>,
    bindings: Vec<Bindings>,
}

/// One bound shape.
#[derive(Debug)]
struct Bindings {
    /// Reads are the inputs, writes the outputs, in order.
    lease: Lease,
    inputs: Vec<(NodeId, Vec<usize>)>,
    outputs: Vec<NodeId>,
    /// Name, for messages, and shape of each output.
    shapes: Vec<(String, Vec<usize>)>,
}

impl Rten {
    /// Loads `graph` to run on `threads` threads. Warm.
    ///
    /// # Errors
    /// `Manifest` when the bundle has no such graph, a file is not what the manifest says, or the
    /// graph's tensors are not the manifest's; `Engine`, with the library's message, when it cannot
    /// run the graph or cannot start its threads.
    pub fn open(bundle: &EngineBundle, graph: Graph, threads: usize) -> Result<Self> {
        let at = |e: Error| e.at(format!("graph {graph}")).at("rten");
        let files = bundle.graph_files(graph)?;
        let sizes = onnx::check(graph, files.entry, files.content.as_slice(), &bundle.manifest().files)?;
        let mut tensors = files.entry.inputs.iter().chain(&files.entry.outputs);
        if let Some(tensor) = tensors.find(|t| t.dtype != DType::F32) {
            return Err(at(Error::new(ErrorKind::Engine, "this engine computes in f32 alone")
                .at(format!("{:?}", tensor.name))
                .got(tensor.dtype)));
        }
        if files.entry.precision != Precision::F32 {
            return Err(at(Error::new(ErrorKind::Engine, "this engine computes in f32 alone").at("precision").got(files.entry.precision)));
        }
        let pool = pool(threads, Graph::GUIDANCE.contains(&graph)).map_err(at)?;
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(false);
        let mut weights = Vec::new();
        for (name, bytes) in &files.weights {
            weights.push(Arc::clone(bytes));
            // SAFETY: the bytes are not written or moved any more; `weights` keeps them until
            // `model` is dropped (see the order of the fields); and no view into the model leaves
            // this module: the results of a run are owned.
            let forever: &'static [u8] = unsafe { &*std::ptr::from_ref(bytes.as_slice()) };
            options.external_data_static(&spelling(name), forever);
        }
        let content = respelt(&files);
        let loaded = call(|| options.load(content)).map_err(at)?;
        let model = loaded.map_err(|e| at(Error::new(ErrorKind::Engine, "the library refuses the graph").caused_by(e)))?;
        Ok(Self { model, weights, graph, sizes, entry: files.entry.clone(), threads, pool, bindings: Vec::new() })
    }

    fn at(&self, e: Error) -> Error {
        e.at(format!("graph {}", self.graph)).at("rten")
    }

    fn node(&self, name: &str) -> Result<NodeId> {
        self.model.node_id(name).map_err(|e| self.at(Error::new(ErrorKind::Engine, "the loaded graph lost a tensor").caused_by(e)))
    }
}

impl Engine for Rten {
    fn graph(&self) -> Graph {
        self.graph
    }

    fn describe(&self) -> String {
        format!("rten {VERSION}, CPU, f32, {} threads", self.threads)
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        io_check::check(self.graph, &self.entry, io)?;
        let (n, s) = io_check::dynamic_dims(&self.entry, io);
        self.sizes.check(n, s).map_err(|e| self.at(e))?;
        let arena = io_check::host(device, self.graph)?;
        let (reads, writes) = io_check::exact(io)?;
        let lease = arena.lease(&reads, &writes).map_err(|e| self.at(e))?;
        let inputs = io.inputs.iter().map(|t| Ok((self.node(&t.name)?, t.shape.clone()))).collect::<Result<_>>()?;
        let outputs = io.outputs.iter().map(|t| self.node(&t.name)).collect::<Result<_>>()?;
        let shapes = io.outputs.iter().map(|t| (t.name.clone(), t.shape.clone())).collect();
        self.bindings.push(Bindings { lease, inputs, outputs, shapes });
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
        let mut loan = arena.loan(&bound.lease).map_err(|e| self.at(e))?;
        call(|| step(&self.model, &self.pool, bound, &mut loan)).flatten().map_err(|e| self.at(e))
    }
}

/// One run, counted as the library's: it takes the list of inputs by value and allocates the
/// outputs.
fn step(model: &Model, pool: &Arc<ThreadPool>, bound: &Bindings, loan: &mut Loan<'_>) -> Result<()> {
    let (reads, mut writes) = loan.split();
    let mut inputs = Vec::with_capacity(bound.inputs.len());
    for ((node, shape), data) in bound.inputs.iter().zip(reads.iter()) {
        inputs.push((*node, TensorView::from_data(shape.as_slice(), data).into()));
    }
    let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
    let values =
        model.run(inputs, &bound.outputs, Some(options)).map_err(|e| Error::new(ErrorKind::Engine, "the run failed").caused_by(e))?;
    for ((value, (name, shape)), to) in values.iter().zip(&bound.shapes).zip(writes.iter()) {
        let Value::FloatTensor(tensor) = value else {
            return Err(Error::new(ErrorKind::Manifest, "the graph gives another element type")
                .at(format!("output {name:?}"))
                .got(format!("{:?}", value.dtype()))
                .wanted(DType::F32));
        };
        if tensor.shape() != shape.as_slice() {
            return Err(Error::new(ErrorKind::Manifest, "the graph gives another shape")
                .at(format!("output {name:?}"))
                .got(format!("{:?}", tensor.shape()))
                .wanted(format!("{shape:?}")));
        }
        match tensor.data() {
            Some(data) => to.copy_from_slice(data),
            None => to.iter_mut().zip(tensor.iter()).for_each(|(to, from)| *to = *from),
        }
    }
    Ok(())
}

/// Calls the library. Allocations count as the library's, and a panic becomes an error.
fn call<T>(f: impl FnOnce() -> T) -> Result<T> {
    library::enter(|| catch_unwind(AssertUnwindSafe(f))).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Error::new(ErrorKind::Engine, "the library panicked").got(format!("{:?}", words.unwrap_or_default()))
    })
}

/// A running thread pool.
struct Known {
    threads: usize,
    of_guidance: bool,
    pool: Weak<ThreadPool>,
}

/// The pool of `threads` threads, shared by all graphs with that number. The graphs of the guidance
/// have a pool of their own, so that a pass of the ride never waits for theirs.
fn pool(threads: usize, of_guidance: bool) -> Result<Arc<ThreadPool>> {
    static POOLS: Mutex<Vec<Known>> = Mutex::new(Vec::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.retain(|known| known.pool.strong_count() > 0);
    let same = pools.iter().find(|known| (known.threads, known.of_guidance) == (threads, of_guidance));
    if let Some(pool) = same.and_then(|known| known.pool.upgrade()) {
        return Ok(pool);
    }
    let pool = call(|| ThreadPool::with_num_threads(threads))?;
    // Without threads, the library runs silently on the caller's.
    if pool.run(|| std::thread::current().name().is_some_and(|name| name.starts_with("rten-"))) {
        let pool = Arc::new(pool);
        pools.push(Known { threads, of_guidance, pool: Arc::downgrade(&pool) });
        return Ok(pool);
    }
    Err(Error::new(ErrorKind::Engine, "the library did not get its threads").wanted(format!("{threads} (engine.threads)")))
}

const OURS: &str = ".safetensors";
const ALLOWED: &str = ".datatensors";

/// The name under which a weight file is passed to the library, which takes only extensions that
/// begin with `data`.
fn spelling(name: &str) -> String {
    match name.strip_suffix(OURS) {
        Some(stem) => format!("{stem}{ALLOWED}"),
        None => name.to_owned(),
    }
}

/// The graph's file with its weight files renamed by [`spelling`]. The new names have the old
/// lengths, so protobuf's length fields stay right.
fn respelt(files: &GraphFiles<'_>) -> Vec<u8> {
    let mut content = files.content.as_slice().to_vec();
    for (name, _) in files.weights.iter().filter(|(name, _)| name.ends_with(OURS)) {
        let entry = |name: &str| {
            let mut entry = b"\x0a\x08location\x12".to_vec();
            // Names are at most 128 bytes: a varint of one byte, or of two.
            match u8::try_from(name.len()) {
                Ok(len) if len < 128 => entry.push(len),
                _ => entry.extend([(name.len() & 0x7f | 0x80) as u8, (name.len() >> 7) as u8]),
            }
            entry.extend(name.as_bytes());
            entry
        };
        let (ours, allowed) = (entry(name), entry(&spelling(name)));
        let mut at = 0;
        while let Some(rest) = content.get_mut(at..) {
            let Some(found) = rest.windows(ours.len()).position(|window| window == ours) else { break };
            if let Some(place) = rest.get_mut(found..found + ours.len()) {
                place.copy_from_slice(&allowed);
            }
            at += found + ours.len();
        }
    }
    content
}

#[cfg(test)]
mod tests;
