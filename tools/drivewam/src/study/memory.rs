//! `study memory`: what each way of forgetting costs and keeps, on long drives in worlds where a limit sign is seen long before it matters.

use super::chosen::{Choice, Signs};
use super::course::{Chunk, Course};
use super::crew::Crew;
use super::stats::{Cluster, Figure, mean, ratio};
use super::{Study, Table};
use anyhow::Result;
use drivewam_core::config::Config;
use drivewam_simulation::CameraSource;
use drivewam_world::{Kind, Options};
use serde_json::{Map, Value, json};

/// 75 chunks: 300 s.
pub(super) const CHUNKS: usize = 75;
/// Past chunks in the longest of the windows that most of training sees; a tenth reach through a whole drive.
const TRAINED_CHUNKS: usize = 9;

/// ADE@4s of each way of forgetting, over the chunks of a drive.
pub(super) type OverTime = Vec<(&'static str, Vec<f64>)>;
/// Some of the chunks.
type Pick = fn(&Chunk) -> bool;

/// A way of forgetting: a layer on top of the configuration.
struct Way {
    name: &'static str,
    layer: &'static str,
    /// Chunks that the pools hold, where they are not the configuration's.
    chunks: Option<usize>,
    /// As [`Course::anew_every`].
    anew_every: Option<usize>,
    choice: Option<fn(&Signs) -> Choice>,
}

const fn way(name: &'static str, layer: &'static str) -> Way {
    Way { name, layer, chunks: None, anew_every: None, choice: None }
}

/// Every key of the paper's literal reading, whatever the configuration says.
const LITERAL: &str = "memory: {policy: selective, scoring: {lambda: 0.07, heads: shared, normalise: literal, keys: post_rope, max_pool: 0, scored: pool, max_age_chunks: 0}}";

/// Keys carry what they have read of older ones from chunk to chunk, whatever is forgotten: only a ride without a past knows nothing of it.
const ANEW_EVERY: usize = 5;

const WAYS: [Way; 15] = [
    way("full", "memory: {policy: full}"),
    Way { chunks: Some(TRAINED_CHUNKS), ..way("full, trained length", "memory: {policy: fifo}") },
    way("fifo", "memory: {policy: fifo}"),
    Way { anew_every: Some(ANEW_EVERY), ..way("begun anew every 5 chunks", "memory: {policy: fifo}") },
    way("selective, literal", LITERAL),
    way("selective, pre_rope", "memory: {policy: selective, scoring: {keys: pre_rope}}"),
    way("selective, per_head", "memory: {policy: selective, scoring: {heads: per_head}}"),
    way("selective, softmax", "memory: {policy: selective, scoring: {normalise: softmax}}"),
    way("selective, max_pool 7", "memory: {policy: selective, scoring: {max_pool: 7}}"),
    way("selective, pool_and_new", "memory: {policy: selective, scoring: {scored: pool_and_new}}"),
    way("selective, lambda 0.5", "memory: {policy: selective, scoring: {lambda: 0.5}}"),
    way("redundancy alone", "memory: {policy: selective, scoring: {lambda: 0.0}}"),
    way("relevance alone", "memory: {policy: selective, scoring: {lambda: 1.0}}"),
    Way { choice: Some(|signs| Choice::Random(signs.clone())), ..way("random", LITERAL) },
    Way { choice: Some(|signs| Choice::Oracle(signs.clone())), ..way("oracle", LITERAL) },
];

/// The ways, in the order of the table.
pub(super) fn ways() -> usize {
    WAYS.len()
}

/// Bytes of keys and values of the committed pools.
fn bytes(config: &Config) -> usize {
    let (video, action, _) = config.slots();
    2 * config.model.layers * config.model.heads * config.model.head_dim * (video + action) * size_of::<f32>()
}

/// Runs it.
///
/// # Errors
/// Of a ride.
pub(super) fn run(study: &Study<'_>, crew: &Crew<'_>) -> Result<(Value, Table, OverTime)> {
    let mut drives: Vec<Vec<Vec<Chunk>>> = Vec::new();
    let mut sizes = Vec::new();
    for way in &WAYS {
        let mut config = study.config(way.layer)?;
        if let Some(chunks) = way.chunks {
            config.memory.video_slots = chunks * config.model.video_tokens();
            config.memory.action_slots = chunks * config.model.action_tokens();
        }
        config.memory.max_chunks = study.chunks + 1;
        sizes.push(bytes(&config));
        crew.bar.set_message(way.name);
        let make = || {
            let signs = Signs::default();
            let ride = match way.choice {
                None => study.ride(config.clone())?,
                Some(choice) => study.chosen(config.clone(), choice(&signs))?,
            };
            Ok((ride, signs))
        };
        let worlds = crew.each(study.worlds, make, |(ride, signs), seed| {
            let options = Options { kind: Kind::Memory, disturb: false };
            let course = Course {
                seed: seed as u64,
                options,
                chunks: study.chunks,
                camera: CameraSource::Own,
                anew_every: way.anew_every,
                routed: true,
            };
            course.drive(ride, signs, crew.stop)
        })?;
        drives.push(worlds);
    }
    let worlds = drives.iter().map(Vec::len).min().unwrap_or(0);
    let of = |way: usize, pick: &dyn Fn(&Chunk) -> bool| -> Vec<Cluster> {
        drives[way][..worlds].iter().map(|w| w.iter().filter(|c| pick(c)).map(|c| c.policy[1].mean_m).collect()).collect()
    };
    let groups: [(&str, Pick); 3] = [("all", |_| true), ("needed", |c| c.needed), ("others", |c| !c.needed)];
    let mut table = Table::new(&[
        "memory",
        "bytes",
        "ADE@4s all, m",
        "needed, m",
        "others, m",
        "needed / full",
        "needed / fifo",
        "needed / anew",
        "others / fifo",
        "sign kept",
    ]);
    let over_time: OverTime = WAYS
        .iter()
        .zip(&drives)
        .map(|(way, drives)| {
            let at = |chunk: usize| drives[..worlds].iter().map(|w| w[chunk].policy[1].mean_m).sum::<f64>() / worlds.max(1) as f64;
            (way.name, if worlds == 0 { Vec::new() } else { (0..study.chunks).map(at).collect() })
        })
        .collect();
    let mut json = Map::new();
    for (i, way) in WAYS.iter().enumerate() {
        let means: Vec<Figure> = groups.iter().map(|(_, pick)| mean(&of(i, pick))).collect();
        let shares =
            [(1, 0), (1, 2), (1, 3), (2, 2)].map(|(group, to): (usize, usize)| ratio(&of(i, &groups[group].1), &of(to, &groups[group].1)));
        let kept: Vec<Cluster> = drives[i][..worlds].iter().map(|w| w.iter().filter_map(|c| c.kept).collect()).collect();
        let kept = mean(&kept);
        let mut cells = vec![way.name.to_owned(), sizes[i].to_string()];
        cells.extend(means.iter().chain(&shares).map(ToString::to_string));
        cells.push(if kept.value.is_finite() { format!("{:.2}", kept.value) } else { "-".to_owned() });
        table.row(cells);
        json.insert(
            way.name.to_owned(),
            json!({"bytes": sizes[i], "ade_4s_m": {"all": means[0].json(), "needed": means[1].json(), "others": means[2].json()},
                "needed_over_full": shares[0].json(), "needed_over_fifo": shares[1].json(), "needed_over_anew": shares[2].json(),
                "others_over_fifo": shares[3].json(), "sign_kept": kept.json(), "ade_4s_m_by_chunk": over_time[i].1}),
        );
    }
    let chunks = drives.first().map_or(0, |d| d.iter().take(worlds).map(Vec::len).sum());
    let needed = drives.first().map_or(0, |d| d.iter().take(worlds).flatten().filter(|c| c.needed).count());
    let value = json!({"worlds": worlds, "chunks": chunks, "needed_chunks": needed, "chunks_per_world": study.chunks, "memory": json});
    Ok((value, table, over_time))
}
