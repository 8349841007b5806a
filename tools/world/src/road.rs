//! The route: the lane's centre line, generated piece by piece as the car approaches, and the
//! fixtures along it.
//!
//! Positions along the route are arc lengths `s_m` from the start. Samples lie one metre apart.
//! Those far behind the car are dropped, so memory does not grow with the length of a drive.

use crate::options::Kind;
use crate::rng::Rng;
use drivewam_core::dims::Command;
use drivewam_core::pose::Pose2;
use std::collections::VecDeque;

/// The speed limits of the three sign classes, m/s.
pub const SPEED_LIMITS_MPS: [f64; 3] = [5.0, 9.0, 14.0];
/// Distance between two samples, metres.
pub(crate) const STEP_M: f64 = 1.0;
/// Half of the ego lane's width, metres.
pub const HALF_LANE_M: f64 = 1.75;
/// Samples, junctions and fixtures this far behind the car are dropped, metres.
const BEHIND_M: f64 = 40.0;
/// Length of the route that is generated ahead of the car, metres.
pub(crate) const AHEAD_M: f64 = 160.0;
/// A command comes into force this far ahead of its junction, metres.
const ANNOUNCE_M: f64 = 45.0;

/// One sample of the lane's centre line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) pose: Pose2,
    pub(crate) curvature_1pm: f64,
}

/// A junction with a crossing road. The route leaves it by `command`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Junction {
    /// Where the route enters the junction.
    pub(crate) s_m: f64,
    /// Where the route has left the junction.
    pub(crate) end_m: f64,
    /// Centre of the junction, in the direction of the approach.
    pub(crate) centre: Pose2,
    pub(crate) command: Command,
}

/// A fixture along the route.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fixture {
    /// A speed limit sign of class `limit`, visible from at most `reveal_m`.
    Sign { limit: usize, reveal_m: f64 },
    /// A traffic light with its stop line. Cycle in seconds. With `hold_s` > 0 it has no cycle:
    /// it stays red until that long after the car has stopped at it.
    Light { green_s: f64, red_s: f64, phase_s: f64, hold_s: f64 },
    /// A pedestrian who starts to cross when the car is `trigger_m` away.
    Pedestrian { trigger_m: f64, from_right: bool, speed_mps: f64 },
    /// A slower vehicle that appears ahead of the car, and leaves the road after the car has
    /// followed it for `hold_s`.
    Lead { cruise_mps: f64, hold_s: f64, stops: bool },
}

/// A fixture and its position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) id: u64,
    pub(crate) s_m: f64,
    pub(crate) what: Fixture,
}

/// The generated part of the route.
#[derive(Debug, Clone)]
pub(crate) struct Road {
    rng: Rng,
    kind: Kind,
    first_m: f64,
    samples: VecDeque<Sample>,
    tip: Pose2,
    junctions: VecDeque<Junction>,
    fixtures: VecDeque<Placed>,
    next_id: u64,
    limit: usize,
    since_sign_m: f64,
}

impl Road {
    /// The first part of the route of `seed`.
    pub(crate) fn new(seed: u64, kind: Kind) -> Self {
        let mut rng = Rng::new(seed);
        let limit = (rng.next() % 3) as usize;
        let mut road = Self {
            rng,
            kind,
            first_m: 0.0,
            samples: VecDeque::new(),
            tip: Pose2::default(),
            junctions: VecDeque::new(),
            fixtures: VecDeque::new(),
            next_id: 0,
            limit,
            since_sign_m: 0.0,
        };
        road.line(12.0, 0.0);
        road.sign(60.0);
        road.line(30.0, 0.0);
        road.keep_around(0.0);
        road
    }

    /// Arc length of the end of the generated part.
    fn end_m(&self) -> f64 {
        self.first_m + self.samples.len() as f64 * STEP_M
    }

    /// Generates the route up to [`AHEAD_M`] ahead of `s_m` and drops what lies far behind.
    pub(crate) fn keep_around(&mut self, s_m: f64) {
        while self.end_m() < s_m + AHEAD_M {
            self.grow();
        }
        while self.first_m + STEP_M < s_m - BEHIND_M {
            self.samples.pop_front();
            self.first_m += STEP_M;
        }
        while self.junctions.front().is_some_and(|j| j.end_m < s_m - BEHIND_M) {
            self.junctions.pop_front();
        }
        while self.fixtures.front().is_some_and(|f| f.s_m < s_m - BEHIND_M) {
            self.fixtures.pop_front();
        }
    }

