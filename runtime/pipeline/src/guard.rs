//! The guard: what the vehicle is handed. It always answers: the plan, a held plan, or a request for minimal risk, with the reason.
//!
//! Accelerations are judged over half a second and curvatures over half a metre: increments of a tenth of a second are too short for either.

use drivewam_core::ErrorKind;
use drivewam_core::config::{GapPolicy, Guard as Settings, Vehicle};
use drivewam_core::trajectory::{Point, Trajectory};
use std::fmt;

/// Time over which an acceleration is taken, in poses.
const ACCELERATION_WINDOW: usize = 5;
/// Way over which a curvature is taken, m; slower parts of a plan turn on the spot within the noise of a pose.
const CURVATURE_WAY_M: f64 = 0.5;
/// Share of the vehicle's deceleration that a minimal-risk plan brakes with.
const MINIMAL_RISK_BRAKING: f64 = 0.5;

/// The guard's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The policy's plan goes out as it is.
    Accepted,
    /// The previous plan goes on by the gap policy.
    Held,
    /// The vehicle is asked for its minimal-risk manoeuvre; the plan that goes out brakes to a standstill.
    MinimalRisk,
}

impl Verdict {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::MinimalRisk => "minimal_risk",
        }
    }
}

/// Why a plan did not go out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// A pose is not finite.
    NotFinite {
        /// Which.
        pose: usize,
    },
    /// A limit of the vehicle is broken.
    Limit {
        /// Its key in the configuration.
        key: &'static str,
        /// Which pose.
        pose: usize,
        /// What the plan asks for.
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
    /// There is no plan: the chunk ended in an error of this kind.
    Fault(ErrorKind),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotFinite { pose } => write!(f, "pose {pose} is not finite"),
            Self::Limit { key, pose, got, limit } => write!(f, "pose {pose} breaks {key} (got {got:.2}, limit {limit})"),
            Self::Discontinuous { got_m, limit_m } => write!(f, "the previous plan ended elsewhere (got {got_m:.2} m, limit {limit_m} m)"),
            Self::Fault(kind) => write!(f, "no plan: {} error", kind.as_str()),
        }
    }
}

/// Judges plans, and remembers what went out.
#[derive(Debug)]
pub(crate) struct Guard {
    settings: Settings,
    vehicle: Vehicle,
    step_s: f64,
    held: u32,
    /// Curvature, 1/m, and speed, m/s, at the end of what went out last.
    last: Option<(f64, f64)>,
}

impl Guard {
    pub(crate) fn new(settings: Settings, vehicle: Vehicle, step_s: f64) -> Self {
        Self { settings, vehicle, step_s, held: 0, last: None }
    }

    /// Writes what goes out into `published`. `speed_mps` is the ego's now; `continuity_m`, where it is judged, the distance from the previous
    /// plan's end to where the car is.
    pub(crate) fn judge(
        &mut self,
        plan: &Trajectory,
        speed_mps: f64,
        continuity_m: Option<f64>,
        published: &mut Trajectory,
    ) -> (Verdict, Option<Reason>) {
        match self.reason(plan.points(), speed_mps, continuity_m) {
            None => {
                published.points_mut().copy_from_slice(plan.points());
                self.held = 0;
                self.last = Some(end_of(published.points()));
                (Verdict::Accepted, None)
            }
            Some(reason) => self.refuse(reason, speed_mps, published),
        }
    }

    /// Answers where there is no plan, or one that must not go out.
    pub(crate) fn refuse(&mut self, reason: Reason, speed_mps: f64, published: &mut Trajectory) -> (Verdict, Option<Reason>) {
        let speed = if speed_mps.is_finite() { speed_mps.max(0.0) } else { 0.0 };
        let hold = self.settings.gap_policy == GapPolicy::HoldCurvature && self.held < self.settings.max_held;
        let verdict = match self.last {
            Some((curvature, speed)) if hold => {
                self.held += 1;
                arc(published, self.step_s, curvature, speed, 0.0);
                Verdict::Held
            }
            last => {
                let braking = MINIMAL_RISK_BRAKING * self.vehicle.max_deceleration_mps2;
                arc(published, self.step_s, last.map_or(0.0, |(curvature, _)| curvature), speed, braking);
                Verdict::MinimalRisk
            }
        };
        self.last = Some(end_of(published.points()));
        (verdict, Some(reason))
    }

