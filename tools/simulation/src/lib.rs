//! A drawn world as what feeds a ride: one tick at a time, the ride's answer as it comes.

#![forbid(unsafe_code)]

use drivewam::outcome::Outcome;
use drivewam::{Progress, Ride};
use drivewam_core::dims::{Command, Model};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_world::{Canvas, Control, Options, TICK_NS, World};

/// What the ride is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraSource {
    /// Its own world.
    Own,
    /// Nothing.
    Black,
    /// The world of another seed, driven by its own expert.
    Other(u64),
}

/// Ticks from one frame to the next.
///
/// # Errors
/// The model's frame rate does not divide the world's ten ticks a second.
pub fn frame_every(model: &Model) -> Result<u64> {
    if model.image.frame_hz == 0 || !10u32.is_multiple_of(model.image.frame_hz) {
        return Err(Error::new(ErrorKind::Config, "the world is drawn ten times a second")
            .at("model.image.frame_hz")
            .got(model.image.frame_hz)
            .wanted("a divisor of ten"));
    }
    Ok(u64::from(10 / model.image.frame_hz))
}

/// See the module's doc.
#[derive(Debug)]
pub struct SimulationDriver {
    /// The world as it is now.
    pub world: World,
    other: Option<World>,
    camera: CameraSource,
    canvas: Canvas,
    frame_every: u64,
    tick: u64,
    command: Option<Command>,
    /// Whether the ride is told the route command; else it is told that none is known.
    pub routed: bool,
}

impl SimulationDriver {
    /// The world of `seed`, drawn at the model's camera.
    ///
    /// # Errors
    /// As [`frame_every`].
    pub fn new(model: &Model, seed: u64, options: Options, camera: CameraSource) -> Result<Self> {
        Ok(Self {
            world: World::new(seed, options),
            other: if let CameraSource::Other(seed) = camera { Some(World::new(seed, options)) } else { None },
            camera,
            canvas: Canvas::new(model.image.width, model.image.height, model.camera),
            frame_every: frame_every(model)?,
            tick: 0,
            command: None,
            routed: true,
        })
    }

    /// Lets the ride begin anew here: all that it knew is forgotten.
    pub fn begin(&mut self, ride: &mut Ride) {
        ride.restart();
        self.command = None;
    }

    /// Ticks since the start.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// Whether there is a frame now.
    pub fn is_frame(&self) -> bool {
        self.tick.is_multiple_of(self.frame_every)
    }

    /// The camera of the newest frame.
    pub fn canvas(&self) -> &Canvas {
        &self.canvas
    }

    /// Draws the frame that [`SimulationDriver::push`] will hand over.
    pub fn draw(&mut self) {
        match (self.camera, &self.other) {
            (CameraSource::Own, _) => self.world.render(&mut self.canvas),
            (CameraSource::Other(_), Some(other)) => other.render(&mut self.canvas),
            _ => {}
        }
    }

    /// Hands over what is known at this tick, with the frame that was drawn if there is one now, and lets the ride step.
    ///
    /// # Errors
    /// Of the ride.
    pub fn push<'a>(&mut self, ride: &'a mut Ride) -> Result<Option<&'a Outcome>> {
        self.push_late(ride, 0)
    }

    /// The same, `late_ns` after the tick.
    ///
    /// # Errors
    /// Of the ride.
    pub fn push_late<'a>(&mut self, ride: &'a mut Ride, late_ns: i64) -> Result<Option<&'a Outcome>> {
        let (stamp_ns, ego) = (self.tick as i64 * TICK_NS, self.world.ego());
        let command = if self.routed { self.world.command() } else { Command::Unknown };
        if self.command != Some(command) {
            self.command = Some(command);
            ride.push_command(stamp_ns, command)?;
        }
        ride.push_ego(stamp_ns, ego.state())?;
        ride.push_pose(stamp_ns, ego.pose)?;
        if !self.is_frame() {
            return Ok(None);
        }
        ride.push_frame(stamp_ns, &self.canvas.rgb)?;
        Ok(match ride.step(stamp_ns.saturating_add(late_ns))? {
            Progress::Outcome(outcome) => Some(outcome),
            Progress::Waiting => None,
        })
    }

    /// Moves the world by one tick, the car by `control`.
    pub fn step(&mut self, control: Control) {
        self.world.step(control);
        if let Some(other) = &mut self.other {
            other.step(other.expert());
        }
        self.tick += 1;
    }
}
