//! `study routes`: the closed loop. The published plan of the policy moves the car along routes of
//! 1 km. References are the expert, its plans, and constant velocity and yaw rate replanned at
//! every chunk.

use super::parallel::Parallel;
use super::route::{Conditions, Driver, KINDS, ROUTE_M, Route, drive};
use super::setup::Study;
use super::stats::{Cluster, mean, ratio};
use crate::table::Table;
use anyhow::Result;
use drivewam::Ride;
use drivewam_world::Violations;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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

/// Tracks of the policy and the expert on one route, as in [`Route::track`].
pub(super) struct Tracks {
    pub(super) seed: u64,
    pub(super) policy: Vec<(f64, f64, bool)>,
    pub(super) expert: Vec<(f64, f64, bool)>,
}

/// The columns of [`summary`]; the first is called `who`.
pub(super) fn columns(who: &str) -> [&str; 11] {
    [
        who,
        "routes without violation",
        "finished",
        "metres before the first violation",
        "violations / km",
        "collisions / km",
        "off road / km",
        "red lights / km",
        "first: lead, pedestrian, off road, red light",
        "walked into while standing",
        "mean speed, m/s",
    ]
}

/// The row of a table, and its figures, of the routes of `name`.
pub(super) fn summary(name: &str, routes: &[&Route]) -> (Vec<String>, Value) {
    let clusters = |of: &dyn Fn(&Route) -> f64| -> Vec<Cluster> { routes.iter().map(|r| Cluster { sum: of(r), count: 1 }).collect() };
    let share = |filter: &dyn Fn(&Route) -> bool| mean(&clusters(&|r| f64::from(u8::from(filter(r)))));
    let (clean, finished) = (share(&Route::is_clean), share(&|r| r.finished));
    let first = mean(&clusters(&|r| r.clean_m));
    let (metres, seconds): (f64, f64) = (routes.iter().map(|r| r.driven_m).sum(), routes.iter().map(|r| r.seconds).sum());
    let rate =
        |count: &dyn Fn(&Violations) -> u32| ratio(&clusters(&|r| f64::from(count(&r.violations))), &clusters(&|r| r.driven_m * 1e-3));
    let rates =
        [rate(&|v| v.collisions + v.off_road + v.red_lights), rate(&|v| v.collisions), rate(&|v| v.off_road), rate(&|v| v.red_lights)];
    let firsts = KINDS.map(|kind| routes.iter().filter(|r| r.first.is_some_and(|first| first.0 == kind)).count());
    let mut stops: BTreeMap<&str, usize> = BTreeMap::new();
    for cause in routes.iter().filter(|r| !r.finished).filter_map(|r| r.minimal_risk) {
        *stops.entry(cause).or_default() += 1;
    }
    let mut speeds: Vec<f64> = routes.iter().filter_map(|r| Some(r.first?.1)).collect();
    speeds.sort_by(f64::total_cmp);
    let median_mps = speeds.get(speeds.len() / 2);
    let mut cells = vec![name.to_owned(), clean.to_string(), format!("{:.2}", finished.value), first.to_string()];
    cells.extend(rates.iter().map(ToString::to_string));
    cells.push(firsts.map(|count| count.to_string()).join(", "));
    let walked_into: u32 = routes.iter().map(|r| r.walked_into).sum();
    cells.extend([walked_into.to_string(), format!("{:.2}", metres / seconds)]);
    let results = json!({"clean": clean.json(), "finished": finished.json(), "km": metres * 1e-3, "clean_m": first.json(),
        "violations_per_km": rates[0].json(), "collisions_per_km": rates[1].json(), "off_road_per_km": rates[2].json(),
        "red_lights_per_km": rates[3].json(), "first_violation": KINDS.iter().zip(firsts).collect::<BTreeMap<_, _>>(),
        "stopped_by": stops, "walked_into": walked_into, "first_violation_median_mps": median_mps, "mean_speed_mps": metres / seconds});
    (cells, results)
}

/// How each route of the policy ended that is not clean.
fn not_clean(routes: &[&Route]) -> Value {
    routes.iter().filter(|route| !route.is_clean()).map(|route| route.json()).collect()
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
        || {
            lanes
                .iter()
                .map(|count| study.following_ride(study.config(&format!("lanes: {{count: {count}}}"))?))
                .collect::<Result<Vec<Ride>>>()
        },
        |rides, i| {
            let mut all = Vec::with_capacity(drivers.len());
            for (_, driver) in &drivers {
                let Some(route) = drive(*driver, rides, first_world + i as u64, &Conditions::default(), parallel.stop)? else {
                    return Ok(None);
                };
                all.push(route);
            }
            Ok(Some(all))
        },
    )?;
    let mut table = Table::new(&columns("driver"));
    let mut json = Map::new();
    for (who, (name, _)) in drivers.iter().enumerate() {
        let driven: Vec<&Route> = routes.iter().map(|all| &all[who]).collect();
        let (cells, mut results) = summary(name, &driven);
        if who < lanes.len() {
            results["not_clean"] = not_clean(&driven);
        }
        table.row(cells);
        json.insert(name.clone(), results);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_lanes_drives_with_a_ride_of_its_own() {
        let drivers = drivers(&[4, 1]);
        assert_eq!(drivers[..2], [("policy, 4 lanes".to_owned(), Driver::Policy(0)), ("policy".to_owned(), Driver::Policy(1))]);
        assert_eq!(drivers.len(), 2 + REFERENCES.len());
    }
}
