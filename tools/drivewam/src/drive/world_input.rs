//! A drawn world as a source: the expert drives, or, in the closed loop, the published trajectory.

use super::source::{Input, Picture, Source};
use anyhow::{Result, bail};
use drivewam::SourceCamera;
use drivewam::ingest::EgoState;
use drivewam::recording::Mount;
use drivewam::telemetry::Outcome;
use drivewam_core::dims::{Command, Intrinsics, Model};
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Point, Trajectory};
use drivewam_world::{CAMERA_AHEAD_M, CAMERA_HEIGHT_M, Canvas, Control, Options, TICK_S, Violations, World};
use std::collections::VecDeque;

/// The first stamp, as in the folders that `drivewam world` writes.
const FIRST_STAMP_NS: i64 = 1_000_000_000;
const TICK_NS: i64 = 100_000_000;
/// Width of the pictures for people, pixels: at least this.
const LARGE_WIDTH: usize = 896;
/// A tracker looks this far ahead in time, seconds, but never nearer than [`NEAREST_M`].
const LOOK_AHEAD_S: f64 = 0.6;
const NEAREST_M: f64 = 3.0;
/// Time in which a speed is corrected, and in which a place along the plan is, seconds.
const SPEED_TIME_S: f64 = 0.3;
const PLACE_TIME_S: f64 = 1.2;

/// See the module's doc.
pub(super) struct WorldSource {
    world: World,
    ticks: u64,
    tick: u64,
    frame_every: u64,
    queue: VecDeque<(i64, Input)>,
    is_started: bool,
    command: Option<Command>,
    canvas: Canvas,
    large: Canvas,
    closed_loop: bool,
    plan: Option<Plan>,
}

/// The plan that moves the car.
struct Plan {
    t0_ns: i64,
    origin: Pose2,
    trajectory: Trajectory,
}

impl WorldSource {
    /// The world of `seed` for `seconds`, drawn at the model's camera.
    ///
    /// # Errors
    /// The model's frame rate does not divide the world's ten ticks a second.
    pub(super) fn new(model: &Model, seed: u64, options: Options, seconds: f64, closed_loop: bool) -> Result<Self> {
        if !10u32.is_multiple_of(model.image.frame_hz) {
            bail!("model.image.frame_hz: the world is drawn ten times a second (got {}, wanted a divisor of ten)", model.image.frame_hz);
        }
        let Intrinsics { fx_px, fy_px, cx_px, cy_px } = model.camera;
        let (width, height, times) = (model.image.width, model.image.height, LARGE_WIDTH.div_ceil(model.image.width));
        let scale = times as f64;
        let large = Intrinsics { fx_px: fx_px * scale, fy_px: fy_px * scale, cx_px: cx_px * scale, cy_px: cy_px * scale };
        Ok(Self {
            world: World::new(seed, options),
            ticks: (seconds / TICK_S).round() as u64,
            tick: 0,
            frame_every: u64::from(10 / model.image.frame_hz),
            queue: VecDeque::with_capacity(4),
            is_started: false,
            command: None,
            canvas: Canvas::new(width, height, model.camera),
            large: Canvas::new(width * times, height * times, large),
            closed_loop,
            plan: None,
        })
    }

    fn stamp_ns(&self) -> i64 {
        FIRST_STAMP_NS + self.tick as i64 * TICK_NS
    }

    /// What there is to see and to know at this tick. The last one has no frame: it ends the last plan, and begins none.
    fn look(&mut self) {
        let (stamp_ns, ego) = (self.stamp_ns(), self.world.ego());
        let command = self.world.command();
        if self.command != Some(command) {
            self.command = Some(command);
            self.queue.push_back((stamp_ns, Input::Command(command)));
        }
        let state = EgoState { speed_mps: ego.speed_mps, acceleration_mps2: ego.acceleration_mps2, curvature_1pm: ego.curvature_1pm };
        self.queue.push_back((stamp_ns, Input::Ego(state)));
        self.queue.push_back((stamp_ns, Input::Pose(ego.pose)));
        if self.tick.is_multiple_of(self.frame_every) && self.tick < self.ticks {
            self.queue.push_back((stamp_ns, Input::Frame));
        }
    }

    fn control(&self) -> Control {
        match &self.plan {
            Some(plan) if self.closed_loop => track(plan, self.stamp_ns(), self.world.ego()),
            _ => self.world.expert(),
        }
    }
}

