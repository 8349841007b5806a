//! `study memory`: errors and retention of each memory policy, on long drives through worlds where
//! a speed limit sign is seen long before it matters.

use super::episode::{Chunk, Episode};
use super::parallel::Parallel;
use super::setup::Study;
use super::stats::{Cluster, Estimate, mean, ratio};
use super::steered_device::{Choice, SharedSign};
use crate::table::Table;
use anyhow::Result;
use drivewam_core::config::Config;
use drivewam_world::{Kind, Options};
use serde_json::{Map, Value, json};

/// Past chunks in the longest ordinary window of training. A tenth of the windows span a whole
/// drive.
const TRAINED_CHUNKS: usize = 9;

/// ADE@4s of each variant by chunk of a drive.
pub(super) type OverTime = Vec<(&'static str, Vec<f64>)>;
/// Selects chunks.
type Filter = fn(&Chunk) -> bool;

/// A variant of the memory: a layer on top of the configuration.
struct Variant {
    name: &'static str,
    layer: &'static str,
    /// Capacity of the pools in chunks; `None` for the configuration's.
    chunks: Option<usize>,
    /// As [`Episode::reset_every`].
    reset_every: Option<usize>,
    /// What a steered device overwrites; `None` for the configured policy on a plain device.
    choice: Option<fn(&SharedSign) -> Choice>,
}

const fn variant(name: &'static str, layer: &'static str) -> Variant {
    Variant { name, layer, chunks: None, reset_every: None, choice: None }
}

/// All keys of the paper's selection, read literally, whatever the configuration says.
const LITERAL: &str = "memory: {policy: selective, scoring: {lambda: 0.07, heads: shared, normalise: literal, keys: post_rope, max_pool: 0, \
    scored: pool, max_age_chunks: 0}}";

/// Chunks between two resets. Keys carry what they have read of older keys from chunk to chunk,
/// even when those are overwritten; only a reset ride knows nothing of them.
const RESET_EVERY: usize = 5;

const VARIANTS: [Variant; 15] = [
    variant("full", "memory: {policy: full}"),
    Variant { chunks: Some(TRAINED_CHUNKS), ..variant("full, trained length", "memory: {policy: fifo}") },
    variant("fifo", "memory: {policy: fifo}"),
    Variant { reset_every: Some(RESET_EVERY), ..variant("reset every 5 chunks", "memory: {policy: fifo}") },
    variant("selective, literal", LITERAL),
    variant("selective, pre_rope", "memory: {policy: selective, scoring: {keys: pre_rope}}"),
    variant("selective, per_head", "memory: {policy: selective, scoring: {heads: per_head}}"),
    variant("selective, softmax", "memory: {policy: selective, scoring: {normalise: softmax}}"),
    variant("selective, max_pool 7", "memory: {policy: selective, scoring: {max_pool: 7}}"),
    variant("selective, pool_and_new", "memory: {policy: selective, scoring: {scored: pool_and_new}}"),
    variant("selective, lambda 0.5", "memory: {policy: selective, scoring: {lambda: 0.5}}"),
    variant("redundancy alone", "memory: {policy: selective, scoring: {lambda: 0.0}}"),
    variant("relevance alone", "memory: {policy: selective, scoring: {lambda: 1.0}}"),
    Variant { choice: Some(|sign| Choice::Random(sign.clone())), ..variant("random", LITERAL) },
    Variant { choice: Some(|sign| Choice::Oracle(sign.clone())), ..variant("oracle", LITERAL) },
];

/// Number of variants.
pub(super) fn variants() -> usize {
    VARIANTS.len()
}

/// Bytes of the keys and values in the pools.
fn pool_bytes(config: &Config) -> usize {
    let (video, action, _) = config.slots();
    2 * config.model.layers * config.model.heads * config.model.head_dim * (video + action) * size_of::<f32>()
}

/// Runs the part.
///
/// # Errors
/// A ride fails; a trajectory is not finite.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>) -> Result<(Value, Table, OverTime)> {
    let mut drives: Vec<Vec<Vec<Chunk>>> = Vec::new();
    let mut sizes = Vec::new();
    for variant in &VARIANTS {
        let mut config = study.config(variant.layer)?;
        if let Some(chunks) = variant.chunks {
            config.memory.video_slots = chunks * config.model.video_tokens();
            config.memory.action_slots = chunks * config.model.action_tokens();
        }
        config.memory.max_chunks = study.chunks + 1;
        sizes.push(pool_bytes(&config));
        parallel.bar.set_message(variant.name);
        let make = || {
            let sign = SharedSign::default();
            let ride = match variant.choice {
                None => study.ride(config.clone())?,
                Some(choice) => study.steered_ride(config.clone(), choice(&sign))?,
            };
            Ok((ride, sign))
        };
        let worlds = parallel.map(study.worlds, make, |(ride, sign), seed| {
            let options = Options { kind: Kind::Memory, ..Options::default() };
            let episode =
                Episode { seed: seed as u64, options, chunks: study.chunks, fault: None, reset_every: variant.reset_every, routed: true };
            episode.drive(ride, sign, parallel.stop)
        })?;
        drives.push(worlds);
    }
    let worlds = drives.iter().map(Vec::len).min().unwrap_or(0);
    let ade_of = |variant: usize, filter: &dyn Fn(&Chunk) -> bool| -> Vec<Cluster> {
        drives[variant][..worlds].iter().map(|w| w.iter().filter(|c| filter(c)).map(|c| c.policy[1].mean_m).collect()).collect()
    };
    let groups: [(&str, Filter); 3] = [("all", |_| true), ("needed", |c| c.memory_needed), ("others", |c| !c.memory_needed)];
    let mut table = Table::new(&[
        "memory",
        "bytes",
        "ADE@4s all, m",
        "needed, m",
        "others, m",
        "needed / full",
        "needed / fifo",
        "needed / reset",
        "others / fifo",
        "sign retention",
    ]);
    let over_time: OverTime = VARIANTS
        .iter()
        .zip(&drives)
        .map(|(variant, drives)| {
            let at = |chunk: usize| drives[..worlds].iter().map(|w| w[chunk].policy[1].mean_m).sum::<f64>() / worlds.max(1) as f64;
            (variant.name, if worlds == 0 { Vec::new() } else { (0..study.chunks).map(at).collect() })
        })
        .collect();
    let mut json = Map::new();
    for (i, variant) in VARIANTS.iter().enumerate() {
        let means: Vec<Estimate> = groups.iter().map(|(_, filter)| mean(&ade_of(i, filter))).collect();
        let ratios = [(1, 0), (1, 2), (1, 3), (2, 2)]
            .map(|(group, to): (usize, usize)| ratio(&ade_of(i, &groups[group].1), &ade_of(to, &groups[group].1)));
        let retention: Vec<Cluster> = drives[i][..worlds].iter().map(|w| w.iter().filter_map(|c| c.retention).collect()).collect();
        let retention = mean(&retention);
        let mut cells = vec![variant.name.to_owned(), sizes[i].to_string()];
        cells.extend(means.iter().chain(&ratios).map(ToString::to_string));
        cells.push(if retention.value.is_finite() { format!("{:.2}", retention.value) } else { "-".to_owned() });
        table.row(cells);
        json.insert(
            variant.name.to_owned(),
            json!({"bytes": sizes[i], "ade_4s_m": {"all": means[0].json(), "needed": means[1].json(), "others": means[2].json()},
                "needed_over_full": ratios[0].json(), "needed_over_fifo": ratios[1].json(), "needed_over_reset": ratios[2].json(),
                "others_over_fifo": ratios[3].json(), "sign_retention": retention.json(), "ade_4s_m_by_chunk": over_time[i].1}),
        );
    }
    let chunks = drives.first().map_or(0, |d| d.iter().take(worlds).map(Vec::len).sum());
    let needed = drives.first().map_or(0, |d| d.iter().take(worlds).flatten().filter(|c| c.memory_needed).count());
    let value = json!({"worlds": worlds, "chunks": chunks, "needed_chunks": needed, "chunks_per_world": study.chunks, "memory": json});
    Ok((value, table, over_time))
}
