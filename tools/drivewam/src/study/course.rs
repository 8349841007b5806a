//! One world on one ride with observed history: the expert drives, the policy says at every chunk what it would do.

use super::chosen::Signs;
use anyhow::{Result, ensure};
use drivewam::ingest::EgoState;
use drivewam::{Progress, Ride};
use drivewam_core::dims::Model;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Displacement, Trajectory};
use drivewam_world::{Canvas, Options, World};
use std::sync::atomic::{AtomicBool, Ordering};

/// One tick of the world, nanoseconds.
pub(super) const TICK_NS: i64 = 100_000_000;
/// Horizons of the errors, seconds.
pub(super) const HORIZONS_S: [f64; 2] = [3.0, 4.0];
/// Worlds whose camera stands in for another's have seeds this much higher: held out too.
const OTHER_SEED: u64 = 5000;

/// What the policy is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Camera {
    /// Its own world.
    Own,
    /// Nothing.
    Black,
    /// Another world, driven by its own expert.
    Other,
}

/// A course to drive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) seed: u64,
    pub(super) options: Options,
    pub(super) chunks: usize,
    pub(super) camera: Camera,
}

/// What came of one chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// Whether only memory can tell the limit.
    pub(super) needed: bool,
    /// Of the policy, at each of [`HORIZONS_S`].
    pub(super) policy: [Displacement; 2],
    /// Of constant velocity and yaw rate.
    pub(super) constant: [Displacement; 2],
    /// Where memory is needed: the share of the tokens that show the sign in force, over layers and head sets, that the memory still holds.
    pub(super) kept: Option<f64>,
}

/// A plan that waits for the truth.
struct Waiting {
    tick: usize,
    needed: bool,
    kept: Option<f64>,
    policy: Trajectory,
    constant: Trajectory,
}

impl Course {
    /// Drives it. `signs` learns which tokens show the sign in force. Nothing comes back when `stop` was raised on the way.
    ///
    /// # Errors
    /// Of the ride; a trajectory that is not finite.
    pub(super) fn drive(&self, ride: &mut Ride, signs: &Signs, stop: &AtomicBool) -> Result<Option<Vec<Chunk>>> {
        let model = ride.config().model.clone();
        let poses_per_chunk = model.poses();
        let frame_every = 10 / model.image.frame_hz as usize;
        let mut world = World::new(self.seed, self.options);
        let mut other = (self.camera == Camera::Other).then(|| World::new(self.seed + OTHER_SEED, self.options));
        let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
        let (mut poses, mut waiting) = (Vec::new(), Vec::new());
        let mut command = None;
        ride.restart();
        signs.clear();
        for tick in 0..=self.chunks * poses_per_chunk {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (stamp_ns, ego) = (tick as i64 * TICK_NS, world.ego());
            if command != Some(world.command()) {
                command = Some(world.command());
                ride.push_command(stamp_ns, world.command())?;
            }
            let (speed_mps, acceleration_mps2, curvature_1pm) = (ego.speed_mps, ego.acceleration_mps2, ego.curvature_1pm);
            ride.push_ego(stamp_ns, EgoState { speed_mps, acceleration_mps2, curvature_1pm })?;
            ride.push_pose(stamp_ns, ego.pose)?;
            poses.push(ego.pose);
            if tick % frame_every == 0 && tick < self.chunks * poses_per_chunk {
                match self.camera {
                    Camera::Own => world.render(&mut canvas),
                    Camera::Black => {}
                    Camera::Other => other.iter().for_each(|w| w.render(&mut canvas)),
                }
                note(&world, &canvas, &model, tick.div_ceil(poses_per_chunk), signs);
                ride.push_frame(stamp_ns, &canvas.rgb)?;
                if let Progress::Outcome(outcome) = ride.step(stamp_ns)? {
                    let policy = outcome.trajectory.clone();
                    ensure!(policy.points().iter().all(|p| p.pose().is_finite()), "world {}: a trajectory is not finite", self.seed);
                    let mut constant = policy.clone();
                    constant.set_constant(speed_mps, speed_mps * curvature_1pm);
                    let needed = world.labels().memory_needed;
                    let kept = if needed { kept(ride, &signs.tokens())? } else { None };
                    waiting.push(Waiting { tick, needed, kept, policy, constant });
                }
            }
            world.step(world.expert());
            other.iter_mut().for_each(|w| w.step(w.expert()));
        }
        waiting.iter().map(|plan| plan.judge(&poses, poses_per_chunk)).collect::<Result<Vec<_>>>().map(Some)
    }
}

impl Waiting {
    fn judge(&self, poses: &[Pose2], steps: usize) -> Result<Chunk> {
        let truth: Vec<Pose2> = poses[self.tick + 1..=self.tick + steps].iter().map(|p| p.relative_to(&poses[self.tick])).collect();
        let errors = |plan: &Trajectory| -> Result<[Displacement; 2]> {
            Ok([plan.displacement(&truth, HORIZONS_S[0])?, plan.displacement(&truth, HORIZONS_S[1])?])
        };
        Ok(Chunk { needed: self.needed, policy: errors(&self.policy)?, constant: errors(&self.constant)?, kept: self.kept })
    }
}

/// Notes which tokens of `chunk` show a sign now.
fn note(world: &World, canvas: &Canvas, model: &Model, chunk: usize, signs: &Signs) {
    let Some(view) = world.sign_in(canvas) else { return };
    let (columns, rows) = (model.latent.width / model.patch[2], model.latent.height / model.patch[1]);
    let (wide, high) = (canvas.width as f64 / columns as f64, canvas.height as f64 / rows as f64);
    let [left, top, right, bottom] = view.face;
    for row in (top / high) as usize..((bottom / high).ceil() as usize).min(rows) {
        for column in (left / wide) as usize..((right / wide).ceil() as usize).min(columns) {
            signs.add(view.id, chunk as u32, (row * columns + column) as u32);
        }
    }
}

fn kept(ride: &mut Ride, tokens: &[(u32, u32)]) -> Result<Option<f64>> {
    let layers = ride.config().model.layers;
    let video = 0..ride.config().slots().0;
    let (mut held, mut all) = (0, 0);
    for layer in 0..layers {
        let table = ride.device().kv_table(layer)?;
        for set in 0..table.sets() {
            let slots = table.pool(set, video.clone())?;
            held += slots.iter().filter(|s| s.valid && tokens.contains(&(s.chunk, s.token))).count();
            all += tokens.len();
        }
    }
    Ok((all > 0).then(|| held as f64 / all as f64))
}
