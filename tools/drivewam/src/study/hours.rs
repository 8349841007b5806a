//! `study hours`: one ride of hours. Every trajectory is finite, the memory does not grow, and the errors of the last hour are those of the first.

use super::chosen::Signs;
use super::course::Course;
use super::crew::Crew;
use super::stats::{Cluster, mean};
use super::{Study, Table};
use anyhow::Result;
use drivewam_simulation::CameraSource;
use drivewam_world::Options;
use serde_json::{Value, json};

/// Chunks of an hour.
pub(super) const HOUR: usize = 900;
/// Chunks after which memory is looked at first: by then all of it has been used.
const SETTLED: usize = 20;

/// Resident memory of this process in bytes, where the system tells (`/proc/self/status`, Linux).
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Runs it.
///
/// # Errors
/// Of the ride.
pub(super) fn run(study: &Study<'_>, crew: &Crew<'_>) -> Result<(Value, Table)> {
    let mut ride = study.ride(study.config("")?)?;
    let arena = ride.arena().bytes();
    let course =
        Course { seed: 0, options: Options::default(), chunks: study.chunks, camera: CameraSource::Own, anew_every: None, routed: true };
    let mut sizes = Vec::new();
    let chunks = course
        .drive_and(&mut ride, &Signs::default(), crew.stop, |chunks| {
            if chunks.len() == SETTLED || chunks.len().is_multiple_of(HOUR) {
                sizes.push(json!({"chunk": chunks.len(), "bytes": resident()}));
            }
        })?
        .unwrap_or_default();
    sizes.push(json!({"chunk": chunks.len(), "bytes": resident()}));
    let slots = ride.outcome().map(|o| o.memory.total());
    let mut table = Table::new(&["hour", "chunks", "ADE@4s, m", "constant velocity and yaw rate, m"]);
    let mut hours = Vec::new();
    for (hour, part) in chunks.chunks(HOUR).enumerate() {
        // Ten minutes are drawn anew at a time: chunks near in time are not independent.
        let blocks = |of: &dyn Fn(&super::course::Chunk) -> f64| -> Vec<Cluster> {
            part.chunks(HOUR / 6).map(|block| block.iter().map(of).collect()).collect()
        };
        let (policy, constant) = (mean(&blocks(&|c| c.policy[1].mean_m)), mean(&blocks(&|c| c.constant[1].mean_m)));
        table.row(vec![(hour + 1).to_string(), part.len().to_string(), policy.to_string(), constant.to_string()]);
        hours.push(json!({"chunks": part.len(), "ade_4s_m": policy.json(), "constant_ade_4s_m": constant.json()}));
    }
    let value = json!({"chunks": chunks.len(), "hours": hours, "arena_bytes": arena, "memory_slots_held": slots,
        "resident": sizes});
    Ok((value, table))
}
