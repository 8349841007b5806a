//! An engine for tests of everything around an engine: inputs and outputs are the real graphs', the
//! arithmetic is a page long, and the exact flow is known.
//!
//! `dit` moves along straight paths to known data. Its outputs also depend on everything that a row
//! may see, so that a wrong mask, slot, rotation or order of passes changes them. The codec is an
//! average and its inverse. There are no weights and no files: [`bundle()`] makes the manifest.
//! This is not a model of driving; it is for tests, and for a configuration that names
//! `closed_form`.
//!
//! The velocity of a row x of `dit` at flow time τ is (x − data) / τ + [`Options::coupling`] · s;
//! at τ = 0 the first term is zero. The data are `((w mod 5) − 2) / 4` at channel w of a video row,
//! and straight motion at the ego's speed in an action row. Without coupling, a solver that is
//! exact on straight paths ends on the data. s, within ±1, depends on the row, its memory, the
//! text, the ego state and the rows of its pass that the mask lets it see, layer by layer.

mod bundle;
mod codec;
mod context;
mod dit;
mod options;
mod slot;

pub use bundle::bundle;
pub use options::{Fault, Options};

use crate::bundle::EngineBundle;
use crate::engine::{Binding, Engine, Io};
use crate::io_check;
use drivewam_core::bindings::Graph;
use drivewam_core::dims::Model;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::{ActionNormalisation, GraphEntry};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use slot::Slot;
use std::time::Duration;

/// The closed-form engine of one graph.
#[derive(Debug)]
pub struct ClosedForm {
    graph: Graph,
    entry: GraphEntry,
    model: Model,
    action: ActionNormalisation,
    options: Options,
    runs: u64,
    bindings: Vec<Shape>,
}

/// Buffers of one bound shape, made in Warm so that `run` does not allocate.
#[derive(Debug)]
struct Shape {
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    scratch: Vec<f64>,
}

impl ClosedForm {
    /// The engine of `graph`; `bundle` gives the model and the shapes.
    ///
    /// # Errors
    /// `Manifest` when the bundle has no such graph; `Engine` when a tensor of it is not f32, and
    /// for a graph of the language model and the monitor.
    pub fn open(bundle: &EngineBundle, graph: Graph, options: Options) -> Result<Self> {
        if graph == Graph::Monitor || !Graph::POLICY.contains(&graph) {
            return Err(Error::new(ErrorKind::Engine, "the closed-form engine has no such graph").at(format!("graph {graph}")));
        }
        let entry = bundle.manifest().graph(graph)?.clone();
        if let Some(tensor) = entry.inputs.iter().chain(&entry.outputs).find(|t| t.dtype != DType::F32) {
            return Err(Error::new(ErrorKind::Engine, "the closed-form engine computes in f32")
                .at(format!("graph {graph}: {:?}", tensor.name))
                .got(tensor.dtype));
        }
        // The arithmetic indexes tensors in the contract's order; the manifest's order has no
        // meaning.
        let signature = bundle.manifest().signature(graph)?;
        let entry = GraphEntry { inputs: signature.inputs, outputs: signature.outputs, ..entry };
        Ok(Self {
            graph,
            entry,
            model: bundle.manifest().model.clone(),
            action: bundle.manifest().normalisation.action,
            options,
            runs: 0,
            bindings: Vec::new(),
        })
    }

    /// Runs so far, failed ones included.
    pub fn runs(&self) -> u64 {
        self.runs
    }
}

impl Engine for ClosedForm {
    fn graph(&self) -> Graph {
        self.graph
    }

    fn describe(&self) -> String {
        match self.options.fault {
            None => format!("closed form, coupling {}", self.options.coupling),
            Some(fault) => format!("closed form, coupling {}, with the fault {fault:?}", self.options.coupling),
        }
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        io_check::check(self.graph, &self.entry, io)?;
        let dims = io_check::dynamic_dims(&self.entry, io);
        let slot = |spec: &drivewam_core::tensor::TensorSpec, bound: &[crate::engine::BoundTensor]| -> Result<Slot> {
            let shape = spec.resolve(dims.0, dims.1);
            let len = shape.iter().product();
            let region = match bound.iter().find(|bound| bound.name == spec.name) {
                Some(bound) => Some(bound.region.part(0, len)?),
                None => None,
            };
            Ok(Slot { region, shape, data: vec![0.0; len] })
        };
        let inputs = self.entry.inputs.iter().map(|spec| slot(spec, &io.inputs)).collect::<Result<Vec<_>>>()?;
        let outputs = self.entry.outputs.iter().map(|spec| slot(spec, &io.outputs)).collect::<Result<Vec<_>>>()?;
        let scratch = vec![0.0; if self.graph == Graph::Dit { dit::scratch(&self.model, dims.0) } else { 0 }];
        let mut shape = Shape { inputs, outputs, scratch };
        shape.fetch(device)?;
        self.bindings.push(shape);
        Ok(Binding(self.bindings.len() - 1))
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        self.runs += 1;
        let Some(shape) = self.bindings.get_mut(binding.0) else { return Err(io_check::foreign(self.graph, binding)) };
        if self.options.fault == Some(Fault::HangsAt(self.runs)) {
            std::thread::sleep(Duration::from_secs(60));
        }
        if self.options.fault == Some(Fault::ErrorAt(self.runs)) {
            return Err(Error::new(ErrorKind::Engine, "the fault that was asked for").at(format!("graph {}", self.graph)).got(self.runs));
        }
        shape.fetch(device)?;
        let Shape { inputs, outputs, scratch } = shape;
        match self.graph {
            Graph::Dit => dit::run(&self.model, &self.action, self.options, inputs, outputs, scratch),
            Graph::ContextText | Graph::ContextEgo => context::run(&self.model, self.graph, inputs, outputs),
            Graph::VaeEncodeFirst | Graph::VaeEncode => codec::encode(&self.model, inputs, outputs),
            Graph::VaeDecode => codec::decode(&self.model, inputs, outputs),
            // Refused in `open`.
            Graph::Monitor | Graph::VlmVision | Graph::VlmDecoder | Graph::TextEncode => {}
        }
        if matches!(self.options.fault, Some(Fault::NanAt(first)) if self.runs >= first)
            && let Some(first) = outputs.first_mut().and_then(|output| output.data.first_mut())
        {
            *first = f32::NAN;
        }
        shape.store(device)
    }
}

impl Shape {
    fn fetch(&mut self, device: &mut dyn Device) -> Result<()> {
        for slot in &mut self.inputs {
            if let Some(region) = slot.region {
                device.download(region, &mut slot.data)?;
            }
        }
        Ok(())
    }

    fn store(&self, device: &mut dyn Device) -> Result<()> {
        for slot in &self.outputs {
            if let Some(region) = slot.region {
                device.upload(region, &slot.data)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
