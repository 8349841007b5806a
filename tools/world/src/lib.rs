//! A procedurally drawn driving world with its expert driver: one implementation for training, tests and the demo.
//!
//! A seed names a world: a lane with curves and junctions, leads that brake, lights, pedestrians, and speed-limit signs whose effect lasts long after they left the picture.
//! [`World::step`] moves the car, [`World::render`] draws its front camera, [`World::expert`] says what a good driver would do, [`World::labels`] what the world knows,
//! [`World::facts`] what its picture shows, [`Facts::caption`] that in words. Nothing here reads a clock or the machine: a seed gives the same bits everywhere.
//! Frame of reference: a fixed plane, x and y in metres, the car's reference point between its rear wheels.

#![forbid(unsafe_code)]

mod caption;
mod drift;
mod expert;
mod follow;
mod render;
mod rng;
mod road;
mod scene;
mod sight;
mod write;

pub use caption::{Action, Because, Facts, LeadAhead};
pub use follow::Follower;
pub use render::{CAMERA_AHEAD_M, CAMERA_HEIGHT_M, Canvas};
pub use scene::Light;
pub use sight::RoadAhead;
pub use write::{FrameFormat, WriteOptions, Written, write_seeds};

use drift::Drift;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::{Pose2, wrap};
use expert::FRONT_M;
use rng::{Rng, mix};
use road::{Fixture, HALF_LANE_M, Road, limit_mps};
use scene::Scene;

/// Changes whenever a seed would draw another world.
pub const WORLD_VERSION: u32 = 3;
/// The limits of the three signs, m/s.
pub const SPEED_LIMITS_MPS: [f64; 3] = [5.0, 9.0, 14.0];
/// One tick of the world, seconds.
pub const TICK_S: f64 = 0.1;
/// One tick of the world, nanoseconds.
pub const TICK_NS: i64 = 100_000_000;
/// Ticks that a plan, and guidance, is for: the policy's 4 s.
const AHEAD_TICKS: usize = 40;
/// Inner steps of a tick.
const SUBSTEPS: usize = 2;
/// Holds end shortly before a multiple of this, seconds since the start.
const CHUNK_S: f64 = 4.0;
/// A sign is out of mind this long after it left the view, seconds.
const FORGOTTEN_S: f64 = 16.0;
/// Below this speed a car is held, m/s.
const HELD_MPS: f64 = 5.0;

/// What kind of stretches a world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Curves, junctions, lights, leads, pedestrians, signs.
    Ordinary,
    /// Signs seen while the car is held, and a free road much later.
    Memory,
    /// Both.
    Mixed,
}

impl Kind {
    /// The word that files and options use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Memory => "memory",
            Self::Mixed => "mixed",
        }
    }
}

/// What a world is made of besides its seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Kind of stretches.
    pub kind: Kind,
    /// Whether the car drifts off now and then, so that the expert shows how to recover.
    pub disturb: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { kind: Kind::Mixed, disturb: false }
    }
}

/// What a driver decides for one tick.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Control {
    /// m/s².
    pub acceleration_mps2: f64,
    /// 1/m, left positive.
    pub curvature_1pm: f64,
}

/// The car.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ego {
    /// In the world's plane.
    pub pose: Pose2,
    /// Forward, m/s.
    pub speed_mps: f64,
    /// Forward, m/s².
    pub acceleration_mps2: f64,
    /// 1/m, left positive; 0 below 0.5 m/s.
    pub curvature_1pm: f64,
}

impl Ego {
    /// Speed, acceleration and curvature, without the place.
    pub fn state(&self) -> EgoState {
        EgoState { speed_mps: self.speed_mps, acceleration_mps2: self.acceleration_mps2, curvature_1pm: self.curvature_1pm }
    }
}

