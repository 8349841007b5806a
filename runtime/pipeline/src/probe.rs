//! Tensors that pass between the engines, for goldens, bisection against another runtime, and
//! calibration. A vehicle sets no probe.

use drivewam_core::arena::Region;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use ndarray::{ArrayViewD, IxDyn};

/// Receives tensors by name as a chunk is computed.
pub trait Probe: Send + std::fmt::Debug {
    /// `values` of the tensor `name` of `chunk`.
    ///
    /// | `name` | shape | calls |
    /// |---|---|---|
    /// | `observed.k`, `observed.v` | `[H, N, D]` | one per layer and observed pass |
    /// | `video.velocity`, `action.velocity` | `[N, W]` | one per solver step; `layer` is 0 |
    fn tensor(&mut self, chunk: u64, name: &'static str, layer: usize, values: ArrayViewD<'_, f32>);
}

/// Shows `regions`, one per layer and each of shape `shape`, to the probe, if there is one.
pub(crate) fn show(
    probe: &mut Option<Box<dyn Probe>>,
    device: &mut dyn Device,
    chunk: u64,
    name: &'static str,
    regions: &[Region],
    shape: &[usize],
) -> Result<()> {
    let Some(probe) = probe else { return Ok(()) };
    for (layer, region) in regions.iter().enumerate() {
        let mut values = vec![0.0; region.len()];
        device.download(*region, &mut values)?;
        let values = ArrayViewD::from_shape(IxDyn(shape), &values)
            .map_err(|e| Error::new(ErrorKind::Usage, "the tensor has another shape").at(format!("probe: {name}")).caused_by(e))?;
        probe.tensor(chunk, name, layer, values);
    }
    Ok(())
}
