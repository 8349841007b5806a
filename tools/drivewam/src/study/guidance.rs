//! `study guidance`: what the words of the language model are worth (the axis of Table 4 of the paper). One policy that is told nothing, the route command's
//! embedding, or what the model says of its newest frame; all chunks, and those where the route turns.

use super::chosen::Signs;
use super::course::{Chunk, Course};
use super::crew::Crew;
use super::stats::{Cluster, Figure, mean, ratio};
use super::{Study, Table};
use anyhow::{Result, ensure};
use drivewam_core::config::GuidanceMode;
use drivewam_core::dims::Command;
use drivewam_simulation::CameraSource;
use drivewam_world::Options;
use serde_json::{Map, Value, json};

/// Ten chunks a world: 40 s.
const CHUNKS: usize = 10;
/// What the ride is told: a name, a layer of configuration, whether it knows the route.
const TOLD: [(&str, &str, bool); 3] = [
    ("nothing", "guidance: {mode: 'off'}", false),
    ("the route command", "guidance: {mode: 'off'}", true),
    ("what the model says", "guidance: {wait_ms: inf}", true),
];

/// Which chunks a column is of.
type Which = fn(&Chunk) -> bool;

const COLUMNS: [(&str, Which); 3] = [("all", |_| true), ("turning", turns), ("others", |c| !turns(c))];

fn turns(chunk: &Chunk) -> bool {
    matches!(chunk.command, Command::Left | Command::Right)
}

/// Runs it.
///
/// # Errors
/// Of a configuration without a language model, or of a ride.
pub(super) fn run(study: &Study<'_>, crew: &Crew<'_>) -> Result<(Value, Table)> {
    let mode = study.config("")?.guidance.mode;
    ensure!(
        mode == GuidanceMode::Vlm,
        "guidance.mode: this part asks what a language model is worth (got {mode:?}, wanted vlm, as configs/tiny-vlm.yaml has it)"
    );
    let rides = || TOLD.iter().map(|(_, layer, _)| study.ride(study.config(layer)?)).collect::<Result<Vec<_>>>();
    let worlds = crew.each(study.worlds, rides, |rides, seed| {
        let mut answers = Vec::with_capacity(TOLD.len());
        for ((_, _, routed), ride) in TOLD.iter().zip(rides) {
            let course = Course {
                seed: seed as u64,
                options: Options::default(),
                chunks: CHUNKS,
                camera: CameraSource::Own,
                anew_every: None,
                routed: *routed,
            };
            let Some(chunks) = course.drive(ride, &Signs::default(), crew.stop)? else { return Ok(None) };
            answers.push(chunks);
        }
        Ok(Some(answers))
    })?;
    let clusters = |who: usize, which: Which, of: &dyn Fn(&Chunk) -> f64| -> Vec<Cluster> {
        worlds.iter().map(|answers| answers[who].iter().filter(|c| which(c)).map(of).collect()).collect()
    };
    let count = |who: usize, which: Which| worlds.iter().flat_map(|answers| &answers[who]).filter(|c| which(c)).count();
    let mut head = vec!["told".to_owned()];
    head.extend(COLUMNS.iter().flat_map(|(name, which)| {
        [format!("ADE@4s, m, {name} (n {})", count(0, *which)), "of nothing's".to_owned(), "FDE@4s, m".to_owned()]
    }));
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let mut json = Map::new();
    for (who, (name, _, _)) in TOLD.iter().enumerate() {
        let (mut cells, mut entry) = (vec![(*name).to_owned()], Map::new());
        for (column, which) in COLUMNS {
            let [ade, fde]: [Figure; 2] =
                [mean(&clusters(who, which, &|c| c.policy[1].mean_m)), mean(&clusters(who, which, &|c| c.policy[1].last_m))];
            let share = ratio(&clusters(who, which, &|c| c.policy[1].mean_m), &clusters(0, which, &|c| c.policy[1].mean_m));
            cells.extend([ade, share, fde].map(|f| f.to_string()));
            entry.insert(
                column.to_owned(),
                json!({"chunks": count(who, which), "ADE@4s": ade.json(), "FDE@4s": fde.json(), "share_of_nothing": share.json()}),
            );
        }
        let spoken = worlds.iter().flat_map(|answers| &answers[who]).filter(|c| c.spoken).count();
        entry.insert("chunks_told_by_the_model".to_owned(), spoken.into());
        table.row(cells);
        json.insert((*name).to_owned(), Value::Object(entry));
    }
    Ok((json!({"worlds": worlds.len(), "chunks_per_world": CHUNKS, "told": json}), table))
}