    /// Adds a fixture and keeps all in order of arc length.
    fn place(&mut self, s_m: f64, what: Fixture) {
        self.fixtures.push_back(Placed { id: self.next_id, s_m, what });
        self.next_id += 1;
        let fixtures = self.fixtures.make_contiguous();
        fixtures.sort_by(|a, b| a.s_m.total_cmp(&b.s_m));
    }

    /// Appends an arc.
    fn line(&mut self, length_m: f64, curvature_1pm: f64) {
        let steps = (length_m / STEP_M).max(1.0) as usize;
        self.since_sign_m += steps as f64 * STEP_M;
        for _ in 0..steps {
            self.samples.push_back(Sample { pose: self.tip, curvature_1pm });
            let half = 0.5 * curvature_1pm * STEP_M;
            let (sin, cos) = libm::sincos(self.tip.yaw_rad + half);
            self.tip.x_m += STEP_M * cos;
            self.tip.y_m += STEP_M * sin;
            self.tip.yaw_rad += 2.0 * half;
        }
    }

    /// Places a sign with another limit at the end.
    fn sign(&mut self, reveal_m: f64) {
        let s_m = self.end_m();
        let others = [(self.limit + 1) % 3, (self.limit + 2) % 3];
        self.limit = self.rng.pick(&others);
        self.since_sign_m = 0.0;
        self.place(s_m, Fixture::Sign { limit: self.limit, reveal_m });
    }

    /// Appends one section.
    fn grow(&mut self) {
        let memory = match self.kind {
            Kind::Ordinary => false,
            Kind::Memory => true,
            Kind::Mixed => self.rng.chance(0.3),
        };
        if memory {
            self.grow_memory();
        } else {
            self.grow_ordinary();
        }
    }

    /// Appends a section in which the car passes a sign slowly, behind a lead or towards a red
    /// light, and stays slow until neither recent images nor its speed tell the limit.
    fn grow_memory(&mut self) {
        if self.rng.chance(0.6) {
            let hold_s = self.rng.range(25.0, 32.0);
            let cruise_mps = self.rng.range(2.6, 4.2);
            let stops = self.rng.chance(0.5);
            let start = self.end_m();
            self.place(start, Fixture::Lead { cruise_mps, hold_s, stops });
            self.bend(16.0);
            self.sign(22.0);
            self.bend(110.0);
        } else {
            let hold_s = self.rng.range(17.0, 24.0);
            self.line(40.0, 0.0);
            self.sign(22.0);
            self.line(14.0, 0.0);
            let stop = self.end_m();
            self.place(stop, Fixture::Light { green_s: 1e9, red_s: 0.0, phase_s: 0.0, hold_s });
            self.junction(0.0);
        }
        let rest = self.rng.range(25.0, 50.0);
        self.bend(rest);
    }

    /// Appends straight and curved arcs of this total length.
    fn bend(&mut self, length_m: f64) {
        let mut left = length_m;
        while left > 1.0 {
            let part = self.rng.range(25.0, 45.0).min(left);
            let curvature = if self.rng.chance(0.5) { self.rng.sign() / self.rng.range(40.0, 120.0) } else { 0.0 };
            self.line(part, curvature);
            left -= part;
        }
    }

    /// Appends an ordinary section: straight, curve, junction, lead or pedestrian.
    fn grow_ordinary(&mut self) {
        let due = self.rng.range(90.0, 200.0);
        if self.since_sign_m > due {
            self.sign(60.0);
        }
        match (self.rng.unit() * 10.0) as usize {
            0..=1 => {
                let length = self.rng.range(25.0, 70.0);
                self.line(length, 0.0);
            }
            2..=4 => {
                let radius = 20.0 * libm::pow(5.0, self.rng.unit());
                let angle = self.rng.range(0.35, 1.3);
                let sign = self.rng.sign();
                self.line(radius * angle, sign / radius);
                let length = self.rng.range(10.0, 30.0);
                self.line(length, 0.0);
            }
            5..=6 => {
                let length = self.rng.range(40.0, 55.0);
                self.line(length, 0.0);
                if self.rng.chance(0.7) {
                    let (green_s, red_s) = (self.rng.range(6.0, 14.0), self.rng.range(5.0, 12.0));
                    let phase_s = self.rng.range(0.0, 40.0);
                    let stop = self.end_m();
                    self.place(stop, Fixture::Light { green_s, red_s, phase_s, hold_s: 0.0 });
                }
                let turn = self.rng.pick(&[-1.0, 0.0, 1.0]);
                self.junction(turn);
            }
            7..=8 => {
                let at = self.end_m();
                let cruise_mps = self.rng.range(3.0, 10.0);
                let hold_s = self.rng.range(8.0, 25.0);
                let stops = self.rng.chance(0.5);
                self.place(at, Fixture::Lead { cruise_mps, hold_s, stops });
                let length = self.rng.range(60.0, 110.0);
                self.bend(length);
            }
            _ => {
                let length = self.rng.range(30.0, 45.0);
                self.line(length, 0.0);
                let at = self.end_m();
                let what = Fixture::Pedestrian {
                    trigger_m: self.rng.range(18.0, 40.0),
                    from_right: self.rng.chance(0.5),
                    speed_mps: self.rng.range(0.9, 1.6),
                };
                self.place(at, what);
                self.line(20.0, 0.0);
            }
        }
    }

