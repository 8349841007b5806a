//! `study guidance`: the effect of the guidance on the errors (the axis of Table 4 of the paper).
//! The same policy without guidance, with the embedding of the route command, and with the text
//! that a VLM generates for its newest frame; over all chunks, and over those where the route
//! turns.

use super::episode::{Chunk, Episode};
use super::parallel::Parallel;
use super::setup::Study;
use super::stats::{Cluster, Estimate, mean, ratio};
use super::steered_device::SharedSign;
use crate::table::Table;
use anyhow::{Result, ensure};
use drivewam_core::config::GuidanceMode;
use drivewam_core::dims::Command;
use drivewam_world::Options;
use serde_json::{Map, Value, json};

/// Chunks per world: 40 s.
const CHUNKS: usize = 10;
/// Guidance of each ride: its name, a configuration layer, whether the ride gets the route command.
const VARIANTS: [(&str, &str, bool); 3] = [
    ("none", "guidance: {mode: 'off'}", false),
    ("route command", "guidance: {mode: 'off'}", true),
    ("VLM", "guidance: {wait_ms: inf}", true),
];

/// Selects the chunks of a column.
type Filter = fn(&Chunk) -> bool;

const COLUMNS: [(&str, Filter); 3] = [("all", |_| true), ("turning", turns), ("others", |c| !turns(c))];

fn turns(chunk: &Chunk) -> bool {
    matches!(chunk.command, Command::Left | Command::Right)
}

/// Runs the part.
///
/// # Errors
/// `guidance.mode` is not `vlm`; a ride fails.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>) -> Result<(Value, Table)> {
    let mode = study.config("")?.guidance.mode;
    ensure!(
        mode == GuidanceMode::Vlm,
        "guidance.mode: this part evaluates guidance by a VLM (got {mode:?}, wanted vlm, as in configs/tiny-vlm.yaml)"
    );
    let rides = || VARIANTS.iter().map(|(_, layer, _)| study.ride(study.config(layer)?)).collect::<Result<Vec<_>>>();
    let worlds = parallel.map(study.worlds, rides, |rides, seed| {
        let mut results = Vec::with_capacity(VARIANTS.len());
        for ((_, _, routed), ride) in VARIANTS.iter().zip(rides) {
            let episode =
                Episode { seed: seed as u64, options: Options::default(), chunks: CHUNKS, fault: None, reset_every: None, routed: *routed };
            let Some(chunks) = episode.drive(ride, &SharedSign::default(), parallel.stop)? else { return Ok(None) };
            results.push(chunks);
        }
        Ok(Some(results))
    })?;
    let clusters = |who: usize, filter: Filter, of: &dyn Fn(&Chunk) -> f64| -> Vec<Cluster> {
        worlds.iter().map(|results| results[who].iter().filter(|c| filter(c)).map(of).collect()).collect()
    };
    let count = |who: usize, filter: Filter| worlds.iter().flat_map(|results| &results[who]).filter(|c| filter(c)).count();
    let mut head = vec!["guidance".to_owned()];
    head.extend(
        COLUMNS.iter().flat_map(|(name, filter)| {
            [format!("ADE@4s, m, {name} (n {})", count(0, *filter)), "/ none".to_owned(), "FDE@4s, m".to_owned()]
        }),
    );
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let mut json = Map::new();
    for (who, (name, _, _)) in VARIANTS.iter().enumerate() {
        let (mut cells, mut entry) = (vec![(*name).to_owned()], Map::new());
        for (column, filter) in COLUMNS {
            let [ade, fde]: [Estimate; 2] =
                [mean(&clusters(who, filter, &|c| c.policy[1].mean_m)), mean(&clusters(who, filter, &|c| c.policy[1].last_m))];
            let relative = ratio(&clusters(who, filter, &|c| c.policy[1].mean_m), &clusters(0, filter, &|c| c.policy[1].mean_m));
            cells.extend([ade, relative, fde].map(|f| f.to_string()));
            entry.insert(
                column.to_owned(),
                json!({"chunks": count(who, filter), "ADE@4s": ade.json(), "FDE@4s": fde.json(), "ratio_to_none": relative.json()}),
            );
        }
        let with_vlm = worlds.iter().flat_map(|results| &results[who]).filter(|c| c.has_vlm_guidance).count();
        entry.insert("chunks_with_vlm_guidance".to_owned(), with_vlm.into());
        table.row(cells);
        json.insert((*name).to_owned(), Value::Object(entry));
    }
    Ok((json!({"worlds": worlds.len(), "chunks_per_world": CHUNKS, "guidance": json}), table))
}
