//! The guard: judges each plan and decides what the vehicle receives. It always answers: with the
//! plan, the previous plan continued, or a request for minimal risk, and with the cause
//! ([`causes`]).
//!
//! A held plan is judged like any other before it is published, and a minimal-risk plan slows down
//! by construction.

pub mod causes;
mod doubt;
mod in_force;
mod plan_check;

pub use causes::{Cause, CauseKind, Causes, InputStream, Response, VehicleLimit, Verdict};

use causes::GuardState;
pub(crate) use doubt::DoubtRun;
use drivewam_core::config::{GapPolicy, GuardConfig as Settings, VehicleConfig};
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Point, Trajectory};
use in_force::{PlanInForce, along};
use plan_check::violation;

/// Deceleration of a minimal-risk plan, as a share of the vehicle's largest.
const MINIMAL_RISK_BRAKING: f64 = 0.5;
/// The least deceleration of a minimal-risk plan, m/s².
const LEAST_BRAKING_MPS2: f64 = 0.5;
/// A car below this speed stands, m/s.
pub(crate) const STANDSTILL_MPS: f64 = 0.1;

/// When and where the guard answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// Time of the answer: the anchor of a held or braking plan.
    pub(crate) now_ns: i64,
    /// Pose of the ego then; `None` where it is not known.
    pub(crate) pose: Option<Pose2>,
    /// The newest speed of the ego that can be trusted; `None`: the last known one counts.
    pub(crate) speed_mps: Option<f64>,
}

/// Where a chunk's plan begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanStart {
    /// Capture time of the newest frame.
    pub(crate) t0_ns: i64,
    /// Pose of the ego then.
    pub(crate) pose: Option<Pose2>,
    /// Speed of the ego then.
    pub(crate) speed_mps: f64,
}

/// What goes out: a verdict, what decided it, and the plan's stamps. The points are in the
/// trajectory that the caller gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) cause: Option<Cause>,
    pub(crate) t0_ns: Option<i64>,
    pub(crate) anchor_ns: i64,
    pub(crate) pose: Option<Pose2>,
}

/// Judges plans, and remembers what went out.
#[derive(Debug)]
pub(crate) struct Guard {
    settings: Settings,
    vehicle: VehicleConfig,
    step_s: f64,
    chunk_ns: i64,
    /// Whether minimal risk stays until standstill: the car follows what goes out.
    latches: bool,
    state: GuardState,
    /// Whether the minimal-risk manoeuvre is under way. It survives [`Guard::forget`].
    latched: bool,
    /// The last known speed of the ego, m/s.
    speed_mps: f64,
    in_force: PlanInForce,
}

impl Guard {
    /// A guard of plans like `plan`. `latches`: minimal risk stays until standstill.
    pub(crate) fn new(settings: Settings, vehicle: VehicleConfig, plan: &Trajectory, chunk_ns: i64, latches: bool) -> Self {
        let in_force = PlanInForce::new(plan, chunk_ns);
        let (step_s, state) = (plan.step_s(), GuardState::Start);
        Self { settings, vehicle, step_s, chunk_ns, latches, state, latched: false, speed_mps: 0.0, in_force }
    }

    /// Forgets what went out and the ego's speed. A minimal-risk manoeuvre stays under way.
    pub(crate) fn forget(&mut self) {
        self.speed_mps = 0.0;
        self.in_force.clear();
        self.state = if self.latched { GuardState::MinimalRisk } else { GuardState::Start };
    }

    /// Ends the minimal-risk manoeuvre, which nobody follows any more.
    pub(crate) fn release(&mut self) {
        self.latched = false;
        self.in_force.leave();
    }

    /// The plan that went out last.
    pub(crate) fn in_force(&self) -> &PlanInForce {
        &self.in_force
    }

    /// Judges the plan of a chunk. `causes`: what is known against it already; the guard adds the
    /// vehicle's limits and its own state. Writes what goes out into `published`.
    pub(crate) fn judge(
        &mut self,
        plan: &Trajectory,
        start: PlanStart,
        at: Situation,
        causes: &mut Causes,
        published: &mut Trajectory,
    ) -> Answer {
        if let Some(newest_ns) = self.in_force.t0_ns.filter(|newest| *newest > start.t0_ns) {
            causes.add(Cause::new(CauseKind::OutOfOrder, (newest_ns - start.t0_ns) as f64 * 1e-6, 0.0));
        }
        if let Some(cause) = violation(&self.vehicle, self.step_s, plan.points(), start.speed_mps) {
            causes.add(cause);
        }
        let (verdict, cause) = self.decide(None, causes, at, published);
        if verdict != Verdict::Accepted {
            return self.publish(verdict, cause, at, published);
        }
        published.points_mut().copy_from_slice(plan.points());
        let PlanStart { t0_ns, pose, .. } = start;
        self.in_force.set(Some(t0_ns), t0_ns, pose, published);
        Answer { verdict, cause: None, t0_ns: Some(t0_ns), anchor_ns: t0_ns, pose }
    }

