//! `study table5`: the paper's Table 5 by its own definition at the configuration's shapes, and a ride that confirms the memory.
//!
//! The ride has a thin model: the configuration's picture, latent, tokens and slots, a narrow width and the closed-form engine, whose numbers nobody
//! reads. What it holds is counted slot by slot and region by region.

use super::Table;
use super::crew::Crew;
use anyhow::{Context, Result, ensure};
use drivewam::{Plan, RideOptions, SourceCamera};
use drivewam_core::config::{Config, EngineKind, GuidanceMode, MemoryPolicy};
use drivewam_core::cost::{Reading, Step, bytes_per_token, chunk, selection_flops};
use drivewam_core::dims::Model;
use drivewam_core::dtype::DType;
use drivewam_device::HostDevice;
use drivewam_engine::closed_form::{self, ClosedForm};
use drivewam_simulation::{CameraSource, SimulationDriver};
use drivewam_world::Options;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// The paper's rows: memory in its GB, operations in its GFLOPs.
pub(super) const WAYS: [(&str, MemoryPolicy, f64, f64); 3] = [
    ("full", MemoryPolicy::Full, 3.07, 17.37),
    ("fifo", MemoryPolicy::Fifo, 0.25, 1.05),
    ("selective", MemoryPolicy::Selective, 0.25, 1.44),
];
/// What is stored: the paper's weights are bf16, and so, we take it, are its keys and values.
const STORED: DType = DType::Bf16;

/// What the ride held at its end.
struct Held {
    /// Observed tokens in the pools, and predicted ones in the tail; the same in every layer.
    pool: u64,
    tail: u64,
    /// Bytes of the arena's regions of keys and values, by what the plan says.
    region_bytes: u64,
    slots: u64,
    passes: u32,
    model: Model,
}

/// The configuration with a model that is thin and has its tokens.
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

/// Drives `chunks` chunks of a drawn world.
fn drive(config: &Config, chunks: usize, crew: &Crew<'_>) -> Result<Option<Held>> {
    let folder = closed_form::folder(&config.model)?;
    let camera = SourceCamera::of_model(&config.model);
    let plan = Plan::new(config.clone(), folder.manifest(), camera, RideOptions::default())?;
    let pool = |name: &str| name.starts_with("mem_k.") || name.starts_with("mem_v.");
    let region_bytes = plan.arena().rows().iter().filter(|row| pool(&row.name)).map(|row| row.region.bytes() as u64).sum();
    let threads = config.target.threads;
    let device = |arena| Ok(Box::new(HostDevice::new(arena, threads)?) as Box<_>);
    let mut ride =
        plan.warm_with(&folder, device, |graph| Ok(Box::new(ClosedForm::open(&folder, graph, closed_form::Options::default())?)))?;
    let mut feed = SimulationDriver::new(&config.model, 0, Options::default(), CameraSource::Own)?;
    feed.begin(&mut ride);
    let (mut done, mut passes) = (0, 0);
    while done < chunks {
        if crew.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if feed.is_frame() {
            feed.draw();
        }
        if let Some(outcome) = feed.push(&mut ride)? {
            done += 1;
            passes = outcome.stages.passes();
            crew.bar.inc(1);
        }
        feed.step(feed.world.expert());
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
    Ok(Some(Held { pool, tail: in_flight, region_bytes, slots: tail as u64, passes, model: config.model.clone() }))
}

/// Runs it.
///
/// # Errors
/// Of a ride; a ride that holds other bytes than the arithmetic says.
pub(super) fn run(config: &Config, chunks: usize, crew: &Crew<'_>) -> Result<Option<(Value, Table)>> {
    let model = &config.model;
    let (nv, na) = (model.video_tokens() as u64, model.action_tokens() as u64);
    let token = bytes_per_token(model, STORED);
    let mut table = Table::new(&[
        "memory",
        "tokens in the pools",
        "GB",
        "GiB",
        "with the video in flight, GiB",
        "the ride held",
        "paper, GB",
        "video step, GFLOPs",
        "action step, GFLOPs",
        "video over a chunk, GFLOPs",
        "selection, GFLOPs a chunk",
        "paper, GFLOPs",
    ]);
    let mut ways = Vec::new();
    for (name, policy, paper_gb, paper_gflops) in WAYS {
        let all = chunks as u64 * (nv + na);
        let (pool, pools) = match policy {
            MemoryPolicy::Full => (all, None),
            _ => {
                let (video, action) = (config.memory.video_slots as u64, config.memory.action_slots as u64);
                let held = (video.min(chunks as u64 * nv), action.min(chunks as u64 * na));
                (held.0 + held.1, Some(held))
            }
        };
        crew.bar.set_message(name);
        let thin = thin(config, policy, chunks);
        let Some(held) = drive(&thin, chunks, crew)? else { return Ok(None) };
        // The thin ride is f32 on the host: its tokens and slots times its own bytes must be what the arithmetic says, exactly.
        let thin_token = bytes_per_token(&held.model, DType::F32);
        ensure!(
            held.pool == pool && held.tail == nv,
            "{name}: the ride held {} tokens and {} in flight (wanted {pool} and {nv})",
            held.pool,
            held.tail
        );
        ensure!(
            held.region_bytes == held.slots * thin_token,
            "{name}: the regions have {} bytes (wanted {} slots of {thin_token})",
            held.region_bytes,
            held.slots
        );
        let passes: u64 = chunk(config).iter().map(|pass| pass.count).sum();
        ensure!(u64::from(held.passes) == passes, "{name}: the ride's chunk had {} passes (wanted {passes})", held.passes);
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
            format!("{} + {} tokens", held.pool, held.tail),
            format!("{paper_gb:.2}"),
            format!("{:.3}", gflops(Step::Video)),
            format!("{:.3}", gflops(Step::Action)),
            format!("{:.3}", gflops(Step::VideoOverChunk)),
            format!("{selection:.3}"),
            format!("{paper_gflops:.2}"),
        ]);
        ways.push(json!({"memory": name, "pool_tokens": pool, "in_flight_tokens": nv, "pool_bytes": pool * token,
            "ride": {"pool_tokens": held.pool, "in_flight_tokens": held.tail, "slots": held.slots, "region_bytes": held.region_bytes,
                "passes_a_chunk": held.passes, "layers": held.model.layers, "dim": held.model.dim, "dtype": "f32"},
            "gflops": {"video_step": gflops(Step::Video), "action_step": gflops(Step::Action), "video_over_chunk": gflops(Step::VideoOverChunk),
                "selection_a_chunk": selection},
            "paper": {"memory_gb": paper_gb, "gflops": paper_gflops}}));
    }
    Ok(Some((json!({"chunks": chunks, "model": model.name, "bytes_per_token": token, "dtype": STORED.to_string(), "memory": ways}), table)))
}

/// What the page says below its table.
pub(super) const WHY: &str = include_str!("table5.txt");
