//! A look at what passes between the engines: for goldens, bisection against another runtime, and calibration. Off in a vehicle.

use drivewam_core::Result;
use drivewam_core::arena::Region;
use drivewam_device::Device;

/// Receives tensors by name as a chunk computes them.
pub trait Probe: Send + std::fmt::Debug {
    /// `values` of the tensor `name` of `chunk`; `layer` is 0 for what has none. Velocities come in the order of the steps.
    fn tensor(&mut self, chunk: u64, name: &'static str, layer: usize, values: &[f32]);
}

/// Shows `regions`, one per layer, to the probe, if there is one.
pub(crate) fn probe(
    to: &mut Option<Box<dyn Probe>>,
    device: &mut dyn Device,
    chunk: u64,
    name: &'static str,
    regions: &[Region],
) -> Result<()> {
    let Some(probe) = to else { return Ok(()) };
    for (layer, region) in regions.iter().enumerate() {
        let mut values = vec![0.0; region.len()];
        device.download(*region, &mut values)?;
        probe.tensor(chunk, name, layer, &values);
    }
    Ok(())
}
