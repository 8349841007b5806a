//! The guard: judges each plan and decides what the vehicle receives. It always answers: with the
//! plan, the previous plan continued, or a request for minimal risk, and with the reason.
//!
//! Accelerations and side-slip are judged over half a second, curvatures over half a metre: noise
//! dominates in increments of a tenth of a second. A held plan is judged like any other before it
//! is published.

use drivewam_core::ErrorKind;
use drivewam_core::config::{GapPolicy, GuardConfig as Settings, VehicleConfig};
use drivewam_core::trajectory::{Point, Trajectory};
use std::fmt;

/// Window for accelerations and side-slip, poses.
const WINDOW: usize = 5;
/// Motion across the heading within the window that counts as noise, m.
const SIDE_SLIP_M: f64 = 0.5;
/// Motion across the heading that a slipping car may add, as a share of the motion along it.
const SIDE_SLIP_SHARE: f64 = 0.2;
/// Turn within the window that counts as noise where the car hardly moves, rad.
const TURN_ON_THE_SPOT_RAD: f64 = 0.15;
/// Distance over which a curvature is taken, m. Shorter distances give only the noise of the poses.
const CURVATURE_DISTANCE_M: f64 = 0.5;
/// Deceleration of a minimal-risk plan, as a share of the vehicle's largest.
const MINIMAL_RISK_BRAKING: f64 = 0.5;

/// The guard's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The policy's plan is published unchanged.
    Accepted,
    /// The previous plan is continued, by the gap policy.
    Held,
    /// The vehicle is asked for its minimal-risk manoeuvre. The published plan brakes, to a
    /// standstill where its length allows.
    MinimalRisk,
}

impl Verdict {
    /// The name that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::MinimalRisk => "minimal_risk",
        }
    }
}

/// Why the policy's plan was not published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// A pose is not finite.
    NotFinite {
        /// Its index.
        pose: usize,
    },
    /// The plan exceeds a limit of the vehicle.
    Limit {
        /// The limit's key in the configuration.
        key: &'static str,
        /// The index of the pose.
        pose: usize,
        /// The plan's value.
        got: f64,
        /// The limit.
        limit: f64,
    },
    /// The plan does not begin where the previous one ended.
    Discontinuous {
        /// Distance, m.
        got_m: f64,
        /// The limit, m.
        limit_m: f64,
    },
    /// The plan moves the car across its heading, or turns it on the spot.
    SideSlip {
        /// The index of the pose.
        pose: usize,
    },
    /// The plan was ready only after its own end.
    Late {
        /// Time after its end, ms.
        by_ms: f64,
    },
    /// The previous plan ended and no other followed: frames, poses or ego states are missing.
    Expired,
    /// There is no plan: the chunk ended in an error of this kind.
    Fault(ErrorKind),
}

impl Reason {
    /// The name that reports count by.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "not_finite",
            Self::Limit { .. } => "limit",
            Self::Discontinuous { .. } => "discontinuous",
            Self::SideSlip { .. } => "side_slip",
            Self::Late { .. } => "late",
            Self::Expired => "expired",
            Self::Fault(_) => "fault",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotFinite { pose } => write!(f, "pose {pose} is not finite"),
            Self::Limit { key, pose, got, limit } => write!(f, "pose {pose} exceeds {key} (got {got:.2}, limit {limit})"),
            Self::Discontinuous { got_m, limit_m } => write!(f, "the previous plan ended elsewhere (got {got_m:.2} m, limit {limit_m} m)"),
            Self::SideSlip { pose } => write!(f, "pose {pose} moves across the heading, or turns on the spot"),
            Self::Late { by_ms } => write!(f, "the plan was ready {by_ms:.0} ms after its own end"),
            Self::Expired => write!(f, "the previous plan ended and no other followed"),
            Self::Fault(kind) => write!(f, "no plan: {} error", kind.as_str()),
        }
    }
}

