//! What goes out after a computation, a fault or a silence: the guard's answer and its bookkeeping.

use super::Ride;
use super::chunk::NO_POINT;
use crate::guard::{Answer, Cause, CauseKind, InputStream, PlanStart, STANDSTILL_MPS, Situation, Verdict};
use crate::ingest::Ready;
use crate::monitors::MonitorReadings;
use crate::outcome::{Ages, ms};
use crate::stages::{Stage, StageRun};
use crate::trained;
use drivewam_core::ErrorKind;
use drivewam_core::ego::EgoState;
use drivewam_device::KvCounts;

/// While a silence lasts, an answer goes out this often, ns.
const REPEAT_NS: i64 = 1_000_000_000;
/// An ego state older than this does not say that the car stands, ns.
const FRESH_NS: i64 = 1_000_000_000;
/// Poses tell the speed of a car that says that it stands over this time, ns.
const MOVED_OVER_NS: i64 = 500_000_000;
/// Poses that move faster than this are not those of a car that stands, m/s.
const MOVES_MPS: f64 = 0.5;

impl Ride {
    /// The guard judges the computed trajectory, which begins in the state `ego`.
    pub(super) fn judge(&mut self, ready: Ready, ego: EgoState) {
        let speed_mps = ego.speed_mps;
        let run = StageRun::start(Stage::Guard);
        let pose = self.inputs.ingest.pose(ready.t0_ns).ok();
        let leads_to = self.plan.in_force().pose_at(ready.t0_ns);
        let continuity_error_m = leads_to.zip(pose).map(|(leads_to, pose)| leads_to.distance_m(&pose));
        self.outcome.continuity_error_m = continuity_error_m;
        let most_m = self.config.guard.max_continuity_error_m;
        let broken = continuity_error_m.filter(|m| self.options.closed_loop && *m > most_m);
        if let Some(m) = broken {
            self.outcome.degraded.add(Cause::new(CauseKind::Discontinuous, m, most_m));
        }
        let (late_ms, most_ms) = (ms(self.outcome.published_ns.saturating_sub(ready.t0_ns)), self.latest_ms());
        if self.options.realtime && late_ms > most_ms {
            self.outcome.degraded.add(Cause::new(CauseKind::Late, late_ms, most_ms));
        }
        if let Some(ranges) = &self.trained {
            trained::judge_motion(ranges, ego, &mut self.outcome.degraded);
        }
        self.doubt(ready);
        let other = self.accepted_lane.filter(|lane| *lane != ready.lane);
        let distance_m =
            other.zip(pose).and_then(|(_, pose)| self.plan.in_force().distance_m(ready.t0_ns, &pose, &self.outcome.trajectory));
        let (monitors, outcome) = (&mut self.models.monitors, &mut self.outcome);
        if let Some(distance_m) = distance_m {
            monitors.compare_lanes(distance_m, &mut outcome.monitors);
        }
        monitors.judge(&outcome.monitors, speed_mps, &mut outcome.degraded);
        let is_ordinary = !outcome.monitors.iter().any(|(_, reading)| reading.is_raised());
        self.inputs.camera.note_standstill(speed_mps, is_ordinary);
        // Every lane has had its turn since this lane's rollout began.
        let idle = self.inputs.grid.idle_lanes();
        if idle > 0 && ready.from_ns.is_some() {
            self.outcome.degraded.add(Cause::new(CauseKind::IdleLanes, idle as f64, 0.0));
        }
        let start = PlanStart { t0_ns: ready.t0_ns, pose, speed_mps };
        let at = self.situation(self.outcome.published_ns);
        let (outcome, covered_ns) = (&mut self.outcome, self.plan.in_force().end_ns());
        let answer = self.plan.judge(&outcome.trajectory, start, at, &mut outcome.degraded, &mut outcome.published);
        self.publish(answer, covered_ns, run);
    }

