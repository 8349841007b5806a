//! The plan that went out last.

use super::plan_check::end_of;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Point, Trajectory};

/// The plan that went out last, from its anchor on.
#[derive(Debug)]
pub(crate) struct PlanInForce {
    /// The newest frame that it rests on.
    pub(super) t0_ns: Option<i64>,
    anchor_ns: i64,
    /// Pose of the ego at the anchor, in the frame of the pushed poses.
    pose: Option<Pose2>,
    plan: Trajectory,
    /// What is left of the plan, while a braking plan is made along it.
    path: Trajectory,
    length_ns: i64,
    /// Curvature, 1/m, and speed, m/s, at its end.
    end: (f64, f64),
    is_there: bool,
}

impl PlanInForce {
    /// Room for a plan like `plan`, which is `length_ns` long.
    pub(super) fn new(plan: &Trajectory, length_ns: i64) -> Self {
        let (plan, path) = (plan.clone(), plan.clone());
        Self { t0_ns: None, anchor_ns: 0, pose: None, plan, path, length_ns, end: (0.0, 0.0), is_there: false }
    }

    /// Replaces the plan.
    pub(super) fn set(&mut self, t0_ns: Option<i64>, anchor_ns: i64, pose: Option<Pose2>, plan: &Trajectory) {
        self.plan.points_mut().copy_from_slice(plan.points());
        (self.t0_ns, self.anchor_ns, self.pose, self.end, self.is_there) = (t0_ns, anchor_ns, pose, end_of(plan.points()), true);
    }

    /// Forgets the plan.
    pub(super) fn clear(&mut self) {
        (self.t0_ns, self.end, self.is_there) = (None, (0.0, 0.0), false);
    }

    /// The car does not follow the plan any more: where it leads is of no account.
    pub(super) fn leave(&mut self) {
        self.pose = None;
    }

    fn seconds(&self, at_ns: i64) -> f64 {
        at_ns.saturating_sub(self.anchor_ns) as f64 * 1e-9
    }

    /// Curvature, 1/m, at the end of the plan; 0 without one.
    pub(super) fn end_curvature_1pm(&self) -> f64 {
        self.end.0
    }

    /// Time of the last point.
    pub(crate) fn end_ns(&self) -> Option<i64> {
        self.is_there.then(|| self.anchor_ns.saturating_add(self.length_ns))
    }

    /// Where the plan leads the car at `at_ns`, in the frame of the pushed poses; after the plan's
    /// end its last pose. `None` before its anchor, and where the pose at the anchor is not known.
    pub(crate) fn pose_at(&self, at_ns: i64) -> Option<Pose2> {
        let origin = self.pose.filter(|_| self.is_there && at_ns >= self.anchor_ns)?;
        let point = self.plan.at(self.seconds(at_ns)).or_else(|| self.plan.points().last().copied())?;
        Some(origin.compose(&point.pose()))
    }

