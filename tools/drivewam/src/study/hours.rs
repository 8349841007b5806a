//! `study hours`: one ride of several hours. Checks that trajectories stay finite, memory does not
//! grow, and errors do not rise from hour to hour.

use super::args::HOUR;
use super::episode::{Chunk, Episode};
use super::parallel::Parallel;
use super::setup::Study;
use super::stats::{Cluster, mean};
use super::steered_device::SharedSign;
use crate::table::Table;
use anyhow::Result;
use drivewam_world::Options;
use serde_json::{Value, json};

/// Chunks before the first measurement of resident memory: by then all of it is in use.
const SETTLED: usize = 20;

/// Resident memory of this process in bytes; `None` without `/proc/self/status` (Linux).
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Runs the part.
///
/// # Errors
/// The ride fails; a trajectory is not finite.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>) -> Result<(Value, Table)> {
    let mut ride = study.ride(study.config("")?)?;
    let arena = ride.arena().bytes();
    let episode = Episode { seed: 0, options: Options::default(), chunks: study.chunks, fault: None, reset_every: None, routed: true };
    let mut sizes = Vec::new();
    let chunks = episode
        .drive_with(&mut ride, &SharedSign::default(), parallel.stop, |chunks| {
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
        // The bootstrap resamples blocks of ten minutes: chunks close in time are not independent.
        let blocks =
            |of: &dyn Fn(&Chunk) -> f64| -> Vec<Cluster> { part.chunks(HOUR / 6).map(|block| block.iter().map(of).collect()).collect() };
        let (policy, constant) = (mean(&blocks(&|c| c.policy[1].mean_m)), mean(&blocks(&|c| c.constant[1].mean_m)));
        table.row(vec![(hour + 1).to_string(), part.len().to_string(), policy.to_string(), constant.to_string()]);
        hours.push(json!({"chunks": part.len(), "ade_4s_m": policy.json(), "constant_ade_4s_m": constant.json()}));
    }
    let value = json!({"chunks": chunks.len(), "hours": hours, "arena_bytes": arena, "memory_slots_held": slots,
        "resident": sizes});
    Ok((value, table))
}
