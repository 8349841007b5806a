//! The arena regions of one graph, and bindings of its engine to them.

use drivewam_core::arena::{Planner, Region};
use drivewam_core::tensor::{Signature, TensorRole, TensorSpec};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_engine::{Binding, BoundTensor, Engine, Io};

/// A region for each tensor of a graph.
#[derive(Debug)]
pub(crate) struct GraphRegions {
    signature: Signature,
    regions: Vec<(String, Region)>,
}

impl GraphRegions {
    /// Plans a region for each tensor, long enough for `n` rows and `s` slots.
    pub(crate) fn new(planner: &mut Planner, owner: &'static str, signature: Signature, n: usize, s: usize) -> Result<Self> {
        let specs = signature.inputs.iter().chain(&signature.outputs);
        let regions = specs
            .map(|spec| Ok((spec.name.clone(), planner.add(owner, format!("{owner}.{}", spec.name), spec.dtype, &spec.resolve(n, s))?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { signature, regions })
    }

    /// The region of the tensor with the role `role`; of an input and an output of one role, the
    /// input's.
    pub(crate) fn region(&self, role: TensorRole) -> Result<Region> {
        self.named(&role.to_string())
    }

    fn named(&self, name: &str) -> Result<Region> {
        let found = self.regions.iter().find(|(known, _)| known == name).map(|(_, region)| *region);
        found.ok_or_else(|| Error::new(ErrorKind::Usage, "the graph has no such tensor").at("guidance").got(format!("{name:?}")))
    }

    /// Binds `engine` for `n` rows and `s` slots. On a GPU it computes in `scratch`.
    pub(crate) fn bind(
        &self,
        engine: &mut dyn Engine,
        device: &mut dyn Device,
        scratch: Option<Region>,
        n: usize,
        s: usize,
    ) -> Result<Binding> {
        let bound = |specs: &[TensorSpec]| {
            specs
                .iter()
                .map(|spec| {
                    let shape = spec.resolve(n, s);
                    Ok(BoundTensor { name: spec.name.clone(), region: self.named(&spec.name)?.part(0, shape.iter().product())?, shape })
                })
                .collect::<Result<Vec<_>>>()
        };
        engine.bind(device, &Io { inputs: bound(&self.signature.inputs)?, outputs: bound(&self.signature.outputs)?, scratch })
    }
}
