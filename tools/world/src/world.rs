//! The world with a car in it: how both advance, and the labels of a tick.

use crate::car::{Control, Ego, FRONT_M};
use crate::contact::Contact;
use crate::drift::Drift;
use crate::labels::Labels;
use crate::options::Options;
use crate::rng::{Rng, mix};
use crate::road::{Fixture, HALF_LANE_M, Placed, Road, limit_mps};
use crate::scene::{LEAD_REAR_M, Lead, Light, Scene};
use crate::steering::pursue;
use crate::tick::{CHUNK_S, TICK_S};
use drivewam_core::dims::Command;
use drivewam_core::pose::{Pose2, wrap};

/// Changes whenever a seed would give another world.
pub const WORLD_VERSION: u32 = 3;
/// Integration steps of the car's motion within a tick.
const SUBSTEPS: usize = 2;
/// The policy has no recent image of a sign this long after the sign left the view, seconds.
const FORGOTTEN_S: f64 = 16.0;
/// A car whose front is this far past a red line has no good plan, metres; farther on it clears the
/// junction.
const PAST_LINE_M: f64 = 5.0;
/// Below this speed, m/s, the speed itself does not tell the limit.
const SLOW_MPS: f64 = 5.0;

/// Violations since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Violations {
    /// Contacts with a lead or a pedestrian in which the car moved.
    pub collisions: u32,
    /// Those with a pedestrian.
    pub pedestrians: u32,
    /// Times that the car left its lane by more than its own half width.
    pub off_road: u32,
    /// Stop lines crossed on red.
    pub red_lights: u32,
}

/// A traffic light along the route.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlacedLight {
    /// Its number; no other light of the world has it.
    pub id: u64,
    /// Arc length of its stop line, metres.
    pub s_m: f64,
    /// The middle of the lane at the stop line.
    pub stop_line: Pose2,
    /// What it shows.
    pub state: Light,
}

/// A world with a car in it. A clone continues bit for bit as this one would.
#[derive(Debug, Clone)]
pub struct World {
    seed: u64,
    options: Options,
    road: Road,
    scene: Scene,
    ego: Ego,
    /// Curvature that the steering stands at, 1/m.
    steering_1pm: f64,
    tick: u64,
    s_m: f64,
    d_m: f64,
    limit: usize,
    sign_seen_s: f64,
    fast_s: f64,
    freed_s: f64,
    is_free: bool,
    drift: Drift,
    violations: Violations,
    walked_into: u32,
    contact: Contact,
    is_off_road: bool,
}

impl World {
    /// The world of `seed`, with the car moving along its lane.
    pub fn new(seed: u64, options: Options) -> Self {
        let road = Road::new(seed, options.kind);
        let mut rng = Rng::new(mix(seed ^ 0x7075_7368));
        let speed_mps = rng.range(2.0, 7.0);
        let limit = (rng.next() % 3) as usize;
        let next_s = rng.range(4.0, 15.0);
        let ego = Ego { pose: road.at(4.0).pose, speed_mps, acceleration_mps2: 0.0, curvature_1pm: 0.0 };
        let drift = Drift::new(rng, next_s);
        Self {
            seed,
            options,
            road,
            scene: Scene::default(),
            ego,
            steering_1pm: 0.0,
            tick: 0,
            s_m: 4.0,
            d_m: 0.0,
            limit,
            sign_seen_s: 0.0,
            fast_s: 0.0,
            freed_s: f64::NEG_INFINITY,
            is_free: true,
            drift,
            violations: Violations::default(),
            walked_into: 0,
            contact: Contact::None,
            is_off_road: false,
        }
    }

