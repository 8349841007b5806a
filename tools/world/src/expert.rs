//! The expert driver: follows lane, speed limit, lead, traffic lights and pedestrians in comfort.
//!
//! Longitudinal: the minimum of the accelerations that a free road with its curves, a lead
//! (intelligent driver model) and a stopping point allow. Lateral: pure pursuit of the lane's
//! centre line.

use crate::car::{Control, FRONT_M};
use crate::road::{Fixture, HALF_LANE_M};
use crate::scene::{LEAD_REAR_M, Light, Pedestrian};
use crate::steering::pursue;
use crate::world::World;

const ACCELERATION_MPS2: f64 = 2.0;
const COMFORT_MPS2: f64 = 2.5;
const HARDEST_MPS2: f64 = 6.0;
const LATERAL_MPS2: f64 = 2.2;
const STANDSTILL_GAP_M: f64 = 2.5;
const HEADWAY_S: f64 = 1.2;
/// The car stops with its front this far before a line, metres.
const LINE_MARGIN_M: f64 = 1.2;

/// What limits the expert's acceleration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The speed limit or the curves.
    Road,
    /// The lead.
    Lead,
    /// The stop line of a traffic light.
    Line,
    /// A pedestrian.
    Pedestrian,
}

impl World {
    /// The expert's control for this tick.
    pub fn expert(&self) -> Control {
        decide(self).0
    }
}

/// The expert's control for this tick, and what limits its acceleration.
pub(crate) fn decide(world: &World) -> (Control, Reason) {
    let ego = world.ego();
    let (s_m, _) = world.place();
    let (speed, extra_m) = (ego.speed_mps, world.options().extra_margin_m);
    let mut wanted = world.limit_mps();
    for (at_m, sample) in world.road().between(s_m, s_m + 45.0) {
        let curve = libm::sqrt(LATERAL_MPS2 / sample.curvature_1pm.abs().max(1e-4));
        let ahead = (at_m - s_m - 2.0).max(0.0);
        wanted = wanted.min(libm::sqrt(curve * curve + 2.0 * 1.8 * ahead));
    }
    let ratio = speed / wanted.max(0.3);
    let free =
        if ratio <= 1.0 { ACCELERATION_MPS2 * (1.0 - ratio * ratio * ratio * ratio) } else { (-2.0 * (speed - wanted)).max(-COMFORT_MPS2) };
    let (mut acceleration, mut reason) = (free, Reason::Road);
    let mut at_most = |limit: f64, why: Reason| {
        if limit < acceleration {
            (acceleration, reason) = (limit, why);
        }
    };
    if let Some(lead) = &world.scene().lead
        && lead.is_in_lane()
        && lead.s_m > s_m
    {
        at_most(follow(speed, lead.speed_mps, lead.s_m - LEAD_REAR_M - s_m - FRONT_M - extra_m), Reason::Lead);
    }
    if let Some((stop_m, why)) = stopping_point(world, s_m, speed) {
        at_most(halt(speed, stop_m - s_m - FRONT_M - LINE_MARGIN_M - extra_m), why);
    }
    let control = Control {
        acceleration_mps2: acceleration.clamp(-HARDEST_MPS2, ACCELERATION_MPS2),
        curvature_1pm: pursue(world.road(), &ego, s_m, 0.0),
    };
    (control, reason)
}

/// Acceleration behind a lead `gap_m` ahead, by the intelligent driver model.
fn follow(speed: f64, lead: f64, gap_m: f64) -> f64 {
    let approach = speed * (speed - lead) / (2.0 * libm::sqrt(ACCELERATION_MPS2 * COMFORT_MPS2));
    let wanted = STANDSTILL_GAP_M + (speed * HEADWAY_S + approach).max(0.0);
    let gap = gap_m.max(0.3);
    if gap_m < STANDSTILL_GAP_M && speed > lead {
        return -HARDEST_MPS2;
    }
    ACCELERATION_MPS2 * (1.0 - (wanted / gap) * (wanted / gap))
}

/// Acceleration that stops the car `left_m` ahead and then holds it without creeping.
fn halt(speed: f64, left_m: f64) -> f64 {
    if left_m < 0.4 {
        return -HARDEST_MPS2;
    }
    let allowed = libm::sqrt(2.0 * 1.8 * left_m);
    if speed < 0.8 * allowed {
        ACCELERATION_MPS2
    } else {
        (-speed * speed / (2.0 * left_m)).max(-HARDEST_MPS2) + 0.4 * (0.9 * allowed - speed).min(0.0)
    }
}

/// Arc length of the nearest stop line or pedestrian to stop for.
fn stopping_point(world: &World, s_m: f64, speed: f64) -> Option<(f64, Reason)> {
    let needed_m = speed * speed / (2.0 * 3.5);
    let line = world
        .road()
        .fixtures()
        .filter(|p| matches!(p.what, Fixture::Light { .. }))
        .filter(|p| p.s_m - s_m > FRONT_M - 0.3 && p.s_m - s_m < 60.0)
        .find(|p| match world.scene().light(p, world.time_s()) {
            Light::Green => false,
            Light::Amber => p.s_m - s_m - FRONT_M > needed_m,
            Light::Red => true,
        })
        .map(|p| p.s_m);
    let walker = world
        .scene()
        .pedestrians
        .iter()
        .filter(|p| p.s_m - s_m > 0.0 && p.s_m - s_m < 45.0 && p.on_the_way())
        .map(|p| p.s_m - 2.0)
        .reduce(f64::min);
    match (line, walker) {
        (Some(line), Some(walker)) if line <= walker => Some((line, Reason::Line)),
        (_, Some(walker)) => Some((walker, Reason::Pedestrian)),
        (line, None) => line.map(|line_m| (line_m, Reason::Line)),
    }
}

impl Pedestrian {
    /// Whether the pedestrian is in the ego lane or walks towards it.
    fn on_the_way(&self) -> bool {
        let towards = self.d_m * self.walking() < 0.0;
        self.d_m.abs() < HALF_LANE_M + 0.8 || towards
    }
}