/// What the world knows at a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labels {
    /// The limit in force, m/s.
    pub limit_mps: f64,
    /// Whether a limit sign is in the picture.
    pub sign_visible: bool,
    /// The next light within 50 m.
    pub light: Option<Light>,
    /// Gap to the lead's rear, m.
    pub lead_gap_m: Option<f64>,
    /// Whether a pedestrian is on the road within 40 m.
    pub pedestrian: bool,
    /// Whether only memory can tell the limit: the car was held and the sign out of sight for 16 s, and now the road is free.
    pub memory_needed: bool,
}

/// A limit sign in a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignView {
    /// Names the sign among those of its world.
    pub id: u64,
    /// Left, top, right, bottom of its face, pixels with fractions, within the picture.
    pub face: [f64; 4],
}

/// What went wrong so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Violations {
    /// Contacts with a lead or a pedestrian.
    pub collisions: u32,
    /// Times that the car left its lane by more than its own half width.
    pub off_road: u32,
    /// Stop lines crossed on red.
    pub red_lights: u32,
}

/// A world with a car in it. A clone goes on by itself, bit for bit as this one would.
#[derive(Debug, Clone)]
pub struct World {
    seed: u64,
    options: Options,
    road: Road,
    scene: Scene,
    ego: Ego,
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
    in_contact: bool,
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
            in_contact: false,
            is_off_road: false,
        }
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

    /// What went wrong since the start.
    pub fn violations(&self) -> Violations {
        self.violations
    }

    /// Arc length along the route and offset from the lane's centre, left positive, metres.
    pub fn place(&self) -> (f64, f64) {
        (self.s_m, self.d_m)
    }

    /// What the expert would do now.
    pub fn expert(&self) -> Control {
        expert::control(self)
    }

    /// Draws the front camera.
    pub fn render(&self, canvas: &mut Canvas) {
        render::draw(self, canvas);
    }

    /// Where in the picture of `canvas` the nearest limit sign in view is drawn.
    pub fn sign_in(&self, canvas: &Canvas) -> Option<SignView> {
        render::sign(self, canvas)
    }

    /// Moves the world by one tick, the car by `control`.
    pub fn step(&mut self, control: Control) {
        let dt_s = TICK_S / SUBSTEPS as f64;
        let (before, before_m) = (self.ego, self.s_m);
        let control = self.drift(control);
        for _ in 0..SUBSTEPS {
            let speed = (self.ego.speed_mps + control.acceleration_mps2 * dt_s).max(0.0);
            let way = 0.5 * (self.ego.speed_mps + speed) * dt_s;
            let turn = control.curvature_1pm.clamp(-0.25, 0.25) * way;
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
        self.judge(before_m);
        self.remember();
    }

    /// This world as it goes on without any disturbance.
    pub fn undisturbed(&self) -> Self {
        let mut twin = self.clone();
        twin.options.disturb = false;
        twin
    }

    /// What the expert would do from here without any disturbance: poses of the next `ticks` ticks in the frame of the car now.
    pub fn plan(&self, ticks: usize) -> Vec<Pose2> {
        Self::go_on(self.undisturbed(), ticks)
    }

    /// The same if nobody changed what they do now: lights stay, the lead keeps its speed, people walk on, nobody comes anew. More than this no
    /// driver can know who plans once for all of these ticks; the road ahead is known.
    pub fn plan_without_foresight(&self, ticks: usize) -> Vec<Pose2> {
        Self::go_on(self.without_foresight(), ticks)
    }

    /// This world as it goes on if nobody changes what they do now.
    fn without_foresight(&self) -> Self {
        let mut twin = self.undisturbed();
        twin.scene.hold_still(self.time_s());
        twin
    }

    fn go_on(mut twin: Self, ticks: usize) -> Vec<Pose2> {
        let from = twin.ego.pose;
        (0..ticks)
            .map(|_| {
                twin.step(twin.expert());
                twin.ego.pose.relative_to(&from)
            })
            .collect()
    }

    fn judge(&mut self, before_m: f64) {
        let off_road = self.d_m.abs() > HALF_LANE_M + 0.6;
        self.violations.off_road += u32::from(off_road && !self.is_off_road);
        self.is_off_road = off_road;
        let front = self.ego.pose.compose(&Pose2::new(0.5 * FRONT_M, 0.0, 0.0));
        let lead = self.scene.lead_pose(&self.road).is_some_and(|lead| {
            let gap = lead.relative_to(&front);
            gap.x_m.abs() < 0.5 * FRONT_M + scene::LEAD_REAR_M - 0.2 && gap.y_m.abs() < 1.7
        });
        let walker = self.scene.pedestrians.iter().any(|p| {
            let at = self.road.at(p.s_m).pose.compose(&Pose2::new(0.0, p.d_m, 0.0)).relative_to(&front);
            at.x_m.abs() < 0.5 * FRONT_M + 0.2 && at.y_m.abs() < 1.1
        });
        self.violations.collisions += u32::from((lead || walker) && !self.in_contact);
        self.in_contact = lead || walker;
        let crossed = |p: &&road::Placed| before_m + FRONT_M <= p.s_m && p.s_m < self.s_m + FRONT_M;
        let red = self.road.fixtures().filter(crossed).any(|p| self.scene.light(p, self.time_s()) == Light::Red);
        self.violations.red_lights += u32::from(red);
    }

    fn remember(&mut self) {
        let time_s = self.time_s();
        for placed in self.road.fixtures().take_while(|p| p.s_m <= self.s_m) {
            if let Fixture::Sign { limit, .. } = placed.what {
                self.limit = limit;
            }
        }
        if self.visible_sign().is_some() {
            self.sign_seen_s = time_s;
        }
        if self.ego.speed_mps > HELD_MPS {
            self.fast_s = time_s;
        }
        let free = self.scene.lead.as_ref().is_none_or(scene::Lead::leaving) && !matches!(self.light(), Some(Light::Red | Light::Amber));
        if free && !self.is_free {
            self.freed_s = time_s;
        }
        self.is_free = free;
    }

    /// The next light within 50 m.
    fn light(&self) -> Option<Light> {
        self.road
            .fixtures()
            .filter(|p| matches!(p.what, Fixture::Light { .. }))
            .find(|p| p.s_m > self.s_m && p.s_m < self.s_m + 50.0)
            .map(|p| self.scene.light(p, self.time_s()))
    }

    fn visible_sign(&self) -> Option<f64> {
        self.road
            .fixtures()
            .filter_map(|p| match p.what {
                Fixture::Sign { reveal_m, .. } => Some((p.s_m - self.s_m, reveal_m)),
                _ => None,
            })
            .find(|&(ahead_m, reveal_m)| ahead_m > 3.0 && ahead_m < reveal_m)
            .map(|(ahead_m, _)| ahead_m)
    }

    /// The limit in force, m/s.
    pub(crate) fn limit_mps(&self) -> f64 {
        limit_mps(self.limit)
    }

    /// What the world knows now.
    pub fn labels(&self) -> Labels {
        let time_s = self.time_s();
        let lead = self.scene.lead.as_ref().filter(|l| l.is_in_lane());
        let lead_gap_m = lead.map(|l| l.s_m - scene::LEAD_REAR_M - self.s_m - FRONT_M);
        let forgotten = time_s - self.sign_seen_s > FORGOTTEN_S && time_s - self.fast_s > FORGOTTEN_S;
        Labels {
            limit_mps: self.limit_mps(),
            sign_visible: self.visible_sign().is_some(),
            light: self.light(),
            lead_gap_m,
            pedestrian: self.scene.pedestrians.iter().any(|p| p.s_m > self.s_m && p.s_m < self.s_m + 40.0),
            memory_needed: forgotten && self.is_free && time_s - self.freed_s < CHUNK_S,
        }
    }

    pub(crate) fn road(&self) -> &Road {
        &self.road
    }

    pub(crate) fn scene(&self) -> &Scene {
        &self.scene
    }
}