    fn reason(&self, points: &[Point], speed_mps: f64, continuity_m: Option<f64>) -> Option<Reason> {
        if let Some(pose) = points.iter().position(|p| ![p.x_m, p.y_m, p.yaw_rad, p.v_mps].iter().all(|v| v.is_finite())) {
            return Some(Reason::NotFinite { pose });
        }
        let over = |key, pose, got: f64, limit: f64| (got.abs() > limit).then_some(Reason::Limit { key, pose, got, limit });
        let vehicle = &self.vehicle;
        for (pose, point) in points.iter().enumerate() {
            let speed = over("vehicle.max_speed_mps", pose, point.v_mps, vehicle.max_speed_mps);
            if speed.is_some() {
                return speed;
            }
            let (from_mps, poses) = match pose.checked_sub(ACCELERATION_WINDOW) {
                Some(from) => (points[from].v_mps, ACCELERATION_WINDOW),
                None => (speed_mps, pose + 1),
            };
            if poses == ACCELERATION_WINDOW {
                let acceleration = (point.v_mps - from_mps) / (poses as f64 * self.step_s);
                let broken = if acceleration > 0.0 {
                    over("vehicle.max_acceleration_mps2", pose, acceleration, vehicle.max_acceleration_mps2)
                } else {
                    over("vehicle.max_deceleration_mps2", pose, acceleration, vehicle.max_deceleration_mps2)
                };
                if broken.is_some() {
                    return broken;
                }
            }
        }
        let bends = bends(points);
        for (pose, curvature) in bends {
            let lateral = curvature * points[pose].v_mps * points[pose].v_mps;
            let broken = over("vehicle.max_curvature_1pm", pose, curvature, vehicle.max_curvature_1pm)
                .or_else(|| over("vehicle.max_lateral_acceleration_mps2", pose, lateral, vehicle.max_lateral_acceleration_mps2));
            if broken.is_some() {
                return broken;
            }
        }
        let got_m = continuity_m.filter(|m| *m > self.settings.continuity_m)?;
        Some(Reason::Discontinuous { got_m, limit_m: self.settings.continuity_m })
    }
}

/// Curvature, 1/m, between poses at least [`CURVATURE_WAY_M`] apart, at the later of the two.
fn bends(points: &[Point]) -> impl Iterator<Item = (usize, f64)> {
    let mut from = Point::default();
    points.iter().enumerate().filter_map(move |(pose, to)| {
        let way = (to.x_m - from.x_m).hypot(to.y_m - from.y_m);
        if way < CURVATURE_WAY_M {
            return None;
        }
        let curvature = (to.yaw_rad - from.yaw_rad) / way;
        from = *to;
        Some((pose, curvature))
    })
}

fn end_of(points: &[Point]) -> (f64, f64) {
    let curvature = bends(points).last().map_or(0.0, |(_, curvature)| curvature);
    (curvature, points.last().map_or(0.0, |p| p.v_mps.max(0.0)))
}

/// An arc of constant curvature from the ego's place at `speed_mps`, slowing by `braking_mps2` to a standstill.
fn arc(out: &mut Trajectory, step_s: f64, curvature_1pm: f64, speed_mps: f64, braking_mps2: f64) {
    let (mut at, mut speed) = (Point::default(), speed_mps);
    for point in out.points_mut() {
        let next = (speed - braking_mps2 * step_s).max(0.0);
        let way = 0.5 * (speed + next) * step_s;
        let heading = at.yaw_rad + 0.5 * curvature_1pm * way;
        at.x_m += way * libm::cos(heading);
        at.y_m += way * libm::sin(heading);
        at.yaw_rad += curvature_1pm * way;
        at.v_mps = next;
        speed = next;
        *point = at;
    }
}

#[cfg(test)]
mod tests;
