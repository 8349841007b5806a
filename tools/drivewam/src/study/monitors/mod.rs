//! `study monitors`: which chunks the monitors notice. The expert drives while the ride's camera is
//! its own or a wrong one, so the car moves alike in all cases; then the policy drives, with its
//! own camera and with one that fails on the way.

mod calibration;
mod cameras;
mod drives;
mod watch;

use super::args::Args;
use super::parallel::Parallel;
use super::route::{FAULT_FROM_M, Route};
use super::setup::{JUDGING, Study};
use super::stats::{Cluster, Estimate, mean};
use crate::table::Table;
use anyhow::{Result, ensure};
use cameras::{Case, cases, drawn};
use drives::{expert_drives, policy_drives};
use drivewam_core::manifest::Monitor;
use serde_json::{Map, Value, json};
use watch::{Chunk, SECONDS};

/// A chunk in which the car moved this far shows motion, metres.
const MOVED_M: f64 = 5.0;
/// A mirrored camera is to be noticed within so many chunks of the first turn, of one lane.
const AFTER_TURN: usize = 3;

/// How often each world is driven.
pub(super) fn rounds(args: &Args) -> usize {
    if args.calibrate.is_some() { calibration::ROUNDS } else { 2 * (drawn().len() + args.pictures.len()) }
}

/// Runs the part. Writes calibrated thresholds to the file of `--calibrate`.
///
/// # Errors
/// A ride fails; a picture cannot be read; the manifest has no monitor.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>) -> Result<(Value, Table)> {
    let constants = study.bundle().manifest().monitors;
    ensure!(!constants.is_empty(), "{:?}: the manifest has no `monitors` (wanted: an export with --monitor)", study.bundle().path());
    if let Some(file) = study.calibration() {
        return calibration::run(study, parallel, constants, file);
    }
    let (cases, lanes) = (cases(study)?, study.config("")?.lanes.count);
    let mut table =
        Table::new(&["camera", "noticed", "... where moved", "imagination", "scene", "lanes", "inputs", "by 3 chunks of a turn"]);
    let (mut results, mut routes) = (Map::new(), Map::new());
    for case in &cases {
        let (cells, json) = summary(case, &expert_drives(study, parallel, case, JUDGING)?, lanes);
        table.row(cells);
        results.insert(case.name.clone(), json);
    }
    let heading = ["the policy drives", "stopped", "stopped on the road", "collided", "finished", "noticed", "", ""];
    table.row(heading.map(str::to_owned).to_vec());
    for case in &cases {
        let (cells, json) = ends(case, &policy_drives(study, parallel, case, JUDGING)?);
        table.row(cells);
        routes.insert(case.name.clone(), json);
    }
    let figures = json!({"worlds": study.worlds, "first_world": study.first_world(), "lanes": lanes, "seconds": SECONDS,
        "constants": constants, "cameras": results, "routes": {"failing_from_m": FAULT_FROM_M, "cameras": routes}});
    Ok((figures, table))
}

/// The share of those of the items `among` which are `of`; each drive is a cluster.
fn share<T>(drives: impl Iterator<Item = impl Iterator<Item = T>>, of: impl Fn(&T) -> bool, among: impl Fn(&T) -> bool) -> Estimate {
    let clusters: Vec<Cluster> = drives.map(|items| items.filter(&among).map(|item| f64::from(u8::from(of(&item)))).collect()).collect();
    mean(&clusters)
}

/// The share of the drives with a turn in which one of the chunks that end within [`AFTER_TURN`]
/// chunks of it is noticed.
fn noticed_after_turn(drives: &[Vec<Chunk>], lanes: usize) -> Option<f64> {
    let turned: Vec<bool> = drives
        .iter()
        .filter_map(|chunks| {
            let turn = chunks.iter().position(|chunk| chunk.turned)?;
            Some(chunks[turn..].iter().take(AFTER_TURN * lanes).any(|chunk| chunk.judgement.is_noticed()))
        })
        .collect();
    (!turned.is_empty()).then(|| turned.iter().filter(|noticed| **noticed).count() as f64 / turned.len() as f64)
}

/// Shares of noticed chunks, and the row of a table, of one case.
fn summary(case: &Case, drives: &[Vec<Chunk>], lanes: usize) -> (Vec<String>, Value) {
    let chunks = || drives.iter().map(|chunks| chunks.iter());
    let noticed = |least_m: f64| share(chunks(), |chunk| chunk.judgement.is_noticed(), |chunk| chunk.moved_m >= least_m);
    let (all, moved) = (noticed(0.0), noticed(MOVED_M));
    let each: Vec<f64> = (0..4).map(|column| share(chunks(), |chunk| chunk.judgement.raised[column], |_| true).value).collect();
    let after_turn = noticed_after_turn(drives, lanes);
    let mut cells = vec![case.name.clone(), all.to_string(), moved.to_string()];
    cells.extend(each.iter().map(|share| format!("{share:.3}")));
    cells.push(after_turn.map_or("-".to_owned(), |share| format!("{share:.2}")));
    let quantiles: Map<String, Value> = Monitor::ALL
        .into_iter()
        .map(|monitor| {
            let sorted = calibration::readings(drives.iter().flatten().map(|chunk| &chunk.judgement), monitor);
            (monitor.as_str().to_owned(), json!([0.05, 0.5, 0.95, 0.99].map(|share| calibration::quantile(&sorted, share))))
        })
        .collect();
    let json = json!({"chunks": drives.iter().map(Vec::len).sum::<usize>(), "noticed": all.json(),
        "noticed_where_moved": moved.json(), "imagination": each[0], "scene": each[1], "lanes": each[2], "inputs": each[3],
        "noticed_after_turn": after_turn, "quantiles_5_50_95_99": quantiles});
    (cells, json)
}

/// The share of the chunks of `routes` that are noticed.
pub(super) fn noticed(routes: &[Route]) -> Estimate {
    share(routes.iter().map(|route| route.judgements.iter()), |judgement| judgement.is_noticed(), |_| true)
}

/// How the routes of one case end, and the row of a table. With the ride's own camera, a route
/// counts as stopped if a monitor stopped the car on it at all.
fn ends(case: &Case, routes: &[Route]) -> (Vec<String>, Value) {
    let of = |is: &dyn Fn(&Route) -> bool| share(routes.iter().map(std::iter::once), |route| is(route), |_| true);
    let is_stopped = |route: &Route| route.stopped || (case.kind.is_none() && route.judgements.iter().any(|judgement| judgement.stops));
    let stopped = of(&is_stopped);
    let on_road = of(&|route| is_stopped(route) && route.violations.off_road == route.off_road_before);
    let collided = of(&|route| route.violations.collisions > 0);
    let finished = of(&|route| route.finished);
    let noticed = noticed(routes);
    let name = if case.kind.is_some() { format!("{}, from {FAULT_FROM_M:.0} m on", case.name) } else { case.name.clone() };
    let mut cells = vec![name];
    cells.extend([stopped, on_road, collided, finished, noticed].map(|share| share.to_string()));
    cells.extend(["", ""].map(str::to_owned));
    (
        cells,
        json!({"stopped": stopped.json(), "stopped_on_the_road": on_road.json(), "collided": collided.json(),
            "finished": finished.json(), "noticed": noticed.json()}),
    )
}