/// Judges plans, and remembers the published one.
#[derive(Debug)]
pub(crate) struct Guard {
    settings: Settings,
    vehicle: VehicleConfig,
    step_s: f64,
    held: u32,
    /// The last known speed of the ego.
    speed_mps: f64,
    /// Curvature, 1/m, and speed, m/s, at the end of the published plan.
    last: Option<(f64, f64)>,
}

impl Guard {
    pub(crate) fn new(settings: Settings, vehicle: VehicleConfig, step_s: f64) -> Self {
        Self { settings, vehicle, step_s, held: 0, speed_mps: 0.0, last: None }
    }

    /// Forgets the published plan and the ego's speed.
    pub(crate) fn forget(&mut self) {
        (self.held, self.speed_mps, self.last) = (0, 0.0, None);
    }

    /// Judges `plan` and writes the plan to publish into `published`. `speed_mps`: the ego's speed;
    /// `continuity_m`, where it is judged: the distance between the previous plan's end and the
    /// ego; `late_ms`, where it is judged: the time since the plan's own end.
    pub(crate) fn judge(
        &mut self,
        plan: &Trajectory,
        speed_mps: f64,
        continuity_m: Option<f64>,
        late_ms: Option<f64>,
        published: &mut Trajectory,
    ) -> (Verdict, Option<Reason>) {
        self.speed_mps = speed_mps;
        let late = late_ms.filter(|ms| *ms >= 0.0).map(|by_ms| Reason::Late { by_ms });
        match late.or_else(|| self.reason(plan.points(), speed_mps, continuity_m)) {
            None => {
                published.points_mut().copy_from_slice(plan.points());
                self.held = 0;
                self.last = Some(end_of(published.points()));
                (Verdict::Accepted, None)
            }
            Some(reason) => self.refuse(reason, Some(speed_mps), published),
        }
    }

    /// Answers where there is no plan, or one that must not be published. Without `speed_mps` the
    /// last known speed counts.
    pub(crate) fn refuse(&mut self, reason: Reason, speed_mps: Option<f64>, published: &mut Trajectory) -> (Verdict, Option<Reason>) {
        self.speed_mps = speed_mps.unwrap_or(self.speed_mps).max(0.0);
        let may_hold = self.settings.gap_policy == GapPolicy::HoldCurvature && self.held < self.settings.max_hold_chunks;
        let held = self.last.filter(|_| may_hold).is_some_and(|(curvature, speed)| {
            arc(published, self.step_s, curvature, speed, 0.0);
            // A car that was stopped by someone else must not receive its old speed.
            self.reason(published.points(), self.speed_mps, None).is_none()
        });
        if !held {
            return self.minimal_risk(reason, speed_mps, published);
        }
        self.held += 1;
        self.last = Some(end_of(published.points()));
        (Verdict::Held, Some(reason))
    }

    /// Asks for minimal risk: braking along the last curvature. Without `speed_mps` the last known
    /// speed counts.
    pub(crate) fn minimal_risk(&mut self, reason: Reason, speed_mps: Option<f64>, published: &mut Trajectory) -> (Verdict, Option<Reason>) {
        self.speed_mps = speed_mps.unwrap_or(self.speed_mps).max(0.0);
        let most = self.vehicle.max_lateral_acceleration_mps2 / self.speed_mps.powi(2).max(1e-6);
        let curvature = self.last.map_or(0.0, |(curvature, _)| curvature).clamp(-most, most);
        arc(published, self.step_s, curvature, self.speed_mps, MINIMAL_RISK_BRAKING * self.vehicle.max_deceleration_mps2);
        self.last = Some(end_of(published.points()));
        (Verdict::MinimalRisk, Some(reason))
    }

