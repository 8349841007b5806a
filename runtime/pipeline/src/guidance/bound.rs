//! A graph beside the ride: regions of its own, one for each tensor, and its engine bound to them in several shapes.

use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{Signature, TensorSpec};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::{Device, HostArena, HostDevice};
use drivewam_engine::{Binding, Bound, Engine, Io};

/// A graph's regions, and its engine once it is loaded.
#[derive(Debug)]
pub(super) struct Bindings {
    signature: Signature,
    regions: Vec<(String, Region)>,
    engine: Option<Box<dyn Engine>>,
}

impl Bindings {
    /// Plans a region for each tensor, long enough for `n` rows and `s` slots.
    pub(super) fn plan(planner: &mut Planner, owner: &'static str, signature: &Signature, n: usize, s: usize) -> Result<Self> {
        let specs = signature.inputs.iter().chain(&signature.outputs);
        let regions = specs
            .map(|spec| Ok((spec.name.clone(), planner.add(owner, format!("{owner}.{}", spec.name), spec.dtype, &spec.resolve(n, s))?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { signature: signature.clone(), regions, engine: None })
    }

    /// The region of a tensor; an input comes before an output of the same name.
    pub(super) fn region(&self, name: &str) -> Result<Region> {
        let found = self.regions.iter().find(|(known, _)| known == name).map(|(_, region)| *region);
        found.ok_or_else(|| Error::new(ErrorKind::Usage, "the graph has no such tensor").at("guidance").got(format!("{name:?}")))
    }

    /// Takes the engine and binds a first shape.
    pub(super) fn bind(&mut self, engine: Box<dyn Engine>, device: &mut HostDevice, n: usize, s: usize) -> Result<Binding> {
        self.engine = Some(engine);
        self.bind_again(device, n, s)
    }

    /// Binds another shape.
    pub(super) fn bind_again(&mut self, device: &mut HostDevice, n: usize, s: usize) -> Result<Binding> {
        let side = |specs: &[TensorSpec]| {
            specs
                .iter()
                .map(|spec| {
                    let shape = spec.resolve(n, s);
                    Ok(Bound { name: spec.name.clone(), region: self.region(&spec.name)?.part(0, shape.iter().product())?, shape })
                })
                .collect::<Result<Vec<_>>>()
        };
        let io = Io { inputs: side(&self.signature.inputs)?, outputs: side(&self.signature.outputs)?, scratch: None };
        self.engine.as_mut().ok_or_else(missing)?.bind(device, &io)
    }

    /// The engine, with all its bindings.
    pub(super) fn engine(self) -> Result<Box<dyn Engine>> {
        self.engine.ok_or_else(missing)
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::Usage, "the graph was not loaded").at("guidance")
}

/// The memory that both lie in.
pub(super) fn arena(device: &mut HostDevice) -> Result<&mut HostArena> {
    device.host().ok_or_else(|| Error::new(ErrorKind::Device, "the memory is gone").at("guidance"))
}

/// Copies a region to another of the same length. Does not allocate.
pub(super) fn copy(device: &mut HostDevice, from: Region, to: Region) -> Result<()> {
    let ([from], [to]) = arena(device)?.disjoint([from], [to])?;
    to.copy_from_slice(from);
    Ok(())
}
