//! `study monitors`: which chunks the monitors notice. The expert drives while the ride's camera is
//! its own or a wrong one, so the car moves alike in all cases; then the policy drives, and its
//! camera fails on the way.

use super::args::Args;
use super::parallel::Parallel;
use super::route::{Conditions, Driver, FAULT_FROM_M, Route, drive};
use super::setup::Study;
use super::stats::{Cluster, mean};
use crate::table::Table;
use anyhow::{Context, Result, ensure};
use drivewam::Ride;
use drivewam::guard::{Cause, CauseKind};
use drivewam::outcome::Outcome;
use drivewam_core::manifest::Monitor;
use drivewam_simulation::{CameraFault, CameraSource, FaultKind, SimulationDriver};
use drivewam_world::{Options, TICK_S};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;

/// Length of an expert's drive.
const SECONDS: u64 = 60;
/// A chunk in which the car moved this far shows motion, metres.
const MOVED_M: f64 = 5.0;
/// A drive has turned when its heading differs this much from that at its start, radians.
const TURNED_RAD: f64 = 0.35;
/// A mirrored camera is to be noticed within so many chunks of the first turn, of one lane.
const AFTER_TURN: usize = 3;
/// The monitors judge, whatever the configuration says.
const JUDGING: &str = "guard: {monitors: judge}";
/// The calibrated thresholds let one of so many ordinary chunks pass, per monitor.
const CALIBRATED: f64 = 0.995;

/// A camera that the ride sees through.
struct Case {
    name: String,
    kind: Option<FaultKind>,
    pictures: Vec<Vec<u8>>,
}

/// What the ride said of one chunk.
struct Chunk {
    /// Distance that the car moved during it, metres, and whether it had turned before its end.
    moved_m: f64,
    turned: bool,
    readings: [Option<f64>; 3],
    /// Whether each monitor, and then any check of the inputs, raised a cause.
    raised: [bool; 4],
}

impl Chunk {
    fn is_noticed(&self) -> bool {
        self.raised.contains(&true)
    }
}

/// The index in [`Chunk::raised`] of a cause that says: not as in training.
fn column_of(cause: &Cause) -> Option<usize> {
    match cause.kind {
        CauseKind::Monitor(monitor) => Some(monitor as usize),
        CauseKind::CameraFrozen
        | CauseKind::CameraBlank
        | CauseKind::CameraNoise
        | CauseKind::CameraReversed
        | CauseKind::FieldOfView
        | CauseKind::Untrained(_) => Some(Monitor::ALL.len()),
        _ => None,
    }
}

fn raised(outcome: &Outcome) -> [bool; 4] {
    let mut raised = [false; 4];
    outcome.cause.iter().copied().chain(outcome.degraded.iter()).filter_map(|cause| column_of(&cause)).for_each(|i| raised[i] = true);
    raised
}

/// The cameras that are drawn.
fn drawn() -> [(&'static str, Option<FaultKind>); 9] {
    [
        ("own", None),
        ("grey", Some(FaultKind::Level(128))),
        ("black", Some(FaultKind::Level(0))),
        ("white", Some(FaultKind::Level(255))),
        ("mirrored", Some(FaultKind::Mirrored)),
        ("frozen", Some(FaultKind::Frozen)),
        ("shuffled", Some(FaultKind::Shuffled)),
        ("30° aside", Some(FaultKind::Aside(30f64.to_radians()))),
        ("90° aside", Some(FaultKind::Aside(90f64.to_radians()))),
    ]
}

/// How often each world is driven.
pub(super) fn rounds(args: &Args) -> usize {
    if args.calibrate.is_some() { 1 } else { 2 * (drawn().len() + args.pictures.len()) - 1 }
}

/// The cameras that are drawn, then the pictures of `--pictures`.
fn cases(study: &Study<'_>) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = drawn().into_iter().map(|(name, kind)| Case { name: name.to_owned(), kind, pictures: Vec::new() }).collect();
    let image = study.config("")?.model.image;
    for (name, folder) in study.pictures() {
        let pictures = read_pictures(folder, image.width, image.height)?;
        cases.push(Case { name: name.clone(), kind: Some(FaultKind::Foreign), pictures });
    }
    Ok(cases)
}

/// The pictures of a folder in order of name, cut to the camera's proportions and resized.
fn read_pictures(folder: &Path, width: usize, height: usize) -> Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {folder:?}"))? {
        paths.push(entry?.path());
    }
    paths.sort();
    ensure!(!paths.is_empty(), "{folder:?}: has no picture");
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    paths
        .iter()
        .map(|path| {
            let picture = image::open(path).with_context(|| format!("cannot read {path:?}"))?;
            Ok(picture.resize_to_fill(width, height, image::imageops::FilterType::Triangle).to_rgb8().into_raw())
        })
        .collect()
}