    /// The guard answers in place of a chunk that ended in an error.
    pub(super) fn refuse(&mut self, ready: Ready, kind: ErrorKind) {
        let run = StageRun::start(Stage::Guard);
        self.outcome.degraded.add(Cause::fault(kind));
        self.doubt(ready);
        self.answer(run);
    }

    /// The guard answers at `now_ns` without a chunk, because of `cause`.
    pub(super) fn refuse_without_chunk(&mut self, now_ns: i64, cause: Cause) {
        let run = StageRun::start(Stage::Guard);
        let ingest = &self.inputs.ingest;
        let age_ms = |age_ns: Option<i64>| ms(age_ns.unwrap_or(0));
        let (command, command_age_ns) = ingest.command(now_ns);
        let ages = Ages {
            ego_ms: age_ms(ingest.newest_ego(now_ns).map(|(_, age)| age)),
            pose_ms: age_ms(ingest.newest_pose(now_ns).map(|(_, age)| age)),
            command_ms: ms(command_age_ns),
        };
        let outcome = &mut self.outcome;
        (outcome.policy_t0_ns, outcome.continuity_error_m, outcome.restarted) = (None, None, None);
        (outcome.published_ns, outcome.command, outcome.ages) = (now_ns, command, ages);
        outcome.memory = KvCounts::default();
        outcome.monitors = MonitorReadings::default();
        outcome.trajectory.points_mut().fill(NO_POINT);
        outcome.degraded = self.camera_fit;
        outcome.degraded.add(cause);
        self.answer(run);
    }

    /// Answers when inputs stay out, or the plan in force ended and no other followed; in real time
    /// alone. Returns whether it did.
    pub(super) fn answer_silence(&mut self, now_ns: i64) -> bool {
        let Some(cause) = self.silence(now_ns).filter(|_| self.options.realtime) else {
            self.answered_ns = None;
            return false;
        };
        if self.answered_ns.is_some_and(|answered| now_ns < answered + REPEAT_NS) {
            return false;
        }
        self.answered_ns = Some(now_ns);
        self.refuse_without_chunk(now_ns, cause);
        true
    }

    fn silence(&self, now_ns: i64) -> Option<Cause> {
        let (guard, started_ns) = (&self.config.guard, self.inputs.clock.first_ns()?);
        let [poses, ego] = self.inputs.ingest.newest_ns();
        let streams = [
            (InputStream::Frames, self.inputs.grid.newest_ns(), guard.max_frame_silence_ms),
            (InputStream::Poses, poses, guard.max_pose_silence_ms),
            (InputStream::EgoStates, ego, guard.max_pose_silence_ms),
        ];
        let silent = streams.into_iter().find_map(|(stream, newest_ns, most_ms)| {
            let age_ms = ms(now_ns.saturating_sub(newest_ns.map_or(started_ns, |newest| newest.max(started_ns))));
            (age_ms > f64::from(most_ms)).then(|| Cause::new(CauseKind::Silent(stream), age_ms, f64::from(most_ms)))
        });
        let over_ms = self.plan.in_force().end_ns().map(|end_ns| ms(now_ns.saturating_sub(end_ns)));
        let deadline_ms = f64::from(guard.deadline_ms);
        silent.or_else(|| over_ms.filter(|ms| *ms > deadline_ms).map(|ms| Cause::new(CauseKind::Expired, ms, deadline_ms)))
    }

    /// Time after its newest frame at which a plan is late, ms: the deadline, or its own end.
    fn latest_ms(&self) -> f64 {
        f64::from(self.config.guard.deadline_ms).min(ms(self.config.model.chunk_ns()))
    }

    /// Adds what is wrong with the inputs of a chunk.
    fn doubt(&mut self, ready: Ready) {
        let (inputs, causes) = (&mut self.inputs, &mut self.outcome.degraded);
        inputs.ingest.take_motion_doubts(causes);
        let ingest = &inputs.ingest;
        inputs.camera.judge(causes, |stamp_ns| ingest.pose(stamp_ns).ok());
        let (jitter_ms, most_ms) = (ms(ready.jitter_ns), f64::from(self.config.ingest.max_frame_jitter_ms));
        if jitter_ms > most_ms {
            causes.add(Cause::new(CauseKind::FrameJitter, jitter_ms, most_ms));
        }
    }

