//! `study table5`: Table 5 of the paper by its definition at the configuration's shapes, and a ride
//! that confirms the memory.
//!
//! The ride has a thin model: the image, latent, tokens and slots of the configuration, a small
//! width, and the closed-form engine, whose values are not used. Its memory is counted slot by slot
//! and region by region.

use super::parallel::Parallel;
use crate::table::Table;
use anyhow::{Context, Result, ensure};
use drivewam::{Plan, RideOptions, SourceCamera};
use drivewam_core::config::{Config, EngineKind, GuidanceMode, MemoryPolicy};
use drivewam_core::cost::{Reading, Table5Step, bytes_per_token, chunk, selection_flops};
use drivewam_core::dims::Model;
use drivewam_core::dtype::DType;
use drivewam_core::tensor::TensorRole;
use drivewam_device::HostDevice;
use drivewam_engine::closed_form::{self, ClosedForm};
use drivewam_simulation::SimulationDriver;
use drivewam_world::Options;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// The rows of the paper: memory in its GB, operations in its GFLOPs.
pub(super) const POLICIES: [(&str, MemoryPolicy, f64, f64); 3] = [
    ("full", MemoryPolicy::Full, 3.07, 17.37),
    ("fifo", MemoryPolicy::Fifo, 0.25, 1.05),
    ("selective", MemoryPolicy::Selective, 0.25, 1.44),
];
/// Type of keys and values. An assumption: the paper states that its weights are bf16.
const STORED: DType = DType::Bf16;

/// The memory of the ride at its end.
struct RideMemory {
    /// Observed tokens in the pools of a layer; the same in every layer.
    pool: u64,
    /// Predicted tokens in the tail of a layer; the same in every layer.
    tail: u64,
    /// Bytes of the arena's regions of keys and values.
    region_bytes: u64,
    slots: u64,
    passes: u32,
    model: Model,
}

/// The configuration with a thin model that has the same number of tokens.
fn thin(config: &Config, policy: MemoryPolicy, chunks: usize) -> Config {
    let mut config = config.clone();
    let model = &mut config.model;
    "thin".clone_into(&mut model.name);
    (model.dim, model.layers, model.heads, model.head_dim, model.ffn_dim) = (32, 2, 2, 16, 32);
    (model.action_hidden_dim, model.ego_hidden_dim, model.freq_dim) = (32, 32, 32);
    model.rope.split = [6, 6, 4];
    (model.text.dim, model.text.max_rows) = (32, 4);
    (config.memory.policy, config.memory.max_chunks) = (policy, chunks);
    config.engine.kind = EngineKind::ClosedForm;
    config.guidance.mode = GuidanceMode::Off;
    config.target.arena_bytes = isize::MAX as usize;
    config
}

/// Drives `chunks` chunks of a world, and counts the memory. Returns `None` after Ctrl-C.
fn drive(config: &Config, chunks: usize, parallel: &Parallel<'_>) -> Result<Option<RideMemory>> {
    let folder = closed_form::bundle(&config.model)?;
    let camera = SourceCamera::of_model(&config.model);
    let plan = Plan::new(config.clone(), folder.manifest(), camera, RideOptions::EVALUATION)?;
    let pool = |name: &str| matches!(TensorRole::of_name(name), Some(TensorRole::MemK(_) | TensorRole::MemV(_)));
    let region_bytes = plan.arena().rows().iter().filter(|row| pool(&row.name)).map(|row| row.region.bytes() as u64).sum();
    let threads = config.target.threads;
    let device = |arena| Ok(Box::new(HostDevice::new(arena, threads)?) as Box<_>);
    let mut ride =
        plan.warm_with(folder, device, |bundle, graph| Ok(Box::new(ClosedForm::open(bundle, graph, closed_form::Options::default())?)))?;
    let mut simulation = SimulationDriver::new(config, 0, Options::default())?;
    simulation.begin(&mut ride);
    let (mut done, mut passes) = (0, 0);
    while done < chunks {
        if parallel.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if simulation.is_frame() {
            simulation.draw();
        }
        if let Some(outcome) = simulation.push(&mut ride)? {
            done += 1;
            passes = outcome.stages.passes();
            parallel.bar.inc(1);
        }
        simulation.step(simulation.world.expert());
    }
    let (video, action, tail) = config.slots();
    let (video, tail) = (video + action, video + action + tail);
    let mut counts = Vec::new();
    for layer in 0..config.model.layers {
        let table = ride.memory_table(layer)?;
        for set in 0..table.sets() {
            let valid = |range| -> Result<u64> { Ok(table.pool(set, range)?.iter().filter(|slot| slot.valid).count() as u64) };
            counts.push((valid(0..video)?, valid(video..tail)?));
        }
    }
    ensure!(counts.windows(2).all(|pair| pair[0] == pair[1]), "layers hold different numbers of tokens: {counts:?}");
    let (pool, in_flight) = counts.first().copied().context("a model without layers")?;
    Ok(Some(RideMemory { pool, tail: in_flight, region_bytes, slots: tail as u64, passes, model: config.model.clone() }))
}