    /// Turns the camera to `yaw_rad` beside straight ahead, left positive, as if its mount broke.
    pub fn turn_camera(&mut self, yaw_rad: f64) {
        self.options.camera_yaw_rad = yaw_rad;
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Seconds since the start.
    pub fn time_s(&self) -> f64 {
        self.tick as f64 * TICK_S
    }

    /// The car.
    pub fn ego(&self) -> Ego {
        self.ego
    }

    /// The route command in force.
    pub fn command(&self) -> Command {
        self.road.command(self.s_m)
    }

    /// Violations since the start.
    pub fn violations(&self) -> Violations {
        self.violations
    }

    /// Contacts in which the car stood, and only the other moved. They are no violations.
    pub fn walked_into(&self) -> u32 {
        self.walked_into
    }

    /// Arc length along the route, and offset from the lane's centre, left positive; metres.
    pub fn place(&self) -> (f64, f64) {
        (self.s_m, self.d_m)
    }

    /// Whether the car is off its lane by more than its own half width.
    pub fn is_off_road(&self) -> bool {
        self.is_off_road
    }

    /// The lane's centre line from 40 m behind the car to 160 m ahead of it: a pose per metre, with
    /// its arc length along the route.
    pub fn lane(&self) -> impl Iterator<Item = (f64, Pose2)> {
        self.road.between(f64::NEG_INFINITY, f64::INFINITY).map(|(s_m, sample)| (s_m, sample.pose))
    }

    /// The traffic lights on that part of the route, in order.
    pub fn lights(&self) -> impl Iterator<Item = PlacedLight> {
        let of_light = |p: &&Placed| matches!(p.what, Fixture::Light { .. });
        self.road.fixtures().filter(of_light).map(|p| PlacedLight {
            id: p.id,
            s_m: p.s_m,
            stop_line: self.road.at(p.s_m).pose,
            state: self.scene.light(p, self.time_s()),
        })
    }

    /// This world as it continues without any disturbance.
    pub fn undisturbed(&self) -> Self {
        let mut copy = self.clone();
        copy.options.disturb = false;
        copy
    }

    /// This world as it continues without disturbance if nobody changes what they do now.
    pub(crate) fn without_foresight(&self) -> Self {
        let mut copy = self.undisturbed();
        copy.scene.hold_still(self.time_s());
        copy
    }

    /// This world as it continues with other parameters.
    #[must_use]
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// This world with an expert that stops `extra_margin_m` sooner.
    pub(crate) fn with_margin(mut self, extra_margin_m: f64) -> Self {
        self.options.extra_margin_m = extra_margin_m;
        self
    }

    /// The parameters.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Whether no plan from here is an example: the car touches another or a person, or its front
    /// has just passed a stop line on red.
    fn is_masked(&self) -> bool {
        let past_red = self.lights().any(|light| {
            let ahead_m = light.s_m - self.s_m;
            light.state == Light::Red && (FRONT_M - PAST_LINE_M..=FRONT_M - 0.3).contains(&ahead_m)
        });
        self.contact != Contact::None || past_red
    }

    /// Advances the world by one tick, with the car under `control`.
    pub fn step(&mut self, control: Control) {
        let dt_s = TICK_S / SUBSTEPS as f64;
        let (before, before_m) = (self.ego, self.s_m);
        let control = self.disturbed(control);
        for _ in 0..SUBSTEPS {
            let speed = (self.ego.speed_mps + control.acceleration_mps2 * dt_s).max(0.0);
            let way = 0.5 * (self.ego.speed_mps + speed) * dt_s;
            self.steering_1pm = match self.options.steering_lag_s {
                lag_s if lag_s > 0.0 => {
                    let share = 1.0 - libm::exp(-dt_s / lag_s);
                    self.steering_1pm + share * (control.curvature_1pm.clamp(-0.25, 0.25) - self.steering_1pm)
                }
                _ => control.curvature_1pm.clamp(-0.25, 0.25),
            };
            let turn = self.steering_1pm * way;
            let (sin, cos) = libm::sincos(self.ego.pose.yaw_rad + 0.5 * turn);
            self.ego.pose.x_m += way * cos;
            self.ego.pose.y_m += way * sin;
            self.ego.pose.yaw_rad += turn;
            self.ego.speed_mps = speed;
        }
        self.ego.acceleration_mps2 = (self.ego.speed_mps - before.speed_mps) / TICK_S;
        let mean_mps = 0.5 * (self.ego.speed_mps + before.speed_mps);
        let turn = wrap(self.ego.pose.yaw_rad - before.pose.yaw_rad);
        self.ego.curvature_1pm = if mean_mps < 0.5 { 0.0 } else { turn / (mean_mps * TICK_S) };
        self.tick += 1;
        let time_s = self.time_s();
        (self.s_m, self.d_m) = self.road.project(&self.ego.pose, self.s_m);
        self.road.keep_around(self.s_m);
        self.scene.step(&self.road, self.s_m, self.ego.speed_mps, time_s, TICK_S, CHUNK_S);
        self.count_violations(before_m);
        self.update_memory();
    }

    fn disturbed(&mut self, control: Control) -> Control {
        if !self.options.disturb {
            return control;
        }
        let time_s = self.time_s();
        let (road, ego, s_m) = (&self.road, &self.ego, self.s_m);
        self.drift.apply(time_s, control, |aside_m| pursue(road, ego, s_m, aside_m))
    }

    fn count_violations(&mut self, before_m: f64) {
        let off_road = self.d_m.abs() > HALF_LANE_M + 0.6;
        self.violations.off_road += u32::from(off_road && !self.is_off_road);
        self.is_off_road = off_road;
        let front = self.ego.pose.compose(&Pose2::new(0.5 * FRONT_M, 0.0, 0.0));
        let lead = self.scene.lead_pose(&self.road).is_some_and(|lead| {
            let gap = lead.relative_to(&front);
            gap.x_m.abs() < 0.5 * FRONT_M + LEAD_REAR_M - 0.2 && gap.y_m.abs() < 1.7
        });
        let walker = self.scene.pedestrians.iter().any(|p| {
            let at = self.road.at(p.s_m).pose.compose(&Pose2::new(0.0, p.d_m, 0.0)).relative_to(&front);
            at.x_m.abs() < 0.5 * FRONT_M + 0.2 && at.y_m.abs() < 1.1
        });
        let contact = self.contact.next(lead || walker, self.ego.speed_mps);
        let collides = contact == Contact::Collision && self.contact != contact;
        self.violations.collisions += u32::from(collides);
        self.violations.pedestrians += u32::from(collides && walker);
        self.walked_into += u32::from(contact == Contact::WalkedInto && self.contact == Contact::None);
        self.contact = contact;
        let crossed = |p: &&Placed| before_m + FRONT_M <= p.s_m && p.s_m < self.s_m + FRONT_M;
        let red = self.road.fixtures().filter(crossed).any(|p| self.scene.light(p, self.time_s()) == Light::Red);
        self.violations.red_lights += u32::from(red);
    }

    /// Updates the limit in force, and the times that decide whether it needs memory.
    fn update_memory(&mut self) {
        let time_s = self.time_s();
        for placed in self.road.fixtures().take_while(|p| p.s_m <= self.s_m) {
            if let Fixture::Sign { limit, .. } = placed.what {
                self.limit = limit;
            }
        }
        if self.is_sign_visible() {
            self.sign_seen_s = time_s;
        }
        if self.ego.speed_mps > SLOW_MPS {
            self.fast_s = time_s;
        }
        let free = self.scene.lead.as_ref().is_none_or(Lead::leaving) && !matches!(self.light(), Some(Light::Red | Light::Amber));
        if free && !self.is_free {
            self.freed_s = time_s;
        }
        self.is_free = free;
    }

    /// The next traffic light within 50 m.
    fn light(&self) -> Option<Light> {
        self.road
            .fixtures()
            .filter(|p| matches!(p.what, Fixture::Light { .. }))
            .find(|p| p.s_m > self.s_m && p.s_m < self.s_m + 50.0)
            .map(|p| self.scene.light(p, self.time_s()))
    }

    fn is_sign_visible(&self) -> bool {
        self.road.fixtures().any(|p| match p.what {
            Fixture::Sign { reveal_m, .. } => {
                let ahead_m = p.s_m - self.s_m;
                ahead_m > 3.0 && ahead_m < reveal_m
            }
            _ => false,
        })
    }

    /// The speed limit in force, m/s.
    pub(crate) fn limit_mps(&self) -> f64 {
        limit_mps(self.limit)
    }

    /// The labels of this tick.
    pub fn labels(&self) -> Labels {
        let time_s = self.time_s();
        let lead = self.scene.lead.as_ref().filter(|l| l.is_in_lane());
        let lead_gap_m = lead.map(|l| l.s_m - LEAD_REAR_M - self.s_m - FRONT_M);
        let forgotten = time_s - self.sign_seen_s > FORGOTTEN_S && time_s - self.fast_s > FORGOTTEN_S;
        Labels {
            limit_mps: self.limit_mps(),
            sign_visible: self.is_sign_visible(),
            light: self.light(),
            lead_gap_m,
            pedestrian: self.scene.pedestrians.iter().any(|p| p.s_m > self.s_m && p.s_m < self.s_m + 40.0),
            memory_needed: forgotten && self.is_free && time_s - self.freed_s < CHUNK_S,
            masked: self.is_masked(),
        }
    }

    pub(crate) fn road(&self) -> &Road {
        &self.road
    }

    pub(crate) fn scene(&self) -> &Scene {
        &self.scene
    }
}
