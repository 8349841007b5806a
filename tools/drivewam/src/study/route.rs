//! One route of 1 km in closed loop, under given conditions.

use super::judgement::Judgement;
use anyhow::Result;
use drivewam::Ride;
use drivewam::guard::Verdict;
use drivewam_core::action::{Increment, increments};
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_simulation::{CameraFault, FaultKind, SimulationDriver};
use drivewam_world::{Follower, Options, TICK_S, Violations};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// Length of a route, metres.
pub(super) const ROUTE_M: f64 = 1000.0;
/// A route that takes longer counts as not finished: the car stands where it should not.
const TIMEOUT_S: f64 = 600.0;
/// At this distance from the route the drive ends, as on the CARLA leaderboard.
const MAX_DEVIATION_M: f64 = 30.0;
/// Where on a route the camera fails, metres.
pub(super) const FAULT_FROM_M: f64 = 300.0;
/// A car that is asked for minimal risk and stands for so many ticks has stopped.
const STOPPED_TICKS: u64 = 20;
/// Below this speed a car stands, m/s.
const STANDS_MPS: f64 = 0.1;
/// What the pictures of a failed camera show is this long, seconds.
const PICTURES_S: u64 = 60;

/// What a route is driven in.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    pub(super) world: Options,
    /// Every so many frames one is lost; 0 for none.
    pub(super) lost_every: u64,
    /// Ticks from a plan's newest frame until the car follows it.
    pub(super) latency_ticks: u64,
    /// How the camera fails at [`FAULT_FROM_M`], and the pictures that it then shows.
    pub(super) fault: Option<(FaultKind, Vec<Vec<u8>>)>,
}

/// Who moves the car.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    /// The policy, with the ride of this index.
    Policy(usize),
    /// The expert, at every tick.
    Expert,
    /// The expert's plan of 4 s, followed like the policy's: the best that planning by chunks can
    /// reach.
    ExpertPlan,
    /// The same, made as if all others kept doing what they do: the best without knowing the
    /// future. Seconds between plans.
    NoForesight(u64),
    Constant,
}

/// The result of one route.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// Seed of the world.
    pub(super) seed: u64,
    /// Progress along the route.
    pub(super) progress_m: f64,
    /// Distance driven, on or off the route.
    pub(super) driven_m: f64,
    pub(super) seconds: f64,
    /// Distance driven from the start to the first violation.
    pub(super) clean_m: f64,
    pub(super) finished: bool,
    /// Whether the drive ended in a minimal-risk stop after the camera failed.
    pub(super) stopped: bool,
    /// The cause of the minimal risk that was asked for at the end.
    pub(super) minimal_risk: Option<&'static str>,
    pub(super) violations: Violations,
    /// Contacts in which the car stood.
    pub(super) walked_into: u32,
    /// How often the car had left its road when the camera failed.
    pub(super) off_road_before: u32,
    /// The first violation, and the speed then, m/s.
    pub(super) first: Option<(&'static str, f64)>,
    /// Position of the car every second, (x m, y m), and whether a new violation happened since the
    /// previous one.
    pub(super) track: Vec<(f64, f64, bool)>,
    /// What the ride said of each of the policy's chunks.
    pub(super) judgements: Vec<Judgement>,
}

impl Route {
    pub(super) fn is_clean(&self) -> bool {
        self.finished && self.violations == Violations::default()
    }

    /// How the route ended, for those who want to drive it again.
    pub(super) fn json(&self) -> Value {
        json!({"world": self.seed, "finished": self.finished, "progress_m": self.progress_m, "seconds": self.seconds,
            "clean_m": self.clean_m, "first_violation": self.first.map(|(kind, _)| kind),
            "first_violation_mps": self.first.map(|(_, speed_mps)| speed_mps),
            "stopped_by": self.minimal_risk.filter(|_| !self.finished)})
    }
}

/// A plan, and the tick at which it was made.
type MadePlan = (u64, Follower);

/// What a first violation is called.
pub(super) const KINDS: [&str; 4] = ["lead", "pedestrian", "off road", "red light"];

/// The kind of the violations of a tick, the gravest first.
fn kind_of(now: &Violations) -> &'static str {
    match now {
        Violations { pedestrians: 1.., .. } => KINDS[1],
        Violations { collisions: 1.., .. } => KINDS[0],
        Violations { off_road: 1.., .. } => KINDS[2],
        _ => KINDS[3],
    }
}

