//! Who moves the car of a written drive.

use crate::car::Control;
use crate::world::World;
use drivewam_core::Result;

/// Moves the car of one drive after another.
pub trait Driver {
    /// Begins a drive in `world`.
    ///
    /// # Errors
    /// The driver fails.
    fn begin(&mut self, world: &World) -> Result<()>;

    /// The control for this tick; called once a tick.
    ///
    /// # Errors
    /// The driver fails.
    fn control(&mut self, world: &World) -> Result<Control>;
}

/// The expert.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExpertDriver;

impl Driver for ExpertDriver {
    fn begin(&mut self, _world: &World) -> Result<()> {
        Ok(())
    }

    fn control(&mut self, world: &World) -> Result<Control> {
        Ok(world.expert())
    }
}