/// Drives the world of `seed` by its expert, and notes what the ride says of each chunk.
fn watch(ride: &mut Ride, case: &Case, seed: u64, parallel: &Parallel<'_>) -> Result<Option<Vec<Chunk>>> {
    let mut feed = SimulationDriver::new(ride.config(), seed, Options::default(), CameraSource::Own)?;
    let pictures = match case.kind {
        Some(FaultKind::Shuffled) => CameraFault::pictures_of(ride.config(), &feed.world, SECONDS),
        _ => case.pictures.clone(),
    };
    feed.fault = case.kind.map(|kind| CameraFault::new(kind, 0, pictures));
    feed.begin(ride);
    ride.release();
    let (span, start) = (ride.config().model.poses(), feed.world.ego().pose);
    let (mut path, mut turned, mut chunks) = (vec![0.0; span], false, Vec::new());
    while feed.tick() <= SECONDS * 10 {
        if parallel.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let ego = feed.world.ego();
        turned |= ego.pose.relative_to(&start).yaw_rad.abs() > TURNED_RAD;
        if feed.is_frame() {
            feed.draw();
        }
        // The first chunk of a rollout shows one frame, and no motion.
        if let Some(outcome) = feed.push(ride)?.filter(|outcome| outcome.chunk > 1) {
            let readings = Monitor::ALL.map(|monitor| Some(outcome.monitors.get(monitor)?.value));
            let moved_m = path.iter().rev().take(span).sum();
            chunks.push(Chunk { moved_m, turned, readings, raised: raised(outcome) });
        }
        path.push(ego.speed_mps * TICK_S);
        feed.step(feed.world.expert());
    }
    Ok(Some(chunks))
}

/// The share of the drives with a turn in which one of the chunks that end within [`AFTER_TURN`]
/// chunks of it is noticed.
fn noticed_after_turn(drives: &[Vec<Chunk>], lanes: usize) -> Option<f64> {
    let turned: Vec<bool> = drives
        .iter()
        .filter_map(|chunks| {
            let turn = chunks.iter().position(|chunk| chunk.turned)?;
            Some(chunks[turn..].iter().take(AFTER_TURN * lanes).any(Chunk::is_noticed))
        })
        .collect();
    (!turned.is_empty()).then(|| turned.iter().filter(|noticed| **noticed).count() as f64 / turned.len() as f64)
}

/// Shares of noticed chunks, and the row of a table, of one case.
fn summary(case: &Case, drives: &[Vec<Chunk>], lanes: usize) -> (Vec<String>, Value) {
    let share = |of: &dyn Fn(&Chunk) -> bool, among: &dyn Fn(&Chunk) -> bool| {
        let clusters: Vec<Cluster> =
            drives.iter().map(|chunks| chunks.iter().filter(|c| among(c)).map(|c| f64::from(u8::from(of(c)))).collect()).collect();
        mean(&clusters)
    };
    let (all, moved) = (|_: &Chunk| true, |chunk: &Chunk| chunk.moved_m >= MOVED_M);
    let noticed = [share(&Chunk::is_noticed, &all), share(&Chunk::is_noticed, &moved)];
    let each: Vec<f64> = (0..4).map(|i| share(&|chunk: &Chunk| chunk.raised[i], &all).value).collect();
    let after_turn = noticed_after_turn(drives, lanes);
    let mut cells = vec![case.name.clone(), noticed[0].to_string(), noticed[1].to_string()];
    cells.extend(each.iter().map(|share| format!("{share:.3}")));
    cells.push(after_turn.map_or("-".to_owned(), |share| format!("{share:.2}")));
    let quantiles: Map<String, Value> = Monitor::ALL
        .into_iter()
        .map(|monitor| {
            let sorted = readings(drives, monitor);
            (monitor.as_str().to_owned(), json!([0.05, 0.5, 0.95, 0.99, CALIBRATED].map(|share| quantile(&sorted, share))))
        })
        .collect();
    let json = json!({"chunks": drives.iter().map(Vec::len).sum::<usize>(), "noticed": noticed[0].json(),
        "noticed_where_moved": noticed[1].json(), "imagination": each[0], "scene": each[1], "lanes": each[2], "inputs": each[3],
        "noticed_after_turn": after_turn, "quantiles_5_50_95_99_995": quantiles});
    (cells, json)
}

