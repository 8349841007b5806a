//! `study routes`: the closed loop. The published plan of the policy moves the car along routes of
//! 1 km. References are the expert, its plans, and constant velocity and yaw rate replanned at
//! every chunk.

use super::parallel::Parallel;
use super::setup::Study;
use super::stats::{Cluster, mean, ratio};
use crate::table::Table;
use anyhow::Result;
use drivewam::Ride;
use drivewam_core::action::{Increment, increments};
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_simulation::{CameraSource, SimulationDriver};
use drivewam_world::{Follower, Options, TICK_S, Violations};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Length of a route, metres.
const ROUTE_M: f64 = 1000.0;
/// A route that takes longer counts as not finished: the car stands where it should not.
const TIMEOUT_S: f64 = 600.0;
/// At this distance from the route the drive ends, as on the CARLA leaderboard.
const MAX_DEVIATION_M: f64 = 30.0;

/// Who moves the car.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
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

/// Beside the policy.
const REFERENCES: [(&str, Driver); 5] = [
    ("expert", Driver::Expert),
    ("expert's plan", Driver::ExpertPlan),
    ("expert's plan without foresight", Driver::NoForesight(4)),
    ("... replanned every second", Driver::NoForesight(1)),
    ("constant velocity and yaw rate", Driver::Constant),
];

/// The policy with each number of lanes, then the references.
fn drivers(lanes: &[usize]) -> Vec<(String, Driver)> {
    let policy = lanes.iter().enumerate().map(|(i, count)| match count {
        1 => ("policy".to_owned(), Driver::Policy(i)),
        count => (format!("policy, {count} lanes"), Driver::Policy(i)),
    });
    policy.chain(REFERENCES.map(|(name, driver)| (name.to_owned(), driver))).collect()
}

/// The result of one route.
#[derive(Debug, Clone)]
struct Route {
    /// Progress along the route.
    progress_m: f64,
    /// Distance driven, on or off the route.
    driven_m: f64,
    seconds: f64,
    /// Distance driven from the start to the first violation.
    clean_m: f64,
    finished: bool,
    violations: Violations,
    /// The first violation, and the speed then, m/s.
    first: Option<(&'static str, f64)>,
    /// Position of the car every second, (x m, y m), and whether a new violation happened since the
    /// previous one.
    track: Vec<(f64, f64, bool)>,
}

impl Route {
    fn is_clean(&self) -> bool {
        self.finished && self.violations == Violations::default()
    }
}

/// What a first violation is called.
const KINDS: [&str; 4] = ["lead", "pedestrian", "off road", "red light"];

/// The kind of the violations of a tick, the gravest first.
fn kind_of(now: &Violations) -> &'static str {
    match now {
        Violations { pedestrians: 1.., .. } => KINDS[1],
        Violations { collisions: 1.., .. } => KINDS[0],
        Violations { off_road: 1.., .. } => KINDS[2],
        _ => KINDS[3],
    }
}

/// Tracks of the policy and the expert on one route, as in [`Route::track`].
pub(super) struct Tracks {
    pub(super) seed: u64,
    pub(super) policy: Vec<(f64, f64, bool)>,
    pub(super) expert: Vec<(f64, f64, bool)>,
}

