//! `study routes`: the closed loop. The policy's published plan moves the car along routes of one kilometre, beside the expert and beside constant
//! velocity and yaw rate planned anew at every chunk.

use super::crew::Crew;
use super::stats::{Cluster, mean, ratio};
use super::{Study, Table};
use anyhow::Result;
use drivewam::Ride;
use drivewam_core::action::{Increment, increments};
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_simulation::{CameraSource, SimulationDriver};
use drivewam_world::{Follower, Options, TICK_S, Violations};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// Length of a route.
const ROUTE_M: f64 = 1000.0;
/// A route that takes longer has not been finished: the car stands where it should not.
const PATIENCE_S: f64 = 600.0;
/// Farther than this from the route the car is lost, and the drive ends (as on the CARLA leaderboard).
const LOST_M: f64 = 30.0;

/// Who drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    Policy,
    /// Every tick.
    Expert,
    /// The expert's plan of 4 s, followed as the policy's is: what planning by chunks can reach.
    ExpertPlan,
    /// The same, as if nobody changed what they do: what planning can reach that does not know what comes. Seconds from plan to plan.
    NoForesight(u64),
    Constant,
}

const DRIVERS: [(&str, Driver); 6] = [
    ("policy", Driver::Policy),
    ("expert", Driver::Expert),
    ("expert's plan", Driver::ExpertPlan),
    ("expert's plan without foresight", Driver::NoForesight(4)),
    ("... anew every second", Driver::NoForesight(1)),
    ("constant velocity and yaw rate", Driver::Constant),
];

/// How one route went.
#[derive(Debug, Clone)]
struct Route {
    /// Along the route.
    metres: f64,
    /// Wherever it led.
    driven_m: f64,
    seconds: f64,
    /// Driven without any violation, from the start.
    clean_m: f64,
    finished: bool,
    violations: Violations,
    /// Where the car was every second, and whether it had a new violation then.
    track: Vec<(f64, f64, bool)>,
}

impl Route {
    fn is_clean(&self) -> bool {
        self.finished && self.violations == Violations::default()
    }
}

/// Tracks of the policy and of the expert on one route: places every second, and whether something had gone wrong.
pub(super) struct Tracks {
    pub(super) seed: usize,
    pub(super) policy: Vec<(f64, f64, bool)>,
    pub(super) expert: Vec<(f64, f64, bool)>,
}

/// Drives `seed` until the route's end, or until patience ends.
fn drive(driver: Driver, ride: &mut Ride, seed: u64, stop: &AtomicBool) -> Result<Option<Route>> {
    let model = ride.config().model.clone();
    let mut feed = SimulationDriver::new(&model, seed, Options::default(), CameraSource::Own)?;
    let mut route = Route {
        metres: 0.0,
        driven_m: 0.0,
        seconds: 0.0,
        clean_m: 0.0,
        finished: false,
        violations: Violations::default(),
        track: Vec::new(),
    };
    let mut plan: Option<(u64, Follower)> = None;
    feed.begin(ride);
    let begun_m = feed.world.place().0;
    while route.metres < ROUTE_M && route.seconds < PATIENCE_S && feed.world.place().1.abs() < LOST_M {
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
            Driver::Policy => {
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
        if feed.world.violations() == Violations::default() {
            route.clean_m = route.driven_m;
        }
        route.metres = feed.world.place().0 - begun_m;
        route.seconds = feed.world.time_s();
    }
    route.violations = feed.world.violations();
    route.finished = route.metres >= ROUTE_M;
    Ok(Some(route))
}

/// Runs it. Also returns the tracks of the first routes, for the picture.
///
/// # Errors
/// Of a ride.
pub(super) fn run(study: &Study<'_>, crew: &Crew<'_>) -> Result<(Value, Table, Vec<Tracks>)> {
    let routes = crew.each(
        study.worlds,
        || study.ride(study.config("")?),
        |ride, seed| {
            let mut all = Vec::with_capacity(DRIVERS.len());
            for (_, driver) in DRIVERS {
                let Some(route) = drive(driver, ride, seed as u64, crew.stop)? else { return Ok(None) };
                all.push(route);
            }
            Ok(Some(all))
        },
    )?;
    let mut table = Table::new(&[
        "driver",
        "routes without any",
        "finished",
        "metres before the first",
        "collisions / km",
        "off road / km",
        "red lights / km",
        "mean speed, m/s",
    ]);
    let mut json = Map::new();
    for (who, (name, _)) in DRIVERS.iter().enumerate() {
        let share = |pick: &dyn Fn(&Route) -> bool| -> Vec<Cluster> {
            routes.iter().map(|r| Cluster { sum: f64::from(u8::from(pick(&r[who]))), count: 1 }).collect()
        };
        let clean = mean(&share(&Route::is_clean));
        let finished = mean(&share(&|r| r.finished));
        let first = mean(&routes.iter().map(|r| Cluster { sum: r[who].clean_m, count: 1 }).collect::<Vec<_>>());
        let metres: f64 = routes.iter().map(|r| r[who].driven_m).sum();
        let seconds: f64 = routes.iter().map(|r| r[who].seconds).sum();
        let rate = |pick: &dyn Fn(&Violations) -> u32| {
            let counts = routes.iter().map(|r| Cluster { sum: f64::from(pick(&r[who].violations)), count: 1 }).collect::<Vec<_>>();
            let km = routes.iter().map(|r| Cluster { sum: r[who].driven_m * 1e-3, count: 1 }).collect::<Vec<_>>();
            ratio(&counts, &km)
        };
        let rates = [rate(&|v| v.collisions), rate(&|v| v.off_road), rate(&|v| v.red_lights)];
        let mut cells = vec![(*name).to_owned(), clean.to_string(), format!("{:.2}", finished.value), first.to_string()];
        cells.extend(rates.iter().map(ToString::to_string));
        cells.push(format!("{:.2}", metres / seconds));
        table.row(cells);
        json.insert(
            (*name).to_owned(),
            json!({"clean": clean.json(), "finished": finished.json(), "km": metres * 1e-3, "clean_m": first.json(), "collisions_per_km": rates[0].json(),
                "off_road_per_km": rates[1].json(), "red_lights_per_km": rates[2].json(), "mean_speed_mps": metres / seconds}),
        );
    }
    let worlds = routes.len();
    let tracks = routes
        .into_iter()
        .enumerate()
        .take(12)
        .filter_map(|(seed, all)| {
            let [policy, expert, ..]: [Route; 6] = all.try_into().ok()?;
            Some(Tracks { seed, policy: policy.track, expert: expert.track })
        })
        .collect();
    Ok((json!({"worlds": worlds, "route_m": ROUTE_M, "who": json}), table, tracks))
}
