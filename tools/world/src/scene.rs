//! What moves or changes beside the ego car: traffic lights, pedestrians, the lead. All advance by
//! one tick at a time.

use crate::rng::{Rng, mix};
use crate::road::{Fixture, Placed, Road};
use drivewam_core::pose::Pose2;

/// Duration of amber, seconds.
const AMBER_S: f64 = 2.5;
/// From a lead's reference point back to its rear, metres.
pub(crate) const LEAD_REAR_M: f64 = 1.5;

/// The state of a traffic light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// Go.
    Green,
    /// Stop if comfortable braking suffices.
    Amber,
    /// Stop.
    Red,
}

/// The lead: a vehicle ahead on the route.
#[derive(Debug, Clone)]
pub(crate) struct Lead {
    pub(crate) s_m: f64,
    pub(crate) speed_mps: f64,
    pub(crate) acceleration_mps2: f64,
    /// Offset to the right while it leaves the road, metres; it disappears at 5.
    pub(crate) aside_m: f64,
    wanted_mps: f64,
    cruise_mps: f64,
    stops: bool,
    leave_at_s: Option<f64>,
    hold_s: f64,
    change_at_s: f64,
    rng: Rng,
}

impl Lead {
    /// Whether it has begun to leave.
    pub(crate) fn leaving(&self) -> bool {
        self.aside_m > 0.0
    }

    /// Whether it is still in the way of the car behind it.
    pub(crate) fn is_in_lane(&self) -> bool {
        self.aside_m < 2.2
    }

    /// Whether its brake lamps are on: it slows down or stands.
    pub(crate) fn lamps_glow(&self) -> bool {
        self.acceleration_mps2 < -0.4 || self.speed_mps < 0.2
    }
}

/// A pedestrian who crosses the road.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pedestrian {
    pub(crate) s_m: f64,
    /// Offset from the lane's centre, left positive, metres.
    pub(crate) d_m: f64,
    speed_mps: f64,
}

impl Pedestrian {
    /// Lateral speed, left positive, m/s.
    pub(crate) fn walking(&self) -> f64 {
        self.speed_mps
    }
}

/// A traffic light of a memory section at which the car waits.
#[derive(Debug, Clone, Copy)]
struct Hold {
    id: u64,
    green_at_s: f64,
}

/// Everything that moves or changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    pub(crate) lead: Option<Lead>,
    pub(crate) pedestrians: Vec<Pedestrian>,
    holds: Vec<Hold>,
    /// Fixtures with lower ids have been started or passed.
    started: u64,
    /// Ids of the other fixtures that have been started.
    seen: Vec<u64>,
    /// From this time on nobody changes what they do ([`Scene::hold_still`]).
    still_since_s: Option<f64>,
}

/// The next time at or after `time_s` that is 0.4 s before a multiple of `chunk_s`.
fn before_a_chunk(time_s: f64, chunk_s: f64) -> f64 {
    libm::ceil((time_s + 0.4) / chunk_s) * chunk_s - 0.4
}

impl Scene {
    /// From `time_s` on, lights keep their state, the lead keeps its speed and course, pedestrians
    /// walk on, and nobody new appears.
    pub(crate) fn hold_still(&mut self, time_s: f64) {
        self.still_since_s = Some(time_s);
    }

    /// The state of a traffic light at `time_s`.
    pub(crate) fn light(&self, placed: &Placed, time_s: f64) -> Light {
        let Fixture::Light { green_s, red_s, phase_s, hold_s } = placed.what else { return Light::Green };
        let time_s = self.still_since_s.unwrap_or(time_s);
        if hold_s > 0.0 {
            let open = self.holds.iter().any(|h| h.id == placed.id && time_s >= h.green_at_s);
            return if open { Light::Green } else { Light::Red };
        }
        let at = libm::fmod(time_s + phase_s, green_s + AMBER_S + red_s);
        if at < green_s {
            Light::Green
        } else if at < green_s + AMBER_S {
            Light::Amber
        } else {
            Light::Red
        }
    }

    /// Advances everything by `dt_s` to `time_s`, with the car at `ego_m`, moving at `ego_mps`.
    pub(crate) fn step(&mut self, road: &Road, ego_m: f64, ego_mps: f64, time_s: f64, dt_s: f64, chunk_s: f64) {
        if self.still_since_s.is_none() {
            self.start(road, ego_m, ego_mps, time_s, chunk_s);
        }
        for walker in &mut self.pedestrians {
            walker.d_m += walker.speed_mps * dt_s;
        }
        self.pedestrians.retain(|p| p.d_m.abs() < 7.5 && p.s_m > ego_m - 30.0);
        self.holds.retain(|h| time_s < h.green_at_s + 60.0);
        self.step_lead(road, ego_m, time_s, dt_s, chunk_s);
    }