    /// The mean distance, m, between this plan and `plan`, which begins at `pose` at `t0_ns`, at
    /// the points of `plan` that both cover. `None` where they cover none.
    pub(crate) fn distance_m(&self, t0_ns: i64, pose: &Pose2, plan: &Trajectory) -> Option<f64> {
        let (end_ns, step_ns) = (self.end_ns()?, (plan.step_s() * 1e9) as i64);
        let (mut sum, mut count) = (0.0, 0u32);
        for (i, point) in (1i64..).zip(plan.points()) {
            let at_ns = t0_ns.saturating_add(i.saturating_mul(step_ns));
            if at_ns > end_ns {
                break;
            }
            sum += self.pose_at(at_ns)?.distance_m(&pose.compose(&point.pose()));
            count += 1;
        }
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Continues the plan from a car at `pose` at `now_ns`: what is left of it, then an arc of its
    /// last curvature and speed. Returns whether there was a plan to continue.
    pub(super) fn continue_into(&self, now_ns: i64, pose: Option<Pose2>, step_s: f64, out: &mut Trajectory) -> bool {
        if !self.is_there {
            return false;
        }
        let left = |after_s: f64| {
            let point = self.plan.at(self.seconds(now_ns) + after_s)?;
            let here = self.pose?.compose(&point.pose()).relative_to(&pose?);
            Some(Point { x_m: here.x_m, y_m: here.y_m, yaw_rad: here.yaw_rad, v_mps: point.v_mps })
        };
        let mut at = Point { v_mps: self.end.1, ..Point::default() };
        for (i, point) in (1i32..).zip(out.points_mut()) {
            at = left(f64::from(i) * step_s).unwrap_or_else(|| along(&at, self.end.0, self.end.1, self.end.1, step_s));
            *point = at;
        }
        true
    }

    /// Brakes from `speed_mps` along the path of [`PlanInForce::continue_into`], then along an arc
    /// of its last curvature. The speed falls by `braking_mps2`, faster where the plan does, by at
    /// most `most_mps2`. Returns whether there was a plan with a known place.
    pub(super) fn brake_into(
        &mut self,
        now_ns: i64,
        pose: Option<Pose2>,
        step_s: f64,
        speed_mps: f64,
        [braking_mps2, most_mps2]: [f64; 2],
        out: &mut Trajectory,
    ) -> bool {
        if self.pose.is_none() || pose.is_none() || !self.continue_into(now_ns, pose, step_s, out) {
            return false;
        }
        self.path.points_mut().copy_from_slice(out.points());
        let path = self.path.points();
        // The segment of the path that the car is on ends at `path[next]`, `end_m` from the car.
        let (mut before, mut next, mut begin_m, mut end_m) = (Point::default(), 0, 0.0, between(&Point::default(), &path[0]));
        let (mut speed, mut driven_m, mut planned) = (speed_mps.max(0.0), 0.0, Point::default());
        for (point, left) in out.points_mut().iter_mut().zip(path) {
            let plan_mps = between(&planned, left) / step_s;
            planned = *left;
            let slower = (speed - braking_mps2 * step_s).min(plan_mps).max(speed - most_mps2 * step_s).max(0.0);
            driven_m += 0.5 * (speed + slower) * step_s;
            speed = slower;
            while driven_m > end_m && next + 1 < path.len() {
                (before, next) = (path[next], next + 1);
                (begin_m, end_m) = (end_m, end_m + between(&before, &path[next]));
            }
            let (to, length_m) = (&path[next], end_m - begin_m);
            *point = if driven_m > end_m {
                let beyond_m = driven_m - end_m;
                along(to, self.end.0, beyond_m, beyond_m, 1.0)
            } else {
                let share = if length_m > 0.0 { (driven_m - begin_m) / length_m } else { 1.0 };
                let mix = |from: f64, to: f64| from + share * (to - from);
                Point { x_m: mix(before.x_m, to.x_m), y_m: mix(before.y_m, to.y_m), yaw_rad: mix(before.yaw_rad, to.yaw_rad), v_mps: 0.0 }
            };
            point.v_mps = speed;
        }
        true
    }
}

fn between(a: &Point, b: &Point) -> f64 {
    (b.x_m - a.x_m).hypot(b.y_m - a.y_m)
}

/// The point one step after `at` on an arc, where the speed changes evenly from `from_mps` to
/// `to_mps`.
pub(super) fn along(at: &Point, curvature_1pm: f64, from_mps: f64, to_mps: f64, step_s: f64) -> Point {
    let distance = 0.5 * (from_mps + to_mps) * step_s;
    let heading = at.yaw_rad + 0.5 * curvature_1pm * distance;
    Point {
        x_m: at.x_m + distance * libm::cos(heading),
        y_m: at.y_m + distance * libm::sin(heading),
        yaw_rad: at.yaw_rad + curvature_1pm * distance,
        v_mps: to_mps,
    }
}
