//! The tracker that moves the car along a plan in a closed loop.

use crate::car::{Control, Ego};
use crate::tick::TICK_S;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Point, Trajectory};

/// The tracker steers to the plan's point this far ahead in time, seconds.
const LOOK_AHEAD_S: f64 = 0.6;
/// Or to a later one, at least this far away, metres.
const NEAREST_M: f64 = 3.0;
/// Time in which an error of the speed is corrected, seconds.
const SPEED_TIME_S: f64 = 0.3;
/// Time in which an error of the position along the plan is corrected, seconds.
const PLACE_TIME_S: f64 = 1.2;

/// Follows a plan: its curvature to a point ahead, its speed, and its position along the path.
#[derive(Debug, Clone)]
pub struct Follower {
    origin: Pose2,
    trajectory: Trajectory,
}

impl Follower {
    /// A plan in the frame of the car at `origin`, a pose of the world's plane.
    pub fn new(origin: Pose2, trajectory: Trajectory) -> Self {
        Self { origin, trajectory }
    }

    /// The control that moves `ego` along the plan, `since_s` after it was made.
    pub fn control(&self, since_s: f64, ego: &Ego) -> Control {
        let here = ego.pose.relative_to(&self.origin);
        let due = self.at(since_s);
        let next = self.at(since_s + TICK_S);
        let behind_m = due.pose().relative_to(&here).x_m;
        let wanted_mps = (next.v_mps + behind_m / PLACE_TIME_S).max(0.0);
        let planned = (next.v_mps - due.v_mps) / TICK_S;
        let acceleration_mps2 = (planned.clamp(-6.0, 3.0) + (wanted_mps - ego.speed_mps) / SPEED_TIME_S).clamp(-10.0, 4.0);
        let mut ahead_s = since_s + LOOK_AHEAD_S;
        let mut target = self.at(ahead_s).pose().relative_to(&here);
        while target.x_m.hypot(target.y_m) < NEAREST_M && ahead_s < since_s + 8.0 {
            ahead_s += TICK_S;
            target = self.at(ahead_s).pose().relative_to(&here);
        }
        let squared = target.x_m * target.x_m + target.y_m * target.y_m;
        let curvature_1pm = if squared < 1.0 { 0.0 } else { 2.0 * target.y_m / squared };
        Control { acceleration_mps2, curvature_1pm }
    }

    /// The plan's point `time_s` after it was made; beyond its end the plan goes straight on.
    fn at(&self, time_s: f64) -> Point {
        if let Some(point) = self.trajectory.at(time_s.max(0.0)) {
            return point;
        }
        let points = self.trajectory.points();
        let last = points.last().copied().unwrap_or_default();
        let way = last.v_mps.max(0.0) * (time_s - points.len() as f64 * self.trajectory.step_s()).max(0.0);
        let pose = last.pose().compose(&Pose2::new(way, 0.0, 0.0));
        Point { x_m: pose.x_m, y_m: pose.y_m, ..last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::world::World;

    fn constant(speed_mps: f64, yaw_rate_radps: f64) -> Trajectory {
        let mut trajectory = Trajectory::new(40, 100_000_000).unwrap();
        trajectory.set_constant(speed_mps, yaw_rate_radps);
        trajectory
    }

    /// Breaks when the tracker leaves a plan that a car can follow.
    #[test]
    fn a_plan_that_a_car_can_follow_is_followed() {
        let mut world = World::new(1, Options::default());
        let origin = world.ego().pose;
        let plan = Follower::new(origin, constant(6.0, 0.15));
        for tick in 0..39 {
            world.step(plan.control(f64::from(tick) * TICK_S, &world.ego()));
        }
        let off_m = world.ego().pose.distance_m(&origin.compose(&plan.at(3.9).pose()));
        assert!(off_m < 0.8, "{off_m} m from the plan's position, at {:?}", world.ego());
        assert!((world.ego().speed_mps - 6.0).abs() < 0.5);
    }

    #[test]
    fn a_plan_goes_straight_on_beyond_its_end() {
        let plan = Follower::new(Pose2::default(), constant(5.0, 0.0));
        assert!((plan.at(2.05).x_m - 10.25).abs() < 1e-9 && (plan.at(5.0).x_m - 25.0).abs() < 1e-9);
        assert!(plan.at(0.0).x_m.abs() < 1e-12);
    }
}