/// The numbers of a monitor in all chunks, sorted.
fn readings(drives: &[Vec<Chunk>], monitor: Monitor) -> Vec<f64> {
    let mut sorted: Vec<f64> = drives.iter().flatten().filter_map(|chunk| chunk.readings[monitor as usize]).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1))).copied()
}

/// Runs the part. Writes calibrated thresholds to the file of `--calibrate`.
///
/// # Errors
/// A ride fails; a picture cannot be read; the manifest has no monitor.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>) -> Result<(Value, Table)> {
    let mut constants = study.folder().manifest().monitors;
    ensure!(!constants.is_empty(), "{:?}: the manifest has no `monitors` (wanted: an export with --monitor)", study.folder().path());
    let (cases, lanes) = (cases(study)?, study.config("")?.lanes.count);
    let mut table =
        Table::new(&["camera", "noticed", "... where moved", "imagination", "scene", "lanes", "inputs", "by 3 chunks of a turn"]);
    let (mut results, mut stops) = (Map::new(), Map::new());
    let first_world = study.first_world();
    let kept = if study.calibration().is_some() { 1 } else { cases.len() };
    for case in &cases[..kept] {
        let make = || study.ride(study.config(JUDGING)?);
        let drives = parallel.map(study.worlds, make, |ride, i| watch(ride, case, first_world + i as u64, parallel))?;
        let (cells, json) = summary(case, &drives, lanes);
        table.row(cells);
        results.insert(case.name.clone(), json);
        if let Some(file) = study.calibration().filter(|_| case.kind.is_none()) {
            for monitor in Monitor::ALL {
                let found = quantile(&readings(&drives, monitor), CALIBRATED);
                let threshold =
                    found.with_context(|| format!("monitor {}: judged no chunk (wanted: lanes.count of 2 or more)", monitor.as_str()))?;
                constants.set_threshold(monitor, (threshold * 1e4).ceil() / 1e4);
            }
            std::fs::write(file, serde_saphyr::to_string(&constants)?).with_context(|| format!("cannot write {file:?}"))?;
        }
    }
    if study.calibration().is_none() {
        table.row(["", "stopped", "stopped on the road", "collided", "finished", "", "", ""].map(str::to_owned).to_vec());
        for case in &cases[1..] {
            let make = || Ok([study.following_ride(study.config(JUDGING)?)?]);
            let routes = parallel.map(study.worlds, make, |rides, i| {
                let fault = case.kind.map(|kind| (kind, case.pictures.clone()));
                let conditions = Conditions { fault, ..Conditions::default() };
                drive(Driver::Policy(0), rides, first_world + i as u64, &conditions, parallel.stop)
            })?;
            let (cells, json) = stopped(&case.name, &routes);
            table.row(cells);
            stops.insert(case.name.clone(), json);
        }
    }
    let figures = json!({"worlds": study.worlds, "first_world": first_world, "lanes": lanes, "seconds": SECONDS, "constants": constants,
        "cameras": results, "failing_on_the_way": {"from_m": FAULT_FROM_M, "cameras": stops}});
    Ok((figures, table))
}

/// How routes end on which the camera fails.
fn stopped(name: &str, routes: &[Route]) -> (Vec<String>, Value) {
    let share = |of: &dyn Fn(&Route) -> bool| {
        mean(&routes.iter().map(|route| Cluster { sum: f64::from(u8::from(of(route))), count: 1 }).collect::<Vec<_>>())
    };
    let stopped = share(&|route| route.stopped);
    let on_road = share(&|route| route.stopped && route.violations.off_road == 0);
    let collided = share(&|route| route.violations.collisions > 0);
    let finished = share(&|route| route.finished);
    let mut cells = vec![format!("{name}, from {FAULT_FROM_M:.0} m on")];
    cells.extend([stopped, on_road, collided, finished].map(|share| share.to_string()));
    cells.extend(["", "", ""].map(str::to_owned));
    (
        cells,
        json!({"stopped": stopped.json(), "stopped_on_the_road": on_road.json(), "collided": collided.json(), "finished": finished.json()}),
    )
}
