//! One world on one ride with observed history: the expert drives, the policy says at every chunk what it would do.

use super::chosen::Signs;
use anyhow::{Result, ensure};
use drivewam::Ride;
use drivewam::guidance::status::GuidanceSource;
use drivewam_core::dims::{Command, Model};
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Displacement, Trajectory};
use drivewam_simulation::{CameraSource, SimulationDriver};
use drivewam_world::Options;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Horizons of the errors, seconds.
pub(super) const HORIZONS_S: [f64; 2] = [3.0, 4.0];

/// A course to drive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) seed: u64,
    pub(super) options: Options,
    pub(super) chunks: usize,
    pub(super) camera: CameraSource,
    /// The ride begins anew whenever it has gone so many chunks: nothing older can reach it, on whatever way.
    pub(super) anew_every: Option<usize>,
    /// Whether the ride is told the route command.
    pub(super) routed: bool,
}

/// What came of one chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// Whether only memory can tell the limit.
    pub(super) needed: bool,
    /// What the route demands at t0, whether the ride is told or not.
    pub(super) command: Command,
    /// Whether it was told what a language model said.
    pub(super) spoken: bool,
    /// Of the policy, at each of [`HORIZONS_S`].
    pub(super) policy: [Displacement; 2],
    /// Of constant velocity and yaw rate.
    pub(super) constant: [Displacement; 2],
    /// Where memory is needed: the share of the tokens that show the sign in force, over layers and head sets, that the memory still holds.
    pub(super) kept: Option<f64>,
}

/// A plan that waits for the truth.
struct Waiting {
    needed: bool,
    command: Command,
    spoken: bool,
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
        self.drive_and(ride, signs, stop, |_| {})
    }

    /// The same, and calls `each` with all chunks so far after each but the last.
    ///
    /// # Errors
    /// As [`Course::drive`].
    pub(super) fn drive_and(
        &self,
        ride: &mut Ride,
        signs: &Signs,
        stop: &AtomicBool,
        mut each: impl FnMut(&[Chunk]),
    ) -> Result<Option<Vec<Chunk>>> {
        let model = ride.config().model.clone();
        let steps = model.poses();
        let mut feed = SimulationDriver::new(&model, self.seed, self.options, self.camera)?;
        feed.routed = self.routed;
        let (mut poses, mut waiting, mut chunks) = (VecDeque::with_capacity(steps + 1), None::<Waiting>, Vec::with_capacity(self.chunks));
        feed.begin(ride);
        signs.begin(self.seed);
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let ego = feed.world.ego();
            poses.push_back(ego.pose);
            if poses.len() > steps + 1 {
                poses.pop_front();
            }
            if feed.tick().is_multiple_of(steps as u64)
                && let Some(plan) = waiting.take()
            {
                chunks.push(plan.judge(poses.make_contiguous())?);
                if chunks.len() == self.chunks {
                    return Ok(Some(chunks));
                }
                each(&chunks);
                if self.anew_every.is_some_and(|every| chunks.len().is_multiple_of(every)) {
                    feed.begin(ride);
                }
            }
            if feed.is_frame() {
                feed.draw();
                note(&feed, &model, signs);
            }
            if let Some(outcome) = feed.push(ride)? {
                let (policy, spoken) = (outcome.trajectory.clone(), outcome.guidance.source == GuidanceSource::Vlm);
                ensure!(policy.points().iter().all(|p| p.pose().is_finite()), "world {}: a trajectory is not finite", self.seed);
                let mut constant = policy.clone();
                constant.set_constant(ego.speed_mps, ego.speed_mps * ego.curvature_1pm);
                let needed = feed.world.labels().memory_needed;
                let kept = if needed && self.anew_every.is_none() { kept(ride, &signs.tokens())? } else { None };
                waiting = Some(Waiting { needed, command: feed.world.command(), spoken, kept, policy, constant });
            }
            feed.step(feed.world.expert());
        }
    }
}

impl Waiting {
    /// Against the pose at t0 and all that came since.
    fn judge(&self, poses: &[Pose2]) -> Result<Chunk> {
        let truth: Vec<Pose2> = poses.iter().skip(1).map(|p| p.relative_to(&poses[0])).collect();
        let errors = |plan: &Trajectory| -> Result<[Displacement; 2]> {
            Ok([plan.displacement(&truth, HORIZONS_S[0])?, plan.displacement(&truth, HORIZONS_S[1])?])
        };
        let (policy, constant) = (errors(&self.policy)?, errors(&self.constant)?);
        Ok(Chunk { needed: self.needed, command: self.command, spoken: self.spoken, policy, constant, kept: self.kept })
    }
}

/// Notes which tokens of the chunk under way show a sign now.
fn note(feed: &SimulationDriver, model: &Model, signs: &Signs) {
    let canvas = feed.canvas();
    let Some(view) = feed.world.sign_in(canvas) else { return };
    let chunk = feed.tick().div_ceil(model.poses() as u64);
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
        let table = ride.memory_table(layer)?;
        for set in 0..table.sets() {
            let slots = table.pool(set, video.clone())?;
            held += slots.iter().filter(|s| s.valid && tokens.contains(&(s.chunk, s.token))).count();
            all += tokens.len();
        }
    }
    Ok((all > 0).then(|| held as f64 / all as f64))
}