/// Drives the world of `seed` until the end of the route, the timeout or the maximum deviation.
/// Returns `None` when `stop` was set meanwhile.
///
/// # Errors
/// The ride fails.
pub(super) fn drive(driver: Driver, rides: &mut [Ride], seed: u64, conditions: &Conditions, stop: &AtomicBool) -> Result<Option<Route>> {
    let ride = &mut rides[if let Driver::Policy(i) = driver { i } else { 0 }];
    let model = ride.config().model.clone();
    let mut simulation = SimulationDriver::new(ride.config(), seed, conditions.world)?;
    simulation.lost_every = conditions.lost_every;
    let mut route = Route {
        seed,
        progress_m: 0.0,
        driven_m: 0.0,
        seconds: 0.0,
        clean_m: 0.0,
        finished: false,
        stopped: false,
        minimal_risk: None,
        violations: Violations::default(),
        walked_into: 0,
        off_road_before: 0,
        first: None,
        track: Vec::new(),
        judgements: Vec::new(),
    };
    // The second waits for its latency to pass.
    let (mut plan, mut next): (Option<MadePlan>, Option<MadePlan>) = (None, None);
    simulation.begin(ride);
    ride.release();
    let mut standing = 0;
    let start_m = simulation.world.place().0;
    while !route.stopped && route.progress_m < ROUTE_M && route.seconds < TIMEOUT_S && simulation.world.place().1.abs() < MAX_DEVIATION_M {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (tick, ego) = (simulation.tick(), simulation.world.ego());
        if let Some((kind, pictures)) = conditions.fault.as_ref().filter(|_| simulation.fault.is_none() && route.progress_m >= FAULT_FROM_M)
        {
            let pictures = match kind {
                FaultKind::Shuffled => CameraFault::pictures_of(ride.config(), &simulation.world, PICTURES_S),
                _ => pictures.clone(),
            };
            simulation.fault = Some(CameraFault::new(*kind, tick, pictures));
            route.off_road_before = simulation.world.violations().off_road;
        }
        if tick.is_multiple_of(10) {
            route.track.push((ego.pose.x_m, ego.pose.y_m, simulation.world.violations() != route.violations));
            route.violations = simulation.world.violations();
        }
        match driver {
            Driver::Expert => {}
            Driver::Constant | Driver::ExpertPlan | Driver::NoForesight(_) => {
                let every = if let Driver::NoForesight(seconds) = driver { seconds * 10 } else { model.poses() as u64 };
                if tick.is_multiple_of(every) {
                    let mut trajectory = Trajectory::new(model.poses(), model.pose_period_ns())?;
                    let poses = match driver {
                        Driver::ExpertPlan => Some(simulation.world.plan(model.poses())),
                        Driver::NoForesight(_) => Some(simulation.world.plan_without_foresight(model.poses())),
                        _ => None,
                    };
                    if let Some(poses) = poses {
                        let mut steps = vec![Increment::default(); model.poses()];
                        increments(&Pose2::default(), &poses, &mut steps)?;
                        trajectory.set_increments(&steps)?;
                    } else {
                        trajectory.set_constant(ego.speed_mps, ego.speed_mps * ego.curvature_1pm);
                    }
                    plan = Some((tick, Follower::new(ego.pose, trajectory)));
                }
            }
            Driver::Policy(_) => {
                if simulation.is_frame() {
                    simulation.draw();
                }
                if let Some(outcome) = simulation.push(ride)? {
                    let cause = outcome.cause.map_or("", |cause| cause.as_str());
                    let is_minimal_risk = outcome.verdict == Verdict::MinimalRisk;
                    // Of a stop under way the first cause.
                    route.minimal_risk = is_minimal_risk.then(|| route.minimal_risk.unwrap_or(cause));
                    route.judgements.extend(Judgement::of(outcome));
                    next = Some((tick, Follower::new(ego.pose, outcome.published.clone())));
                }
                if let Some(due) = next.take_if(|(made, _)| tick >= *made + conditions.latency_ticks) {
                    plan = Some(due);
                }
            }
        }
        simulation.step(match &plan {
            Some((since, plan)) => plan.control((tick - since) as f64 * TICK_S, &ego),
            None => simulation.world.expert(),
        });
        route.driven_m += simulation.world.ego().speed_mps * TICK_S;
        match simulation.world.violations() {
            none if none == Violations::default() => route.clean_m = route.driven_m,
            some => _ = route.first.get_or_insert((kind_of(&some), simulation.world.ego().speed_mps)),
        }
        route.progress_m = simulation.world.place().0 - start_m;
        let stands = simulation.fault.is_some() && route.minimal_risk.is_some() && simulation.world.ego().speed_mps < STANDS_MPS;
        standing = if stands { standing + 1 } else { 0 };
        route.stopped = standing >= STOPPED_TICKS;
        route.seconds = simulation.world.time_s();
    }
    route.violations = simulation.world.violations();
    route.walked_into = simulation.world.walked_into();
    route.finished = route.progress_m >= ROUTE_M;
    Ok(Some(route))
}