/// Follows a plan: the curve to a point ahead on it, its speed, and the place where the car should be along it.
fn track(plan: &Plan, now_ns: i64, ego: drivewam_world::Ego) -> Control {
    let since_s = (now_ns - plan.t0_ns) as f64 * 1e-9;
    let here = ego.pose.relative_to(&plan.origin);
    let due = at(&plan.trajectory, since_s);
    let next = at(&plan.trajectory, since_s + TICK_S);
    let behind_m = due.pose().relative_to(&here).x_m;
    let wanted_mps = (next.v_mps + behind_m / PLACE_TIME_S).max(0.0);
    let planned = (next.v_mps - due.v_mps) / TICK_S;
    let acceleration_mps2 = (planned.clamp(-6.0, 3.0) + (wanted_mps - ego.speed_mps) / SPEED_TIME_S).clamp(-10.0, 4.0);
    let mut ahead_s = since_s + LOOK_AHEAD_S;
    let mut target = at(&plan.trajectory, ahead_s).pose().relative_to(&here);
    while target.x_m.hypot(target.y_m) < NEAREST_M && ahead_s < since_s + 8.0 {
        ahead_s += TICK_S;
        target = at(&plan.trajectory, ahead_s).pose().relative_to(&here);
    }
    let squared = target.x_m * target.x_m + target.y_m * target.y_m;
    let curvature_1pm = if squared < 1.0 { 0.0 } else { 2.0 * target.y_m / squared };
    Control { acceleration_mps2, curvature_1pm }
}

/// A plan's point at a time after t0; beyond its end it goes straight on.
fn at(trajectory: &Trajectory, time_s: f64) -> Point {
    let points = trajectory.points();
    let step_s = trajectory.step_s();
    let start = Point { v_mps: points.first().map_or(0.0, |p| p.v_mps), ..Point::default() };
    let place = (time_s / step_s).max(0.0);
    let before = place.floor() as usize;
    let get = |i: usize| if i == 0 { Some(start) } else { points.get(i - 1).copied() };
    match (get(before), get(before + 1)) {
        (Some(a), Some(b)) => {
            let pose = a.pose().interpolate(&b.pose(), place - before as f64);
            let v_mps = a.v_mps + (place - before as f64) * (b.v_mps - a.v_mps);
            Point { x_m: pose.x_m, y_m: pose.y_m, yaw_rad: pose.yaw_rad, v_mps }
        }
        _ => {
            let last = points.last().copied().unwrap_or_default();
            let way = last.v_mps.max(0.0) * (time_s - points.len() as f64 * step_s).max(0.0);
            let pose = last.pose().compose(&Pose2::new(way, 0.0, 0.0));
            Point { x_m: pose.x_m, y_m: pose.y_m, ..last }
        }
    }
}

impl Source for WorldSource {
    fn name(&self) -> String {
        format!("world {}", self.world.seed())
    }

    fn mount(&self) -> Mount {
        Mount::on_centre_line(CAMERA_AHEAD_M, CAMERA_HEIGHT_M, 0.0)
    }

    fn span_ns(&self) -> (i64, i64) {
        (FIRST_STAMP_NS, FIRST_STAMP_NS + self.ticks as i64 * TICK_NS)
    }

    fn next(&mut self) -> Result<Option<(i64, Input)>> {
        if self.queue.is_empty() {
            if self.is_started {
                if self.tick == self.ticks {
                    return Ok(None);
                }
                let control = self.control();
                self.world.step(control);
                self.tick += 1;
            }
            self.is_started = true;
            self.look();
        }
        Ok(self.queue.pop_front())
    }

    fn load(&mut self) -> Result<()> {
        self.world.render(&mut self.canvas);
        Ok(())
    }

    fn picture(&self) -> &[u8] {
        &self.canvas.rgb
    }

    fn large_picture(&mut self) -> Picture {
        self.world.render(&mut self.large);
        let camera = SourceCamera { width: self.large.width, height: self.large.height, intrinsics: self.large.intrinsics };
        Picture { rgb: self.large.rgb.clone(), camera }
    }

    fn is_truth(&self) -> bool {
        !self.closed_loop
    }

    fn steer(&mut self, outcome: &Outcome) {
        if let Some(origin) = outcome.pose.filter(|_| self.closed_loop) {
            self.plan = Some(Plan { t0_ns: outcome.t0_ns, origin, trajectory: outcome.published.clone() });
        }
    }

    fn violations(&self) -> Option<Violations> {
        self.closed_loop.then(|| self.world.violations())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when the tracker leaves a plan that a car can follow.
    #[test]
    fn a_plan_that_a_car_can_follow_is_followed() {
        let mut trajectory = Trajectory::new(40, TICK_NS).unwrap();
        trajectory.set_constant(6.0, 0.15);
        let mut world = World::new(1, Options::default());
        let plan = Plan { t0_ns: 0, origin: world.ego().pose, trajectory };
        for tick in 0..39 {
            world.step(track(&plan, tick * TICK_NS, world.ego()));
        }
        let due = plan.origin.compose(&at(&plan.trajectory, 3.9).pose());
        let off_m = world.ego().pose.distance_m(&due);
        assert!(off_m < 0.8, "{off_m} m from the plan's place, at {:?}", world.ego());
        assert!((world.ego().speed_mps - 6.0).abs() < 0.5);
    }

    #[test]
    fn a_plan_goes_straight_on_beyond_its_end() {
        let mut trajectory = Trajectory::new(40, TICK_NS).unwrap();
        trajectory.set_constant(5.0, 0.0);
        assert!((at(&trajectory, 2.05).x_m - 10.25).abs() < 1e-9 && (at(&trajectory, 5.0).x_m - 25.0).abs() < 1e-9);
        assert!(at(&trajectory, 0.0).x_m.abs() < 1e-12);
    }
}
