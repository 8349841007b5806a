//! Drives a ride through a simulated world, in the same way for all tests that compare rides.

use drivewam::guidance::status::GuidanceStatus;
use drivewam::outcome::Outcome;
use drivewam::{Progress, Ride};
use drivewam_core::Result;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_world::{Canvas, World};
use std::time::Instant;

const TICK_NS: i64 = 100_000_000;

/// A picture of the small model's size with the smooth brightness of a road scene; each `number`
/// has its own.
pub fn picture(number: i64) -> Vec<u8> {
    let value = |x: usize, y: usize| 60 + (x + 2 * y + (number.rem_euclid(97) as usize)) / 2 % 140;
    (0..64 * 112).flat_map(|i| [value(i % 112, i / 112) as u8; 3]).collect()
}

/// The output of a ride.
#[derive(Debug, Clone, Default)]
pub struct Driven {
    /// x m, y m, yaw rad of every pose of every trajectory, in the frame of its own chunk.
    pub poses: Vec<[f64; 3]>,
    /// The guidance of each chunk.
    pub guidance: Vec<GuidanceStatus>,
    /// Number of transformer passes of the last chunk.
    pub passes: u32,
    /// Duration of each step that ended a chunk, s.
    pub seconds: Vec<f64>,
}

impl Driven {
    /// All numbers of all trajectories.
    pub fn numbers(&self) -> Vec<f64> {
        self.poses.iter().flatten().copied().collect()
    }

    /// The mean and the largest distance between the positions of two rides, m.
    pub fn distance(&self, other: &Self) -> (f64, f64) {
        let all: Vec<f64> = self.poses.iter().zip(&other.poses).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).collect();
        (all.iter().sum::<f64>() / all.len().max(1) as f64, all.iter().copied().fold(0.0, f64::max))
    }
}

/// Drives `ticks` ticks of `world` with its expert at the wheel. `command` returns the route
/// command of a tick, if it sends one. `seen` is called for each outcome with the world at its t0,
/// the outcome, and the duration of the step in s.
///
/// # Errors
/// The first error of the ride.
pub fn through(
    ride: &mut Ride,
    world: &mut World,
    ticks: i64,
    command: impl Fn(&World, i64) -> Option<Command>,
    mut seen: impl FnMut(&World, &Outcome, f64),
) -> Result<()> {
    let model = ride.config().model.clone();
    let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
    for tick in 0..=ticks {
        let (stamp, ego) = (tick * TICK_NS, world.ego());
        let state = EgoState { speed_mps: ego.speed_mps, acceleration_mps2: ego.acceleration_mps2, curvature_1pm: ego.curvature_1pm };
        ride.push_ego(stamp, state)?;
        ride.push_pose(stamp, ego.pose)?;
        if let Some(command) = command(world, tick) {
            ride.push_command(stamp, command)?;
        }
        if tick % 10 == 0 {
            world.render(&mut canvas);
            ride.push_frame(stamp, &canvas.rgb)?;
            let since = Instant::now();
            if let Progress::Outcome(outcome) = ride.step(stamp)? {
                seen(world, outcome, since.elapsed().as_secs_f64());
            }
        }
        world.step(world.expert());
    }
    Ok(())
}

/// Drives `chunks` chunks of world 5 with the command `straight`.
///
/// # Errors
/// The first error of the ride.
pub fn drive(ride: &mut Ride, chunks: usize) -> Result<Driven> {
    let mut driven = Driven::default();
    let straight = |_: &World, tick: i64| (tick == 0).then_some(Command::Straight);
    through(ride, &mut World::new(5, drivewam_world::Options::default()), (chunks as i64 - 1) * 40, straight, |_, outcome, seconds| {
        driven.seconds.push(seconds);
        driven.guidance.push(outcome.guidance.clone());
        driven.passes = outcome.stages.passes();
        driven.poses.extend(outcome.trajectory.points().iter().map(|p| [p.x_m, p.y_m, p.yaw_rad]));
    })?;
    Ok(driven)
}
