//! The engine trait: `bind` fixes addresses in Warm, then the ride only calls `run`.

use drivewam_core::Result;
use drivewam_core::arena::Region;
use drivewam_core::bindings::Graph;
use drivewam_device::Device;
use std::fmt;

/// A tensor of a graph, bound to a region of the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundTensor {
    /// The tensor's name in the graph.
    pub name: String,
    /// The region; at least as long as the shape.
    pub region: Region,
    /// Its shape, all axes known.
    pub shape: Vec<usize>,
}

/// All tensors of a graph for one choice of its dynamic dimensions. Outputs overlap nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Io {
    /// Inputs, in any order.
    pub inputs: Vec<BoundTensor>,
    /// Outputs, in any order. An output of the graph that is not listed is computed and dropped.
    pub outputs: Vec<BoundTensor>,
    /// Scratch memory of an engine on a GPU. Engines of one stream share it.
    pub scratch: Option<Region>,
}

/// A bound shape of one engine, made by [`Engine::bind`]. Other engines refuse it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding(pub(crate) usize);

/// A loaded graph.
pub trait Engine: Send + fmt::Debug {
    /// The graph.
    fn graph(&self) -> Graph;

    /// Library, version and provider, for reports.
    fn describe(&self) -> String;

    /// Binds one shape to addresses. Warm: it may allocate, compile, and run the graph once on the
    /// present inputs, which overwrites the outputs.
    ///
    /// # Errors
    /// `Manifest` for a tensor that the graph does not have, or has with another shape or type, and
    /// for an input that is not bound; `Usage` for regions that overlap, are too short, or belong
    /// to another arena; `Device` when the engine cannot use the device's memory; `Engine` when the
    /// library fails.
    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding>;

    /// Runs the graph on the regions of `binding`. Does not allocate; allocations of the library
    /// itself are counted separately ([`crate::library`]).
    ///
    /// # Errors
    /// `Engine` with the library's message; `Usage` for a binding of another engine.
    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()>;
}
