//! A graph beside the ride: regions of its own, one for each tensor, and its engine bound to them in several shapes.

use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{Signature, TensorSpec};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_engine::{Binding, Bound, Engine, Io};

/// A graph's regions.
#[derive(Debug)]
pub(crate) struct Planned {
    signature: Signature,
    regions: Vec<(String, Region)>,
}

impl Planned {
    /// Plans a region for each tensor, long enough for `n` rows and `s` slots.
    pub(crate) fn new(planner: &mut Planner, owner: &'static str, signature: Signature, n: usize, s: usize) -> Result<Self> {
        let specs = signature.inputs.iter().chain(&signature.outputs);
        let regions = specs
            .map(|spec| Ok((spec.name.clone(), planner.add(owner, format!("{owner}.{}", spec.name), spec.dtype, &spec.resolve(n, s))?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { signature, regions })
    }

    /// The region of a tensor; an input comes before an output of the same name.
    pub(crate) fn region(&self, name: &str) -> Result<Region> {
        let found = self.regions.iter().find(|(known, _)| known == name).map(|(_, region)| *region);
        found.ok_or_else(|| Error::new(ErrorKind::Usage, "the graph has no such tensor").at("guidance").got(format!("{name:?}")))
    }

    /// Binds a shape of `engine`, which computes in `scratch` where it is on a GPU.
    pub(crate) fn bind(
        &self,
        engine: &mut dyn Engine,
        device: &mut dyn Device,
        scratch: Option<Region>,
        n: usize,
        s: usize,
    ) -> Result<Binding> {
        let side = |specs: &[TensorSpec]| {
            specs
                .iter()
                .map(|spec| {
                    let shape = spec.resolve(n, s);
                    Ok(Bound { name: spec.name.clone(), region: self.region(&spec.name)?.part(0, shape.iter().product())?, shape })
                })
                .collect::<Result<Vec<_>>>()
        };
        engine.bind(device, &Io { inputs: side(&self.signature.inputs)?, outputs: side(&self.signature.outputs)?, scratch })
    }
}