    /// Starts the fixtures that the car has come close to.
    fn start(&mut self, road: &Road, ego_m: f64, ego_mps: f64, time_s: f64, chunk_s: f64) {
        for placed in road.fixtures() {
            let ahead_m = placed.s_m - ego_m;
            if placed.id < self.started || self.seen.contains(&placed.id) {
                continue;
            }
            let begun = match placed.what {
                Fixture::Sign { .. } => true,
                Fixture::Light { hold_s, .. } => {
                    let waiting = hold_s > 0.0 && ahead_m < 9.0 && ego_mps < 1.0;
                    if waiting {
                        self.holds.push(Hold { id: placed.id, green_at_s: before_a_chunk(time_s + hold_s, chunk_s) });
                    }
                    hold_s == 0.0 || waiting
                }
                Fixture::Pedestrian { trigger_m, from_right, speed_mps } => {
                    let close = ahead_m < trigger_m;
                    if close && ahead_m > 12.0 {
                        let side = if from_right { -1.0 } else { 1.0 };
                        let d_m = if from_right { -4.5 } else { 6.5 };
                        self.pedestrians.push(Pedestrian { s_m: placed.s_m, d_m, speed_mps: -side * speed_mps });
                    }
                    close
                }
                Fixture::Lead { cruise_mps, hold_s, stops } => {
                    let close = ahead_m < 35.0;
                    if close && self.lead.is_none() && ahead_m > 12.0 {
                        self.lead = Some(Lead {
                            s_m: placed.s_m,
                            speed_mps: cruise_mps,
                            acceleration_mps2: 0.0,
                            aside_m: 0.0,
                            wanted_mps: cruise_mps,
                            cruise_mps,
                            stops,
                            leave_at_s: None,
                            hold_s,
                            change_at_s: time_s + 4.0,
                            rng: Rng::new(mix(placed.id ^ placed.s_m.to_bits())),
                        });
                    }
                    close
                }
            };
            if begun {
                self.seen.push(placed.id);
            }
        }
        // Fixtures that the road has dropped need no entry any more.
        if let Some(first) = road.fixtures().map(|f| f.id).min() {
            self.started = self.started.max(first);
            self.seen.retain(|&id| id >= first);
        }
    }

    fn step_lead(&mut self, road: &Road, ego_m: f64, time_s: f64, dt_s: f64, chunk_s: f64) {
        if let (Some(_), Some(lead)) = (self.still_since_s, &mut self.lead) {
            lead.s_m += lead.speed_mps * dt_s;
            lead.aside_m += if lead.leaving() { 2.5 * dt_s } else { 0.0 };
            return;
        }
        let stop_m = self.lead.as_ref().and_then(|lead| self.stop_ahead(road, lead.s_m + 3.0, time_s));
        let Some(lead) = &mut self.lead else { return };
        if time_s >= lead.change_at_s {
            lead.wanted_mps = if lead.stops && lead.rng.chance(0.3) { 0.0 } else { lead.cruise_mps * lead.rng.range(0.5, 1.15) };
            lead.change_at_s = time_s + if lead.wanted_mps == 0.0 { lead.rng.range(2.0, 5.0) } else { lead.rng.range(3.0, 8.0) };
        }
        let gap_m = lead.s_m - ego_m;
        if lead.leave_at_s.is_none() && gap_m < 18.0 {
            lead.leave_at_s = Some(before_a_chunk(time_s + lead.hold_s, chunk_s));
        }
        let leaving = lead.leave_at_s.is_some_and(|at| time_s >= at) || gap_m > 90.0;
        let mut wanted = lead.wanted_mps;
        for (_, sample) in road.between(lead.s_m, lead.s_m + 15.0) {
            wanted = wanted.min(libm::sqrt(2.2 / sample.curvature_1pm.abs().max(1e-4)));
        }
        if leaving {
            wanted = wanted.max(4.0);
            lead.aside_m += 2.5 * dt_s;
        } else if let Some(stop_m) = stop_m {
            wanted = wanted.min(libm::sqrt((2.0 * 2.0 * (stop_m - lead.s_m - 4.0)).max(0.0)));
        }
        lead.acceleration_mps2 = ((wanted - lead.speed_mps) / 0.6).clamp(-3.0, 1.6);
        lead.speed_mps = (lead.speed_mps + lead.acceleration_mps2 * dt_s).max(0.0);
        lead.s_m += lead.speed_mps * dt_s;
        if lead.aside_m > 5.0 || gap_m < -10.0 {
            self.lead = None;
        }
    }

    /// The nearest stop line ahead of `s_m` whose light is not green.
    fn stop_ahead(&self, road: &Road, s_m: f64, time_s: f64) -> Option<f64> {
        road.fixtures()
            .filter(|p| p.s_m > s_m && p.s_m < s_m + 60.0 && matches!(p.what, Fixture::Light { .. }))
            .find(|p| self.light(p, time_s) != Light::Green)
            .map(|p| p.s_m)
    }

    /// The pose of the lead.
    pub(crate) fn lead_pose(&self, road: &Road) -> Option<Pose2> {
        let lead = self.lead.as_ref()?;
        Some(road.at(lead.s_m).pose.compose(&Pose2::new(0.0, -lead.aside_m, 0.0)))
    }
}