    /// Answers where there is no plan, for `causes`. Writes what goes out into `published`.
    pub(crate) fn refuse(&mut self, at: Situation, causes: &mut Causes, published: &mut Trajectory) -> Answer {
        let (verdict, cause) = self.decide(Some(Response::Refuse), causes, at, published);
        self.publish(verdict, cause, at, published)
    }

    fn publish(&mut self, verdict: Verdict, cause: Option<Cause>, at: Situation, published: &Trajectory) -> Answer {
        let t0_ns = self.in_force.t0_ns;
        self.in_force.set(t0_ns, at.now_ns, at.pose, published);
        Answer { verdict, cause, t0_ns, anchor_ns: at.now_ns, pose: at.pose }
    }

    /// The verdict and the cause that decided it. `least`: the least response, where no plan can go
    /// out. Writes a held or braking plan into `published`.
    fn decide(
        &mut self,
        least: Option<Response>,
        causes: &mut Causes,
        at: Situation,
        published: &mut Trajectory,
    ) -> (Verdict, Option<Cause>) {
        let known = at.speed_mps.filter(|speed| speed.is_finite());
        self.speed_mps = known.unwrap_or(self.speed_mps);
        self.latched &= known.is_none_or(|speed| speed.abs() > STANDSTILL_MPS);
        if self.latched {
            causes.add(Cause::new(CauseKind::MinimalRiskLatched, self.speed_mps, STANDSTILL_MPS));
        }
        let (cause, response) = causes::strongest(causes);
        let response = response.max(least);
        let may_hold = response == Some(Response::Refuse) && self.may_hold(at, published);
        let verdict = causes::decide(response, self.state, may_hold);
        self.state = match (verdict, self.state) {
            (Verdict::Accepted, _) => GuardState::Driving,
            (Verdict::Held, GuardState::Holding { since_ns }) => GuardState::Holding { since_ns },
            (Verdict::Held, _) => GuardState::Holding { since_ns: at.now_ns },
            (Verdict::MinimalRisk, _) => {
                self.latched = self.latches;
                self.brake(at, published);
                GuardState::MinimalRisk
            }
        };
        (verdict, cause.filter(|_| verdict != Verdict::Accepted))
    }

    /// Writes the continued plan into `published`. Returns whether the gap policy, its time limit
    /// and the vehicle's limits allow it.
    fn may_hold(&self, at: Situation, published: &mut Trajectory) -> bool {
        let most_ns = i64::from(self.settings.max_hold_chunks).saturating_mul(self.chunk_ns);
        let held_ns = match self.state {
            GuardState::Holding { since_ns } => at.now_ns.saturating_sub(since_ns),
            GuardState::Driving => 0,
            GuardState::Start | GuardState::MinimalRisk => return false,
        };
        self.settings.gap_policy == GapPolicy::HoldCurvature
            && held_ns < most_ns
            && self.in_force.continue_into(at.now_ns, at.pose, self.step_s, published)
            // A car that was stopped by someone else must not receive its old speed.
            && violation(&self.vehicle, self.step_s, published.points(), self.speed_mps).is_none()
    }

    /// Writes the request for minimal risk: braking along what is left of the plan in force, or,
    /// where that is not known or breaks a limit of the vehicle, along its last curvature as far as
    /// the limits allow it at this speed.
    fn brake(&mut self, at: Situation, published: &mut Trajectory) {
        let most = self.vehicle.max_deceleration_mps2;
        let braking = (MINIMAL_RISK_BRAKING * most).max(LEAST_BRAKING_MPS2);
        let rates = [braking, most.max(braking)];
        if self.in_force.brake_into(at.now_ns, at.pose, self.step_s, self.speed_mps, rates, published)
            && violation(&self.vehicle, self.step_s, published.points(), self.speed_mps).is_none()
        {
            return;
        }
        let mut speed = self.speed_mps.max(0.0);
        let lateral = self.vehicle.max_lateral_acceleration_mps2 / speed.powi(2).max(1e-6);
        let most = lateral.min(self.vehicle.max_curvature_1pm);
        let curvature = self.in_force.end_curvature_1pm().clamp(-most, most);
        let mut at = Point::default();
        for point in published.points_mut() {
            let next = (speed - braking * self.step_s).max(0.0);
            at = along(&at, curvature, speed, next, self.step_s);
            (speed, *point) = (next, at);
        }
    }
}

#[cfg(test)]
mod tests;
