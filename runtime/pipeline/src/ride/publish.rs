//! What goes out after a computation, a fault or a silence: the guard's answer and its bookkeeping.

use super::Ride;
use super::chunk::NO_POINT;
use crate::guard::Reason;
use crate::ingest::Ready;
use crate::outcome::{Ages, Degraded, ms};
use crate::stages::{Stage, StageRun};
use drivewam_core::ErrorKind;
use drivewam_core::stamp::exceeds_ms;
use drivewam_device::KvCounts;

impl Ride {
    /// The guard judges the computed trajectory.
    pub(super) fn judge(&mut self, ready: Ready, speed_mps: f64) {
        let (outcome, plan) = (&mut self.outcome, &mut self.plan);
        outcome.continuity_m = plan.end.zip(outcome.pose).map(|(end, pose)| end.distance_m(&pose));
        let judged_m = outcome.continuity_m.filter(|_| self.options.closed_loop && ready.from_ns.is_some());
        let late_ms = self.options.realtime.then(|| ms(outcome.published_ns - outcome.valid_until_ns));
        (outcome.verdict, outcome.reason) = plan.guard.judge(&outcome.trajectory, speed_mps, judged_m, late_ms, &mut outcome.published);
    }

    /// The guard answers in place of a trajectory.
    pub(super) fn refuse(&mut self, reason: Reason, speed_mps: Option<f64>) {
        let outcome = &mut self.outcome;
        (outcome.verdict, outcome.reason) = self.plan.guard.refuse(reason, speed_mps, &mut outcome.published);
    }

    /// In real time, once the previous plan ended more than the deadline ago: publishes the guard's
    /// answer from the newest ego state and pose. Returns whether it did.
    pub(super) fn publish_expired(&mut self, now_ns: i64) -> bool {
        let deadline_ns = i64::from(self.config.guard.deadline_ms) * 1_000_000;
        if !self.options.realtime || self.plan.end_ns.is_none_or(|end| now_ns <= end + deadline_ns) {
            return false;
        }
        let run = StageRun::start(Stage::Guard);
        let speed_mps = self.begin_without_chunk(now_ns);
        self.refuse(Reason::Expired, speed_mps);
        self.publish(0, run);
        true
    }

    /// Publishes a request for minimal risk from the newest ego state and pose, after the ride was
    /// lost.
    pub(super) fn publish_lost(&mut self, now_ns: i64) {
        let run = StageRun::start(Stage::Guard);
        let speed_mps = self.begin_without_chunk(now_ns);
        let (outcome, reason) = (&mut self.outcome, Reason::Fault(ErrorKind::Internal));
        (outcome.verdict, outcome.reason) = self.plan.guard.minimal_risk(reason, speed_mps, &mut outcome.published);
        outcome.memory = KvCounts::default();
        self.publish(0, run);
    }

    /// Writes into the outcome what is known at `now_ns` without a chunk. Returns the newest speed.
    fn begin_without_chunk(&mut self, now_ns: i64) -> Option<f64> {
        let ingest = &self.inputs.ingest;
        let (ego, pose) = (ingest.newest_ego(now_ns), ingest.newest_pose(now_ns));
        let age_ms = |age_ns: Option<i64>| ms(age_ns.unwrap_or(0));
        let outcome = &mut self.outcome;
        (outcome.t0_ns, outcome.published_ns, outcome.valid_until_ns) = (now_ns, now_ns, now_ns + self.config.model.chunk_ns());
        (outcome.pose, outcome.continuity_m, outcome.restarted) = (pose.map(|(pose, _)| pose), None, None);
        outcome.ages = Ages {
            ego_ms: age_ms(ego.map(|(_, age)| age)),
            pose_ms: age_ms(pose.map(|(_, age)| age)),
            command_ms: ms(ingest.command(now_ns).1),
        };
        outcome.trajectory.points_mut().fill(NO_POINT);
        ego.map(|(ego, _)| ego.speed_mps)
    }

    /// Completes the outcome, and remembers the published plan's end. `guarding`: the run of the
    /// guard's stage.
    pub(super) fn publish(&mut self, jitter_ns: i64, guarding: StageRun) {
        let (outcome, plan) = (&mut self.outcome, &mut self.plan);
        outcome.uncovered_ms = plan.end_ns.map_or(0.0, |end| ms((outcome.published_ns - end).max(0)));
        let late_ms = ms(outcome.published_ns - outcome.t0_ns) - f64::from(self.config.guard.deadline_ms);
        outcome.degraded = Degraded {
            frame_jitter_ms: if exceeds_ms(jitter_ns, self.config.ingest.max_frame_jitter_ms) { ms(jitter_ns) } else { 0.0 },
            refused_inputs: std::mem::take(&mut self.inputs.refused),
            late_ms: (self.options.realtime && late_ms > 0.0).then_some(late_ms),
            ..self.camera_fit
        };
        plan.end_ns = Some(outcome.valid_until_ns);
        plan.end = outcome.pose.zip(outcome.published.points().last()).map(|(pose, last)| pose.compose(&last.pose()));
        self.stages.add(guarding);
        outcome.stages = std::mem::take(&mut self.stages);
    }
}
