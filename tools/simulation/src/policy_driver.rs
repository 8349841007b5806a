//! The policy at the wheel of written drives, so that training meets the policy's own mistakes
//! (DAgger). The expert takes over where the drive would show nothing more.

use crate::ride_inputs::RideInputs;
use drivewam::Ride;
use drivewam_core::Result;
use drivewam_world::{Canvas, Control, Driver, Follower, TICK_S, World};

/// Beyond this distance from the lane's centre the expert takes over, metres.
const LOST_M: f64 = 3.0;
/// It drives at least this long, ticks, and until the car is this near to the lane's centre again.
const TAKEN_OVER: u64 = 15;
const FOUND_M: f64 = 0.5;
/// A car slower than this stands, m/s; the expert takes over where it would have driven off for so
/// many ticks.
const STANDS_MPS: f64 = 0.3;
const STANDS: u64 = 50;

/// A ride that drives worlds, by its newest published plan.
#[derive(Debug)]
pub struct PolicyDriver {
    ride: Ride,
    inputs: RideInputs,
    canvas: Canvas,
    plan: Option<(u64, Follower)>,
    /// Every so many drives the expert drives alone; 0 for never.
    expert_every: u64,
    is_expert: bool,
    /// The expert drives up to this tick.
    expert_until: u64,
    collisions: u32,
    stands: u64,
}

impl PolicyDriver {
    /// A driver that follows `ride`. In every drive whose seed is a multiple of `expert_every`, the
    /// expert drives alone, if it is not 0.
    ///
    /// # Errors
    /// As [`frame_every`](crate::ride_inputs::frame_every).
    pub fn new(ride: Ride, expert_every: u64) -> Result<Self> {
        let (inputs, model) = (RideInputs::new(ride.config())?, &ride.config().model);
        let canvas = Canvas::new(model.image.width, model.image.height, model.camera);
        Ok(Self { ride, inputs, canvas, plan: None, expert_every, is_expert: false, expert_until: 0, collisions: 0, stands: 0 })
    }

    /// Whether the expert has to drive at this tick.
    fn takes_over(&mut self, world: &World, expert: &Control) -> bool {
        let (tick, off_m) = (self.inputs.tick, world.place().1.abs());
        let waits = world.ego().speed_mps < STANDS_MPS && expert.acceleration_mps2 > 0.5;
        self.stands = if waits { self.stands + 1 } else { 0 };
        let collides = world.violations().collisions > self.collisions;
        self.collisions = world.violations().collisions;
        if off_m > LOST_M || collides || self.stands > STANDS || (tick < self.expert_until && off_m > FOUND_M) {
            self.expert_until = self.expert_until.max(tick + TAKEN_OVER);
        }
        tick < self.expert_until
    }
}

impl Driver for PolicyDriver {
    fn begin(&mut self, world: &World) -> Result<()> {
        self.ride.restart();
        self.ride.release();
        self.inputs = RideInputs::new(self.ride.config())?;
        (self.plan, self.expert_until, self.collisions, self.stands) = (None, 0, 0, 0);
        self.is_expert = self.expert_every > 0 && world.seed().is_multiple_of(self.expert_every);
        Ok(())
    }

    fn control(&mut self, world: &World) -> Result<Control> {
        let (expert, ego) = (world.expert(), world.ego());
        if self.is_expert {
            return Ok(expert);
        }
        if self.inputs.is_frame() {
            world.render(&mut self.canvas);
        }
        if let Some(outcome) = self.inputs.push(&mut self.ride, world, world.command(), Some(&self.canvas), 0)? {
            self.plan = Some((self.inputs.tick, Follower::new(ego.pose, outcome.published.clone())));
        }
        let takes_over = self.takes_over(world, &expert);
        let tick = self.inputs.tick;
        self.inputs.tick += 1;
        Ok(match &self.plan {
            Some((since, plan)) if !takes_over => plan.control((tick - since) as f64 * TICK_S, &ego),
            _ => expert,
        })
    }
}
