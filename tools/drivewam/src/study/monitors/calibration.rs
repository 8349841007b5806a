//! Where the limits of the monitors lie, from drives with the ride's own camera: the expert's, and
//! those of the policy itself, which meets states that the expert never shows it.

use super::super::judgement::Judgement;
use super::super::parallel::Parallel;
use super::super::setup::{REPORTING, Study};
use super::cameras::Case;
use super::drives::{expert_drives, policy_drives};
use crate::table::Table;
use anyhow::{Context, Result, bail};
use drivewam::guard::causes::REFUSED_DOUBTS;
use drivewam_core::manifest::{Monitor, Monitors};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;

/// How often each world is driven.
pub(super) const ROUNDS: usize = 2;
/// The limits let one of so many ordinary chunks pass, per monitor.
const CHUNKS: f64 = 0.995;
/// A monitor stops the car in at most one of so many ordinary drives.
const DRIVES: f64 = 0.99;
/// The numbers of a monitor in all chunks, sorted.
pub(super) fn readings<'a>(judgements: impl Iterator<Item = &'a Judgement>, monitor: Monitor) -> Vec<f64> {
    let mut sorted: Vec<f64> = judgements.filter_map(|judgement| judgement.readings[monitor as usize]).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1))).copied()
}

/// The largest number that a monitor's readings exceed so often in a row that the car is stopped.
fn stopping(drive: &[Judgement], monitor: Monitor) -> Option<f64> {
    let readings: Vec<f64> = drive.iter().filter_map(|judgement| judgement.readings[monitor as usize]).collect();
    readings.windows(REFUSED_DOUBTS as usize).map(|run| run.iter().copied().fold(f64::INFINITY, f64::min)).max_by(f64::total_cmp)
}

/// Halfway from the largest number of some ordinary drives to 1: a few dozen drives do not show
/// what one of a hundred does.
fn with_margin(largest: f64) -> f64 {
    f64::midpoint(largest, 1.0)
}

/// Drives each world by its expert and by the policy, and writes the constants of the manifest to
/// `file`, with the least limits that keep both [`CHUNKS`] and [`DRIVES`].
///
/// # Errors
/// A ride fails; a monitor judged nothing; the file cannot be written.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>, mut constants: Monitors, file: &Path) -> Result<(Value, Table)> {
    let own = Case { name: "own".to_owned(), kind: None, pictures: Vec::new() };
    let mut drives: Vec<Vec<Judgement>> = Vec::new();
    for chunks in expert_drives(study, parallel, &own, REPORTING)? {
        drives.push(chunks.into_iter().map(|chunk| chunk.judgement).collect());
    }
    drives.extend(policy_drives(study, parallel, &own, REPORTING)?.into_iter().map(|route| route.judgements));
    let mut table = Table::new(&["monitor", "1 of 200 chunks", "1 of 100 drives, 3 in a row", "limit"]);
    let mut found = Map::new();
    for monitor in Monitor::ALL {
        let name = monitor.as_str();
        let chunks = quantile(&readings(drives.iter().flatten(), monitor), CHUNKS)
            .with_context(|| format!("monitor {name}: judged no chunk (wanted: lanes.count of 2 or more)"))?;
        let mut runs: Vec<f64> = drives.iter().filter_map(|drive| stopping(drive, monitor)).collect();
        runs.sort_by(f64::total_cmp);
        let stops = with_margin(quantile(&runs, DRIVES).unwrap_or(0.0));
        let limit = (chunks.max(stops) * 1e4).ceil() / 1e4;
        constants.set_threshold(monitor, limit);
        table.row([name.to_owned(), format!("{chunks:.4}"), format!("{stops:.4}"), format!("{limit:.4}")].to_vec());
        found.insert(name.to_owned(), json!({"by_chunks": chunks, "by_stops": stops, "stopping": runs}));
    }
    if parallel.stop.load(Ordering::Relaxed) {
        bail!("interrupted: {file:?} was not written");
    }
    std::fs::write(file, serde_saphyr::to_string(&constants)?).with_context(|| format!("cannot write {file:?}"))?;
    let figures = json!({"worlds": study.worlds, "first_world": study.first_world(), "constants": constants, "found": found});
    Ok((figures, table))
}