    /// Appends a junction four metres after the stop line. `turn`: 1 left, −1 right, 0 straight.
    fn junction(&mut self, turn: f64) {
        self.line(4.0, 0.0);
        let s_m = self.end_m();
        let entry = self.tip;
        if turn == 0.0 {
            self.line(16.0, 0.0);
        } else {
            let radius = if turn > 0.0 { 14.0 } else { 9.0 };
            self.line(radius * std::f64::consts::FRAC_PI_2, turn / radius);
        }
        let end_m = self.end_m();
        let ahead = if turn > 0.0 { 14.0 } else { 8.5 };
        let centre = entry.compose(&Pose2::new(ahead, 0.0, 0.0));
        let command = if turn > 0.0 {
            Command::Left
        } else if turn < 0.0 {
            Command::Right
        } else {
            Command::Straight
        };
        self.junctions.push_back(Junction { s_m, end_m, centre, command });
        let length = self.rng.range(20.0, 40.0);
        self.line(length, 0.0);
    }

    /// The sample at `s_m`, interpolated; clamped to the generated part.
    pub(crate) fn at(&self, s_m: f64) -> Sample {
        let exact = ((s_m - self.first_m) / STEP_M).clamp(0.0, (self.samples.len() - 2) as f64);
        let (a, b) = (&self.samples[exact as usize], &self.samples[exact as usize + 1]);
        Sample { pose: a.pose.interpolate(&b.pose, exact.fract()), curvature_1pm: a.curvature_1pm }
    }

    /// Samples from `low_m` to `high_m`, with their arc lengths.
    pub(crate) fn between(&self, low_m: f64, high_m: f64) -> impl Iterator<Item = (f64, &Sample)> {
        let low = ((low_m - self.first_m) / STEP_M).max(0.0) as usize;
        let high = (((high_m - self.first_m) / STEP_M).max(0.0) as usize).min(self.samples.len());
        let first_m = self.first_m;
        self.samples.range(low.min(high)..high).enumerate().map(move |(i, s)| (first_m + (low + i) as f64 * STEP_M, s))
    }

    pub(crate) fn junctions(&self) -> impl Iterator<Item = &Junction> {
        self.junctions.iter()
    }

    pub(crate) fn fixtures(&self) -> impl Iterator<Item = &Placed> {
        self.fixtures.iter()
    }

    /// Arc length of the point of the route nearest to `pose`, searched around `near_m`, and the
    /// lateral offset, left positive.
    pub(crate) fn project(&self, pose: &Pose2, near_m: f64) -> (f64, f64) {
        let mut best = (near_m, 0.0, f64::INFINITY);
        for (s_m, sample) in self.between(near_m - 6.0, near_m + 12.0) {
            let local = pose.relative_to(&sample.pose);
            let distance = libm::hypot(local.x_m, local.y_m);
            if distance < best.2 {
                best = (s_m + local.x_m, local.y_m, distance);
            }
        }
        (best.0, best.1)
    }

    /// The command of the next junction within [`ANNOUNCE_M`]; else straight.
    pub(crate) fn command(&self, s_m: f64) -> Command {
        self.junctions.iter().find(|j| s_m < j.end_m).filter(|j| j.s_m - s_m < ANNOUNCE_M).map_or(Command::Straight, |j| j.command)
    }
}

/// The speed limit of sign class `limit`, m/s.
pub(crate) fn limit_mps(limit: usize) -> f64 {
    SPEED_LIMITS_MPS[limit % SPEED_LIMITS_MPS.len()]
}
