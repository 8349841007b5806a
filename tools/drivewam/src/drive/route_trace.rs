//! What a simulated drive passed: the lane, the lights, its violations, and where the car left the
//! road. `path.png` shows it.

use drivewam_core::pose::Pose2;
use drivewam_world::{Light, PlacedLight, TICK_S, Violations, World};
use std::collections::BTreeMap;

/// A kind of violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    Collision,
    OffRoad,
    RedLight,
}

/// Where the car was at a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TracePoint {
    pub(super) x_m: f64,
    pub(super) y_m: f64,
    pub(super) is_off_road: bool,
}

/// The trace of a drive, tick by tick.
#[derive(Debug, Clone, Default)]
pub(super) struct RouteTrace {
    /// The lane's centre line, by whole metres along the route.
    lane: BTreeMap<i64, Pose2>,
    /// Each light as it was when the car passed it, or when it was last seen.
    lights: BTreeMap<u64, PlacedLight>,
    violations: Vec<(Violation, Pose2)>,
    track: Vec<TracePoint>,
    counted: Violations,
}

impl RouteTrace {
    /// Adds the present tick.
    pub(super) fn record(&mut self, world: &World) {
        let pose = world.ego().pose;
        let known = self.lane.keys().next_back().copied().unwrap_or(i64::MIN);
        self.lane.extend(world.lane().map(|(s_m, pose)| (s_m.round() as i64, pose)).filter(|(metre, _)| *metre > known));
        let ahead = world.lights().filter(|light| light.s_m >= world.place().0);
        self.lights.extend(ahead.map(|light| (light.id, light)));
        self.track.push(TracePoint { x_m: pose.x_m, y_m: pose.y_m, is_off_road: world.is_off_road() });
        let (before, now) = (self.counted, world.violations());
        for (kind, before, now) in [
            (Violation::Collision, before.collisions, now.collisions),
            (Violation::OffRoad, before.off_road, now.off_road),
            (Violation::RedLight, before.red_lights, now.red_lights),
        ] {
            self.violations.extend((before..now).map(|_| (kind, pose)));
        }
        self.counted = now;
    }

    /// The lane's centre line: a pose per metre.
    pub(super) fn lane(&self) -> impl Iterator<Item = &Pose2> {
        self.lane.values()
    }

    /// The stop line of each light, and what it showed when the car passed it or last saw it.
    pub(super) fn lights(&self) -> impl Iterator<Item = (Pose2, Light)> {
        self.lights.values().map(|light| (light.stop_line, light.state))
    }

    /// Where the car was when each violation of this kind began.
    pub(super) fn violations(&self, kind: Violation) -> impl Iterator<Item = Pose2> {
        self.violations.iter().filter(move |(of, _)| *of == kind).map(|(_, pose)| *pose)
    }

    /// The car, tick by tick.
    pub(super) fn track(&self) -> &[TracePoint] {
        &self.track
    }

    /// Time off the road, seconds.
    pub(super) fn off_road_s(&self) -> f64 {
        self.track.iter().filter(|point| point.is_off_road).count() as f64 * TICK_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drivewam_world::{Control, Options};

    /// Breaks when a violation is lost or counted twice, the time off the road is not that of the
    /// ticks, or the trace keeps only what lies around the car.
    #[test]
    fn a_car_that_drives_straight_on_leaves_a_trace_of_what_it_did() {
        let (mut world, mut trace) = (World::new(3, Options::default()), RouteTrace::default());
        let mut off_road = 0;
        for _ in 0..1200 {
            trace.record(&world);
            off_road += u32::from(world.is_off_road());
            world.step(Control { acceleration_mps2: if world.ego().speed_mps < 8.0 { 1.0 } else { 0.0 }, curvature_1pm: 0.0 });
        }
        trace.record(&world);
        off_road += u32::from(world.is_off_road());
        let counted = world.violations();
        let count = |kind| trace.violations(kind).count() as u32;
        assert_eq!(
            [count(Violation::Collision), count(Violation::OffRoad), count(Violation::RedLight)],
            [counted.collisions, counted.off_road, counted.red_lights]
        );
        assert!(counted.off_road > 0, "a straight line leaves a road with curves: {counted:?}");
        assert!((trace.off_road_s() - f64::from(off_road) * TICK_S).abs() < 1e-9 && off_road > 10);
        assert_eq!((trace.track().len(), trace.lane().count() > 200), (1201, true));
    }

    /// Breaks when a light is remembered as it was long before or after the car passed it.
    #[test]
    fn a_light_is_kept_as_the_expert_passed_it() {
        let (mut world, mut trace) = (World::new(1, Options::default()), RouteTrace::default());
        for _ in 0..3000 {
            trace.record(&world);
            world.step(world.expert());
        }
        let driven = |stop: Pose2| trace.track().iter().any(|p| (p.x_m - stop.x_m).hypot(p.y_m - stop.y_m) < 1.0);
        let passed: Vec<Light> = trace.lights().filter(|(stop, _)| driven(*stop)).map(|(_, state)| state).collect();
        assert!(passed.len() > 2 && !passed.contains(&Light::Red), "the expert passes no red light: {passed:?}");
    }
}
