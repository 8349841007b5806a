//! `drivewam bench`: times chunks on demand. `make bench` compares it with other implementations.

mod selection;
mod vlm;

use crate::config_args::ConfigArgs;
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use drivewam::stages::Stage;
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_console::print_line;
use drivewam_engine::{EngineBundle, Trust};
use drivewam_simulation::SimulationDriver;
use drivewam_world::Options;
use selection::SelectionBench;
use serde_json::{Map, Value, json};
use std::io::BufRead;
use std::time::{Duration, Instant};
use vlm::VlmBench;

/// Options of `drivewam bench`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Chunks to run before the first measurement, so that the memory is full.
    #[arg(long, default_value_t = 8)]
    warmup: usize,
    /// Time the selection of a full memory instead of chunks. Needs no engines.
    #[arg(long)]
    selection: bool,
    /// Time answers of the folder's language model, of so many tokens each, instead of chunks.
    #[arg(long, value_name = "TOKENS", conflicts_with = "selection")]
    guidance: Option<usize>,
    /// With --guidance: number of text tokens in the prompt, beside two images.
    #[arg(long, default_value_t = 64)]
    prompt: usize,
}

/// Times of a chunk, and its number of passes. Stages in nanoseconds.
struct ChunkTime {
    wall_ms: f64,
    stages: [u64; Stage::ALL.len()],
    passes: u32,
}

/// Runs until the next chunk is done. Times every call of the ride; rendering is not timed.
fn run_chunk(simulation: &mut SimulationDriver, ride: &mut Ride) -> Result<ChunkTime> {
    let mut wall = Duration::ZERO;
    loop {
        if simulation.is_frame() {
            simulation.draw();
        }
        let start = Instant::now();
        let outcome = simulation.push(ride)?;
        wall += start.elapsed();
        let done = outcome.map(|o| (Stage::ALL.map(|s| o.stages.ns(s)), o.stages.passes()));
        simulation.step(simulation.world.expert());
        if let Some((stages, passes)) = done {
            return Ok(ChunkTime { wall_ms: wall.as_secs_f64() * 1e3, stages, passes });
        }
    }
}

/// Runs the subcommand: for each number on standard input, times as many chunks and prints one line
/// of JSON with the milliseconds of each.
///
/// # Errors
/// Invalid configuration or engines; the ride fails; a line is not a number.
pub(crate) fn run(args: &Args) -> Result<()> {
    let loaded = args.config.load()?;
    if args.selection {
        let mut bench = SelectionBench::new(&loaded.config)?;
        print_line!("{}", json!({"ready": true}));
        return serve(|count| {
            let times: Vec<f64> = (0..count).map(|_| bench.commit()).collect::<Result<_>>()?;
            Ok(json!({"chunk_ms": times}))
        });
    }
    let bundle = EngineBundle::open(loaded.config.engine.folder.as_ref(), &Trust::of_config(&loaded.config)?)?;
    if let Some(tokens) = args.guidance {
        let mut bench = VlmBench::new(&loaded.config, &bundle, args.prompt, tokens)?;
        print_line!("{}", json!({"ready": true, "engines": bench.describe()}));
        return serve(|count| {
            let times: Vec<f64> = (0..count).map(|_| bench.generate()).collect::<Result<_>>()?;
            Ok(json!({"chunk_ms": times, "generated": bench.generated()}))
        });
    }
    let model = loaded.config.model.clone();
    let camera = SourceCamera::of_model(&model);
    let mut ride = Plan::new(loaded.config, bundle.manifest(), camera, RideOptions::EVALUATION)?.warm(bundle)?;
    let engines: Map<String, Value> =
        ride.engines().into_iter().map(|(graph, description)| (graph.as_str().to_owned(), json!(description))).collect();
    let mut simulation = SimulationDriver::new(ride.config(), 0, Options::default())?;
    for _ in 0..args.warmup {
        run_chunk(&mut simulation, &mut ride)?;
    }
    print_line!("{}", json!({"ready": true, "engines": engines, "arena_bytes": ride.arena().bytes()}));
    serve(|count| {
        let times: Vec<ChunkTime> = (0..count).map(|_| run_chunk(&mut simulation, &mut ride)).collect::<Result<_>>()?;
        let of = |ms: &dyn Fn(&ChunkTime) -> f64| json!(times.iter().map(ms).collect::<Vec<f64>>());
        let stages: Map<String, Value> =
            Stage::ALL.iter().map(|s| (s.as_str().to_owned(), of(&|t| t.stages[*s as usize] as f64 * 1e-6))).collect();
        Ok(json!({"chunk_ms": of(&|t| t.wall_ms), "passes": times.last().map(|t| t.passes), "stages_ms": stages}))
    })
}

/// Prints one line of JSON for each number on standard input.
fn serve(mut respond: impl FnMut(usize) -> Result<Value>) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line.context("cannot read standard input")?;
        let count: usize = line.trim().parse().with_context(|| format!("standard input: not a number of chunks (got {line:?})"))?;
        print_line!("{}", respond(count)?);
    }
    Ok(())
}