    fn reason(&self, points: &[Point], speed_mps: f64, continuity_m: Option<f64>) -> Option<Reason> {
        if let Some(pose) = points.iter().position(|p| ![p.x_m, p.y_m, p.yaw_rad, p.v_mps].iter().all(|v| v.is_finite())) {
            return Some(Reason::NotFinite { pose });
        }
        let over = |key, pose, got: f64, limit: f64| (got.abs() > limit).then_some(Reason::Limit { key, pose, got, limit });
        let vehicle = &self.vehicle;
        let mut before = Point::default();
        for (pose, point) in points.iter().enumerate() {
            let speed = (point.x_m - before.x_m).hypot(point.y_m - before.y_m) / self.step_s;
            let broken = over("vehicle.max_speed_mps", pose, speed, vehicle.max_speed_mps);
            if broken.is_some() {
                return broken;
            }
            before = *point;
            let Some(from) = (pose + 1).checked_sub(WINDOW) else { continue };
            let start = from.checked_sub(1).map_or(Point { v_mps: speed_mps, ..Point::default() }, |i| points[i]);
            let acceleration = (point.v_mps - start.v_mps) / (WINDOW as f64 * self.step_s);
            let broken = if acceleration > 0.0 {
                over("vehicle.max_acceleration_mps2", pose, acceleration, vehicle.max_acceleration_mps2)
            } else {
                over("vehicle.max_deceleration_mps2", pose, acceleration, vehicle.max_deceleration_mps2)
            };
            if broken.is_some() {
                return broken;
            }
            let (dx, dy, turn) = (point.x_m - start.x_m, point.y_m - start.y_m, point.yaw_rad - start.yaw_rad);
            let (sin, cos) = libm::sincos(start.yaw_rad + 0.5 * turn);
            let (along, across) = ((dx * cos + dy * sin).abs(), (dy * cos - dx * sin).abs());
            if across > SIDE_SLIP_M + SIDE_SLIP_SHARE * along
                || turn.abs() > TURN_ON_THE_SPOT_RAD + vehicle.max_curvature_1pm * dx.hypot(dy)
            {
                return Some(Reason::SideSlip { pose });
            }
        }
        for (pose, curvature) in curvatures(points) {
            let lateral = curvature * points[pose].v_mps * points[pose].v_mps;
            let broken = over("vehicle.max_curvature_1pm", pose, curvature, vehicle.max_curvature_1pm)
                .or_else(|| over("vehicle.max_lateral_acceleration_mps2", pose, lateral, vehicle.max_lateral_acceleration_mps2));
            if broken.is_some() {
                return broken;
            }
        }
        let got_m = continuity_m.filter(|m| *m > self.settings.max_continuity_error_m)?;
        Some(Reason::Discontinuous { got_m, limit_m: self.settings.max_continuity_error_m })
    }
}

/// Curvatures, 1/m, between poses at least [`CURVATURE_DISTANCE_M`] apart, each with the index of
/// the later pose.
fn curvatures(points: &[Point]) -> impl Iterator<Item = (usize, f64)> {
    let mut from = Point::default();
    points.iter().enumerate().filter_map(move |(pose, to)| {
        let distance = (to.x_m - from.x_m).hypot(to.y_m - from.y_m);
        if distance < CURVATURE_DISTANCE_M {
            return None;
        }
        let curvature = (to.yaw_rad - from.yaw_rad) / distance;
        from = *to;
        Some((pose, curvature))
    })
}

/// Curvature, 1/m, and speed, m/s, at the end of a plan.
fn end_of(points: &[Point]) -> (f64, f64) {
    let curvature = curvatures(points).last().map_or(0.0, |(_, curvature)| curvature);
    (curvature, points.last().map_or(0.0, |p| p.v_mps.max(0.0)))
}

/// Writes an arc of constant curvature from the ego's pose, that begins at `speed_mps` and brakes
/// by `braking_mps2` to a standstill.
fn arc(out: &mut Trajectory, step_s: f64, curvature_1pm: f64, speed_mps: f64, braking_mps2: f64) {
    let (mut at, mut speed) = (Point::default(), speed_mps);
    for point in out.points_mut() {
        let next = (speed - braking_mps2 * step_s).max(0.0);
        let distance = 0.5 * (speed + next) * step_s;
        let heading = at.yaw_rad + 0.5 * curvature_1pm * distance;
        at.x_m += distance * libm::cos(heading);
        at.y_m += distance * libm::sin(heading);
        at.yaw_rad += curvature_1pm * distance;
        at.v_mps = next;
        speed = next;
        *point = at;
    }
}

#[cfg(test)]
mod tests;