/// Drives the world of `seed` until the end of the route, the timeout or the maximum deviation.
/// Returns `None` when `stop` was set meanwhile.
fn drive(driver: Driver, rides: &mut [Ride], seed: u64, stop: &AtomicBool) -> Result<Option<Route>> {
    let ride = &mut rides[if let Driver::Policy(i) = driver { i } else { 0 }];
    let model = ride.config().model.clone();
    let mut feed = SimulationDriver::new(ride.config(), seed, Options::default(), CameraSource::Own)?;
    let mut route = Route {
        progress_m: 0.0,
        driven_m: 0.0,
        seconds: 0.0,
        clean_m: 0.0,
        finished: false,
        violations: Violations::default(),
        first: None,
        track: Vec::new(),
    };
    let mut plan: Option<(u64, Follower)> = None;
    feed.begin(ride);
    let start_m = feed.world.place().0;
    while route.progress_m < ROUTE_M && route.seconds < TIMEOUT_S && feed.world.place().1.abs() < MAX_DEVIATION_M {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (tick, ego) = (feed.tick(), feed.world.ego());
        if tick.is_multiple_of(10) {
            route.track.push((ego.pose.x_m, ego.pose.y_m, feed.world.violations() != route.violations));
            route.violations = feed.world.violations();
        }
        match driver {
            Driver::Expert => {}
            Driver::Constant | Driver::ExpertPlan | Driver::NoForesight(_) => {
                let every = if let Driver::NoForesight(seconds) = driver { seconds * 10 } else { model.poses() as u64 };
                if tick.is_multiple_of(every) {
                    let mut trajectory = Trajectory::new(model.poses(), model.pose_period_ns())?;
                    let poses = match driver {
                        Driver::ExpertPlan => Some(feed.world.plan(model.poses())),
                        Driver::NoForesight(_) => Some(feed.world.plan_without_foresight(model.poses())),
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
                if feed.is_frame() {
                    feed.draw();
                }
                if let Some(outcome) = feed.push(ride)? {
                    plan = Some((tick, Follower::new(ego.pose, outcome.published.clone())));
                }
            }
        }
        feed.step(match &plan {
            Some((since, plan)) => plan.control((tick - since) as f64 * TICK_S, &ego),
            None => feed.world.expert(),
        });
        route.driven_m += feed.world.ego().speed_mps * TICK_S;
        match feed.world.violations() {
            none if none == Violations::default() => route.clean_m = route.driven_m,
            some => _ = route.first.get_or_insert((kind_of(&some), feed.world.ego().speed_mps)),
        }
        route.progress_m = feed.world.place().0 - start_m;
        route.seconds = feed.world.time_s();
    }
    route.violations = feed.world.violations();
    route.finished = route.progress_m >= ROUTE_M;
    Ok(Some(route))
}

/// Runs the part. Also returns the tracks of the first routes, for the image.
///
/// # Errors
/// A ride fails.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>) -> Result<(Value, Table, Vec<Tracks>)> {
    let (lanes, first_world) = (study.lanes()?, study.first_world());
    let drivers = drivers(&lanes);
    let routes = parallel.map(
        study.worlds,
        || lanes.iter().map(|count| study.ride(study.config(&format!("lanes: {{count: {count}}}"))?)).collect::<Result<Vec<Ride>>>(),
        |rides, i| {
            let mut all = Vec::with_capacity(drivers.len());
            for (_, driver) in &drivers {
                let Some(route) = drive(*driver, rides, first_world + i as u64, parallel.stop)? else { return Ok(None) };
                all.push(route);
            }
            Ok(Some(all))
        },
    )?;
    let mut table = Table::new(&[
        "driver",
        "routes without violation",
        "finished",
        "metres before the first violation",
        "violations / km",
        "collisions / km",
        "off road / km",
        "red lights / km",
        "first: lead, pedestrian, off road, red light",
        "mean speed, m/s",
    ]);
    let mut json = Map::new();
    for (who, (name, _)) in drivers.iter().enumerate() {
        let share = |filter: &dyn Fn(&Route) -> bool| -> Vec<Cluster> {
            routes.iter().map(|r| Cluster { sum: f64::from(u8::from(filter(&r[who]))), count: 1 }).collect()
        };
        let clean = mean(&share(&Route::is_clean));
        let finished = mean(&share(&|r| r.finished));
        let first = mean(&routes.iter().map(|r| Cluster { sum: r[who].clean_m, count: 1 }).collect::<Vec<_>>());
        let metres: f64 = routes.iter().map(|r| r[who].driven_m).sum();
        let seconds: f64 = routes.iter().map(|r| r[who].seconds).sum();
        let rate = |filter: &dyn Fn(&Violations) -> u32| {
            let counts = routes.iter().map(|r| Cluster { sum: f64::from(filter(&r[who].violations)), count: 1 }).collect::<Vec<_>>();
            let km = routes.iter().map(|r| Cluster { sum: r[who].driven_m * 1e-3, count: 1 }).collect::<Vec<_>>();
            ratio(&counts, &km)
        };
        let rates =
            [rate(&|v| v.collisions + v.off_road + v.red_lights), rate(&|v| v.collisions), rate(&|v| v.off_road), rate(&|v| v.red_lights)];
        let firsts = KINDS.map(|kind| routes.iter().filter(|r| r[who].first.is_some_and(|first| first.0 == kind)).count());
        let mut speeds: Vec<f64> = routes.iter().filter_map(|r| Some(r[who].first?.1)).collect();
        speeds.sort_by(f64::total_cmp);
        let median_mps = speeds.get(speeds.len() / 2);
        let mut cells = vec![name.clone(), clean.to_string(), format!("{:.2}", finished.value), first.to_string()];
        cells.extend(rates.iter().map(ToString::to_string));
        cells.push(firsts.map(|count| count.to_string()).join(", "));
        cells.push(format!("{:.2}", metres / seconds));
        table.row(cells);
        json.insert(
            name.clone(),
            json!({"clean": clean.json(), "finished": finished.json(), "km": metres * 1e-3, "clean_m": first.json(),
                "violations_per_km": rates[0].json(), "collisions_per_km": rates[1].json(), "off_road_per_km": rates[2].json(),
                "red_lights_per_km": rates[3].json(), "first_violation": KINDS.iter().zip(firsts).collect::<BTreeMap<_, _>>(),
                "first_violation_median_mps": median_mps, "mean_speed_mps": metres / seconds}),
        );
    }
    let worlds = routes.len();
    let tracks = routes
        .into_iter()
        .zip(first_world..)
        .take(12)
        .filter_map(|(all, seed)| Some(Tracks { seed, policy: all.first()?.track.clone(), expert: all.get(lanes.len())?.track.clone() }))
        .collect();
    Ok((json!({"worlds": worlds, "first_world": first_world, "route_m": ROUTE_M, "drivers": json}), table, tracks))
}