    /// The ego at `now_ns`: the newest pose, moved on for its age by the newest ego state.
    fn situation(&self, now_ns: i64) -> Situation {
        let ingest = &self.inputs.ingest;
        let ego = ingest.newest_ego(now_ns).map(|(ego, _)| ego);
        let pose = ingest.newest_pose(now_ns).map(|(pose, age_ns)| {
            let (speed_mps, curvature_1pm) = ego.map_or((0.0, 0.0), |ego| (ego.speed_mps, ego.curvature_1pm));
            pose.advanced(speed_mps * age_ns as f64 * 1e-9, curvature_1pm)
        });
        Situation { now_ns, pose, speed_mps: self.trusted_speed(now_ns) }
    }

    /// The newest speed of the ego at `now_ns`. A speed of zero ends a minimal-risk manoeuvre, so
    /// it is trusted only from an ego state that is fresh and while the poses do not move: where
    /// they do, their own speed counts.
    fn trusted_speed(&self, now_ns: i64) -> Option<f64> {
        let ingest = &self.inputs.ingest;
        let (ego, age_ns) = ingest.newest_ego(now_ns)?;
        if ego.speed_mps.abs() > STANDSTILL_MPS {
            return Some(ego.speed_mps);
        }
        if age_ns > FRESH_NS {
            return None;
        }
        let moved_mps = ingest.newest_pose(now_ns).and_then(|(pose, age_ns)| {
            let before = ingest.between(now_ns - age_ns - MOVED_OVER_NS)?;
            Some(before.distance_m(&pose) / (MOVED_OVER_NS as f64 * 1e-9))
        });
        Some(moved_mps.filter(|moved| *moved > MOVES_MPS).unwrap_or(ego.speed_mps))
    }

    /// The guard answers for the causes of the outcome, at its time of publication.
    fn answer(&mut self, guarding: StageRun) {
        let at = self.situation(self.outcome.published_ns);
        let (outcome, covered_ns) = (&mut self.outcome, self.plan.in_force().end_ns());
        let answer = self.plan.refuse(at, &mut outcome.degraded, &mut outcome.published);
        self.publish(answer, covered_ns, guarding);
    }

    /// Completes the outcome. `covered_ns`: the end of the plan that went out before; `guarding`:
    /// the run of the guard's stage.
    fn publish(&mut self, answer: Answer, covered_ns: Option<i64>, guarding: StageRun) {
        let outcome = &mut self.outcome;
        let uncovered_ns = covered_ns.map_or(0, |covered| outcome.published_ns.saturating_sub(covered).max(0));
        (outcome.verdict, outcome.cause) = (answer.verdict, answer.cause);
        self.accepted_lane = (answer.verdict == Verdict::Accepted).then_some(outcome.lane);
        (outcome.t0_ns, outcome.anchor_ns, outcome.pose) = (answer.t0_ns, answer.anchor_ns, answer.pose);
        outcome.valid_until_ns = answer.anchor_ns + self.config.model.chunk_ns();
        outcome.uncovered_ms = ms(uncovered_ns);
        if let Some(cause) = answer.cause {
            outcome.degraded.remove(cause.kind);
        }
        let refused = std::mem::take(&mut self.inputs.refused);
        if refused > 0 {
            outcome.degraded.add(Cause::new(CauseKind::RejectedInputs, f64::from(refused), 0.0));
        }
        if let Some(ahead_ns) = self.inputs.dropped_ns.take() {
            let most_ms = f64::from(self.config.ingest.max_ahead_ms);
            outcome.degraded.add(Cause::new(CauseKind::StampAhead, ms(ahead_ns), most_ms));
        }
        self.has_outcome = true;
        self.stages.add(guarding);
        outcome.stages = std::mem::take(&mut self.stages);
    }
}
