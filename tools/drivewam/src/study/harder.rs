//! `study harder`: the closed loop in worlds that training has not seen. The monitors stop nobody
//! here, so that the policy is measured; beside it stands how often they would be raised.

use super::monitors::noticed;
use super::parallel::Parallel;
use super::route::{Conditions, Driver, drive};
use super::routes::{columns, summary};
use super::setup::{REPORTING, Study};
use crate::table::Table;
use anyhow::Result;
use drivewam_world::{Options, Palette};
use serde_json::{Map, Value, json};

/// The conditions, by name.
fn conditions() -> Vec<(&'static str, Conditions)> {
    let world = |change: fn(&mut Options)| {
        let mut conditions = Conditions::default();
        change(&mut conditions.world);
        conditions
    };
    vec![
        ("as in training", Conditions::default()),
        ("night", world(|world| world.palette = Palette::Night)),
        ("rain", world(|world| world.palette = Palette::Rain)),
        ("camera 0.3 m to the left", world(|world| world.camera_offset_m = [0.3, 0.0])),
        ("camera 0.3 m higher", world(|world| world.camera_offset_m = [0.0, 0.3])),
        ("every tenth frame is lost", Conditions { lost_every: 10, ..Conditions::default() }),
        ("100 ms until a plan is followed", Conditions { latency_ticks: 1, ..Conditions::default() }),
        ("steering follows with a lag of 0.3 s", world(|world| world.steering_lag_s = 0.3)),
    ]
}

/// How many conditions there are.
pub(super) fn count() -> usize {
    conditions().len()
}

/// Runs the part.
///
/// # Errors
/// A ride fails.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>) -> Result<(Value, Table)> {
    let columns = columns("conditions");
    let mut table = Table::new(&columns.into_iter().chain(["raised monitors, of chunks"]).collect::<Vec<_>>());
    let (mut results, mut worlds) = (Map::new(), 0);
    for (name, conditions) in conditions() {
        let routes = parallel.map(
            study.worlds,
            || Ok([study.following_ride(study.config(REPORTING)?)?]),
            |rides, i| drive(Driver::Policy(0), rides, study.first_world() + i as u64, &conditions, parallel.stop),
        )?;
        worlds = routes.len();
        let (mut cells, mut figures) = summary(name, &routes.iter().collect::<Vec<_>>());
        let noticed = noticed(&routes);
        cells.push(noticed.to_string());
        figures["raised_monitors"] = noticed.json();
        table.row(cells);
        results.insert(name.to_owned(), figures);
    }
    let lanes = study.config("")?.lanes.count;
    Ok((json!({"worlds": worlds, "first_world": study.first_world(), "lanes": lanes, "conditions": results}), table))
}
