//! The trait: load in `open`, fix addresses in `bind` (Warm), then only `run`.

use drivewam_core::Result;
use drivewam_core::arena::Region;
use drivewam_core::bindings::Graph;
use drivewam_device::Device;
use std::fmt;

/// One tensor at a fixed place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundTensor {
    /// The tensor's name in the graph.
    pub name: String,
    /// Where it lies.
    pub region: Region,
    /// Its shape, all axes known.
    pub shape: Vec<usize>,
}

/// All tensors of one shape of a graph. Inputs and outputs never overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Io {
    /// Inputs, any order.
    pub inputs: Vec<BoundTensor>,
    /// Outputs, any order. An output of the graph that is not named here is computed and dropped.
    pub outputs: Vec<BoundTensor>,
    /// Work space that an engine on a GPU computes in; engines of one stream share it.
    pub scratch: Option<Region>,
}

/// A bound shape of an engine: made by [`Engine::bind`], good for that engine alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding(pub(crate) usize);

/// A loaded graph.
pub trait Engine: Send + fmt::Debug {
    /// Which graph it is.
    fn graph(&self) -> Graph;

    /// Library, version and provider in words, for reports.
    fn describe(&self) -> String;

    /// Fixes the addresses of one shape. Warm; may allocate, compile, and run the graph once on what the inputs hold, which overwrites the outputs.
    ///
    /// # Errors
    /// `Manifest` for a tensor that the graph does not have or has in another shape or type, or an input that is not bound; `Usage` for regions that
    /// overlap, are too short, or are of another arena; `Device` when the engine cannot reach the device's memory; `Engine` when the library fails.
    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding>;

    /// Runs the graph on the regions of `binding`. What the library itself allocates is counted apart ([`crate::library`]).
    ///
    /// # Errors
    /// `Engine` with the library's own words; `Usage` for a binding of another engine.
    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()>;
}
