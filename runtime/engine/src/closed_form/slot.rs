//! The host buffer of one tensor.

use drivewam_core::arena::Region;

/// A tensor of the graph. Outputs that are not bound have no region.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) region: Option<Region>,
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f32>,
}
