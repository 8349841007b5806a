//! One drive through one world with observed history: the expert drives, and the policy plans at
//! every chunk.

use super::steered_device::SharedSign;
use crate::horizons::HORIZONS_S;
use anyhow::{Result, ensure};
use drivewam::Ride;
use drivewam::guidance::status::GuidanceSource;
use drivewam_core::dims::{Command, Model};
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Displacement, Trajectory};
use drivewam_simulation::{CameraFault, SimulationDriver};
use drivewam_world::Options;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// One drive.
#[derive(Debug, Clone)]
pub(super) struct Episode {
    pub(super) seed: u64,
    pub(super) options: Options,
    pub(super) chunks: usize,
    /// What is wrong with the pictures.
    pub(super) fault: Option<CameraFault>,
    /// Restarts the ride after every so many chunks, so that nothing older can reach it in any way.
    pub(super) reset_every: Option<usize>,
    /// Whether the ride gets the route command.
    pub(super) routed: bool,
}

/// The result of one chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// Whether only the memory can tell the speed limit.
    pub(super) memory_needed: bool,
    /// The route command at t0, whether the ride gets it or not.
    pub(super) command: Command,
    /// Whether it had guidance by the VLM.
    pub(super) has_vlm_guidance: bool,
    /// Error of the policy at each of [`HORIZONS_S`].
    pub(super) policy: [Displacement; 2],
    /// Error of constant velocity and yaw rate.
    pub(super) constant: [Displacement; 2],
    /// The same errors of both, not against what was driven but against the expert's plan at t0 as
    /// if nobody changed what they do.
    pub(super) policy_to_plan: [Displacement; 2],
    pub(super) constant_to_plan: [Displacement; 2],
    /// Where the memory is needed: of the tokens that show the sign in force, the share that the
    /// memory still holds, over layers and head sets.
    pub(super) retention: Option<f64>,
}

/// A plan that waits for the path driven after it.
struct PendingPlan {
    memory_needed: bool,
    command: Command,
    has_vlm_guidance: bool,
    retention: Option<f64>,
    policy: Trajectory,
    constant: Trajectory,
    /// The expert's plan without foresight, in the frame of t0.
    expert: Vec<Pose2>,
}

impl Episode {
    /// Drives the episode and records in `sign` which tokens show the sign in force. Returns `None`
    /// when `stop` was set meanwhile.
    ///
    /// # Errors
    /// The ride fails; a trajectory is not finite.
    pub(super) fn drive(&self, ride: &mut Ride, sign: &SharedSign, stop: &AtomicBool) -> Result<Option<Vec<Chunk>>> {
        self.drive_with(ride, sign, stop, |_| {})
    }

    /// Like [`Episode::drive`]; also calls `each` with all chunks so far, after each but the last.
    ///
    /// # Errors
    /// As [`Episode::drive`].
    pub(super) fn drive_with(
        &self,
        ride: &mut Ride,
        sign: &SharedSign,
        stop: &AtomicBool,
        mut each: impl FnMut(&[Chunk]),
    ) -> Result<Option<Vec<Chunk>>> {
        let model = ride.config().model.clone();
        let steps = model.poses();
        let mut simulation = SimulationDriver::new(ride.config(), self.seed, self.options)?;
        simulation.fault.clone_from(&self.fault);
        simulation.routed = self.routed;
        let (mut poses, mut pending, mut chunks) =
            (VecDeque::with_capacity(steps + 1), None::<PendingPlan>, Vec::with_capacity(self.chunks));
        simulation.begin(ride);
        sign.reset(self.seed);
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let ego = simulation.world.ego();
            poses.push_back(ego.pose);
            if poses.len() > steps + 1 {
                poses.pop_front();
            }
            if simulation.tick().is_multiple_of(steps as u64)
                && let Some(plan) = pending.take()
            {
                chunks.push(plan.evaluate(poses.make_contiguous())?);
                if chunks.len() == self.chunks {
                    return Ok(Some(chunks));
                }
                each(&chunks);
                if self.reset_every.is_some_and(|every| chunks.len().is_multiple_of(every)) {
                    simulation.begin(ride);
                }
            }
            if simulation.is_frame() {
                simulation.draw();
                record_sign(&simulation, &model, sign);
            }
            if let Some(outcome) = simulation.push(ride)? {
                let (policy, has_vlm_guidance) = (outcome.trajectory.clone(), outcome.guidance.source == GuidanceSource::Vlm);
                ensure!(policy.points().iter().all(|p| p.pose().is_finite()), "world {}: a trajectory is not finite", self.seed);
                let mut constant = policy.clone();
                constant.set_constant(ego.speed_mps, ego.speed_mps * ego.curvature_1pm);
                let memory_needed = simulation.world.labels().memory_needed;
                let retention = if memory_needed && self.reset_every.is_none() { retention(ride, &sign.tokens())? } else { None };
                let (command, expert) = (simulation.world.command(), simulation.world.plan_without_foresight(steps));
                pending = Some(PendingPlan { memory_needed, command, has_vlm_guidance, retention, policy, constant, expert });
            }
            simulation.step(simulation.world.expert());
        }
    }
}

impl PendingPlan {
    /// Computes the errors against `poses`: that at t0 and all driven since.
    fn evaluate(&self, poses: &[Pose2]) -> Result<Chunk> {
        let truth: Vec<Pose2> = poses.iter().skip(1).map(|p| p.relative_to(&poses[0])).collect();
        let errors = |plan: &Trajectory, truth: &[Pose2]| -> Result<[Displacement; 2]> {
            Ok([plan.displacement(truth, HORIZONS_S[0])?, plan.displacement(truth, HORIZONS_S[1])?])
        };
        Ok(Chunk {
            memory_needed: self.memory_needed,
            command: self.command,
            has_vlm_guidance: self.has_vlm_guidance,
            policy: errors(&self.policy, &truth)?,
            constant: errors(&self.constant, &truth)?,
            policy_to_plan: errors(&self.policy, &self.expert)?,
            constant_to_plan: errors(&self.constant, &self.expert)?,
            retention: self.retention,
        })
    }
}

/// Records which tokens of the chunk in progress show a sign now.
fn record_sign(simulation: &SimulationDriver, model: &Model, sign: &SharedSign) {
    let canvas = simulation.canvas();
    let Some(view) = simulation.world.sign_in(canvas) else { return };
    let chunk = simulation.tick().div_ceil(model.poses() as u64);
    let (columns, rows) = (model.latent.width / model.patch[2], model.latent.height / model.patch[1]);
    let (wide, high) = (canvas.width as f64 / columns as f64, canvas.height as f64 / rows as f64);
    let [left, top, right, bottom] = view.face;
    for row in (top / high) as usize..((bottom / high).ceil() as usize).min(rows) {
        for column in (left / wide) as usize..((right / wide).ceil() as usize).min(columns) {
            sign.add(view.id, chunk as u32, (row * columns + column) as u32);
        }
    }
}

/// The share of `tokens`, over layers and head sets, that the video pool holds. `None` without
/// tokens.
fn retention(ride: &mut Ride, tokens: &[(u32, u32)]) -> Result<Option<f64>> {
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