/// Runs the part. Returns `None` after Ctrl-C.
///
/// # Errors
/// A ride fails; its tokens or bytes are not those of the formulas.
pub(super) fn run(config: &Config, chunks: usize, parallel: &Parallel<'_>) -> Result<Option<(Value, Table)>> {
    let model = &config.model;
    let (nv, na) = (model.video_tokens() as u64, model.action_tokens() as u64);
    let token = bytes_per_token(model, STORED);
    let mut table = Table::new(&[
        "memory",
        "tokens in the pools",
        "GB",
        "GiB",
        "with the video in flight, GiB",
        "counted in the ride",
        "paper, GB",
        "video step, GFLOPs",
        "action step, GFLOPs",
        "video over a chunk, GFLOPs",
        "selection, GFLOPs per chunk",
        "paper, GFLOPs",
    ]);
    let mut results = Vec::new();
    for (name, policy, paper_gb, paper_gflops) in POLICIES {
        let all = chunks as u64 * (nv + na);
        let (pool, pools) = match policy {
            MemoryPolicy::Full => (all, None),
            _ => {
                let (video, action) = (config.memory.video_slots as u64, config.memory.action_slots as u64);
                let tokens = (video.min(chunks as u64 * nv), action.min(chunks as u64 * na));
                (tokens.0 + tokens.1, Some(tokens))
            }
        };
        parallel.bar.set_message(name);
        let thin = thin(config, policy, chunks);
        let Some(ride) = drive(&thin, chunks, parallel)? else { return Ok(None) };
        // The thin ride is f32 on the host. Its tokens, and slots times bytes per token, must equal
        // the formulas exactly.
        let thin_token = bytes_per_token(&ride.model, DType::F32);
        ensure!(
            ride.pool == pool && ride.tail == nv,
            "{name}: wrong number of tokens in the ride (got {} and {} in flight, wanted {pool} and {nv})",
            ride.pool,
            ride.tail
        );
        ensure!(
            ride.region_bytes == ride.slots * thin_token,
            "{name}: wrong size of the regions (got {} bytes, wanted {} slots of {thin_token})",
            ride.region_bytes,
            ride.slots
        );
        let passes: u64 = chunk(config).iter().map(|pass| pass.count).sum();
        ensure!(u64::from(ride.passes) == passes, "{name}: wrong number of passes of a chunk (got {}, wanted {passes})", ride.passes);
        let gflops = |step| Reading::of(model, step, pool).flops() / 1e9;
        let selection = match (policy, pools) {
            (MemoryPolicy::Selective, Some((video, action))) => selection_flops(model, [(nv, video), (na, action)]) / 1e9,
            _ => 0.0,
        };
        let bytes = |tokens: u64| (tokens * token) as f64;
        let gib = f64::from(1 << 30);
        table.row(vec![
            name.to_owned(),
            pool.to_string(),
            format!("{:.3}", bytes(pool) / 1e9),
            format!("{:.3}", bytes(pool) / gib),
            format!("{:.3}", bytes(pool + nv) / gib),
            format!("{} + {} tokens", ride.pool, ride.tail),
            format!("{paper_gb:.2}"),
            format!("{:.3}", gflops(Table5Step::Video)),
            format!("{:.3}", gflops(Table5Step::Action)),
            format!("{:.3}", gflops(Table5Step::VideoOverChunk)),
            format!("{selection:.3}"),
            format!("{paper_gflops:.2}"),
        ]);
        results.push(json!({"memory": name, "pool_tokens": pool, "in_flight_tokens": nv, "pool_bytes": pool * token,
            "ride": {"pool_tokens": ride.pool, "in_flight_tokens": ride.tail, "slots": ride.slots, "region_bytes": ride.region_bytes,
                "passes_per_chunk": ride.passes, "layers": ride.model.layers, "dim": ride.model.dim, "dtype": "f32"},
            "gflops": {"video_step": gflops(Table5Step::Video), "action_step": gflops(Table5Step::Action), "video_over_chunk": gflops(Table5Step::VideoOverChunk),
                "selection_per_chunk": selection},
            "paper": {"memory_gb": paper_gb, "gflops": paper_gflops}}));
    }
    Ok(Some((
        json!({"chunks": chunks, "model": model.name, "bytes_per_token": token, "dtype": STORED.to_string(), "memory": results}),
        table,
    )))
}

/// The text of the page below its table.
pub(super) const EXPLANATION: &str = include_str!("table5.txt");
