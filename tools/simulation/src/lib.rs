//! A ride inside a simulated world, tick by tick. The caller decides what moves the car: the ride's
//! own plan for a closed loop, or the expert.

#![forbid(unsafe_code)]

mod camera_fault;
mod policy_driver;
mod ride_inputs;

pub use camera_fault::{CameraFault, FaultKind, mirror};
pub use policy_driver::PolicyDriver;
pub use ride_inputs::frame_every;

use drivewam::Ride;
use drivewam::outcome::Outcome;
use drivewam_core::Result;
use drivewam_core::config::Config;
use drivewam_core::dims::Command;
use drivewam_world::{Canvas, Control, Options, World};
use ride_inputs::RideInputs;

/// Drives a ride through a world: pushes the inputs of each tick and moves the world on. A tick is
/// [`SimulationDriver::draw`] if it has a frame, [`SimulationDriver::push`], then
/// [`SimulationDriver::step`].
#[derive(Debug)]
pub struct SimulationDriver {
    /// The world at this tick.
    pub world: World,
    canvas: Canvas,
    inputs: RideInputs,
    /// Whether the ride gets the route command; if not, it gets `unknown`.
    pub routed: bool,
    /// Every so many frames one is lost; 0 for none.
    pub lost_every: u64,
    /// What is wrong with the pictures.
    pub fault: Option<CameraFault>,
}

impl SimulationDriver {
    /// The world of `seed`, rendered for the model's camera.
    ///
    /// # Errors
    /// As [`frame_every`].
    pub fn new(config: &Config, seed: u64, options: Options) -> Result<Self> {
        let model = &config.model;
        Ok(Self {
            world: World::new(seed, options),
            canvas: Canvas::new(model.image.width, model.image.height, model.camera),
            inputs: RideInputs::new(config)?,
            routed: true,
            lost_every: 0,
            fault: None,
        })
    }

    /// Restarts the ride at this tick: it forgets everything before.
    pub fn begin(&mut self, ride: &mut Ride) {
        ride.restart();
        self.inputs.begin();
    }

    /// Ticks since the start.
    pub fn tick(&self) -> u64 {
        self.inputs.tick
    }

    /// Whether this tick has a frame.
    pub fn is_frame(&self) -> bool {
        self.inputs.is_frame()
    }

    /// The newest frame and its camera.
    pub fn canvas(&self) -> &Canvas {
        &self.canvas
    }

    /// Renders the frame that [`SimulationDriver::push`] pushes.
    pub fn draw(&mut self) {
        let tick = self.inputs.tick;
        match self.fault.as_mut().filter(|fault| tick >= fault.from_tick) {
            Some(fault) => fault.draw(&mut self.world, tick, &mut self.canvas),
            None => self.world.render(&mut self.canvas),
        }
    }

    /// Pushes command, ego state and pose of this tick. If the tick has a frame, also pushes the
    /// newest rendered one and lets the ride step; returns its outcome if a chunk is complete.
    ///
    /// # Errors
    /// Those of the ride.
    pub fn push<'a>(&mut self, ride: &'a mut Ride) -> Result<Option<&'a Outcome>> {
        self.push_late(ride, 0)
    }

    /// [`SimulationDriver::push`], with the ride's step `late_ns` after the tick, and never before
    /// an earlier step.
    ///
    /// # Errors
    /// Those of the ride.
    pub fn push_late<'a>(&mut self, ride: &'a mut Ride, late_ns: i64) -> Result<Option<&'a Outcome>> {
        let command = if self.routed { self.world.command() } else { Command::Unknown };
        let is_lost = self.lost_every > 0 && (self.inputs.frame() + 1).is_multiple_of(self.lost_every);
        self.inputs.push(ride, &self.world, command, (!is_lost).then_some(&self.canvas), late_ns)
    }

    /// Advances the world by one tick, with the car under `control`.
    pub fn step(&mut self, control: Control) {
        self.world.step(control);
        self.inputs.tick += 1;
    }
}

#[cfg(test)]
mod tests;
