//! `drivewam bench`: chunks on demand, for a comparison that takes turns (`make bench`).

mod guidance;
mod selection;

use crate::shipped::ConfigArgs;
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use drivewam::stages::Stage;
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_engine::{Folder, Trust};
use drivewam_simulation::{CameraSource, SimulationDriver};
use drivewam_world::Options;
use guidance::Talk;
use selection::Selection;
use serde_json::{Map, Value, json};
use std::io::BufRead;
use std::time::{Duration, Instant};

/// Options of `drivewam bench`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Chunks driven before the first answer: the memory is full then.
    #[arg(long, default_value_t = 8)]
    warmup: usize,
    /// Instead of chunks: the selection of a full memory by itself, with no engine.
    #[arg(long)]
    selection: bool,
    /// Instead of chunks: answers of the folder's language model, of so many tokens each.
    #[arg(long, value_name = "TOKENS", conflicts_with = "selection")]
    guidance: Option<usize>,
    /// With --guidance: tokens of text in the prompt, beside two pictures.
    #[arg(long, default_value_t = 64)]
    prompt: usize,
}

/// What a chunk took: all of it by the wall, and of that the stages, in nanoseconds; and its passes.
struct Took {
    wall_ms: f64,
    stages: [u64; Stage::ALL.len()],
    passes: u32,
}

/// Drives until the next chunk is done. Drawing is not timed: every call of the ride is.
fn chunk(feed: &mut SimulationDriver, ride: &mut Ride) -> Result<Took> {
    let mut wall = Duration::ZERO;
    loop {
        if feed.is_frame() {
            feed.draw();
        }
        let from = Instant::now();
        let outcome = feed.push(ride)?;
        wall += from.elapsed();
        let done = outcome.map(|o| (Stage::ALL.map(|s| o.stages.ns(s)), o.stages.passes()));
        feed.step(feed.world.expert());
        if let Some((stages, passes)) = done {
            return Ok(Took { wall_ms: wall.as_secs_f64() * 1e3, stages, passes });
        }
    }
}

/// Answers each number on standard input by so many chunks: one JSON line with the milliseconds of each.
///
/// # Errors
/// Of the configuration, the engines or the ride; a line that is not a number.
pub(crate) fn run(args: &Args) -> Result<()> {
    let named = args.config.load()?;
    if args.selection {
        let mut selection = Selection::new(&named.config)?;
        say!("{}", json!({"ready": true}));
        return answer(|count| {
            let took: Vec<f64> = (0..count).map(|_| selection.forget()).collect::<Result<_>>()?;
            Ok(json!({"chunk_ms": took}))
        });
    }
    let folder = Folder::open(named.config.engine.folder.as_ref(), &Trust::of(&named.config.vehicle)?, None)?;
    if let Some(tokens) = args.guidance {
        let mut talk = Talk::new(&named.config, &folder, args.prompt, tokens)?;
        say!("{}", json!({"ready": true, "engines": talk.describe()}));
        return answer(|count| {
            let took: Vec<f64> = (0..count).map(|_| talk.answer()).collect::<Result<_>>()?;
            Ok(json!({"chunk_ms": took, "said": talk.said()}))
        });
    }
    let model = named.config.model.clone();
    let camera = SourceCamera::of_model(&model);
    let mut ride = Plan::new(named.config, folder.manifest(), camera, RideOptions::default())?.warm(&folder)?;
    let engines: Map<String, Value> = ride.engines().into_iter().map(|(g, words)| (g.as_str().to_owned(), json!(words))).collect();
    let mut feed = SimulationDriver::new(&model, 0, Options::default(), CameraSource::Own)?;
    for _ in 0..args.warmup {
        chunk(&mut feed, &mut ride)?;
    }
    say!("{}", json!({"ready": true, "engines": engines, "arena_bytes": ride.arena().bytes()}));
    answer(|count| {
        let took: Vec<Took> = (0..count).map(|_| chunk(&mut feed, &mut ride)).collect::<Result<_>>()?;
        let of = |ms: &dyn Fn(&Took) -> f64| json!(took.iter().map(ms).collect::<Vec<f64>>());
        let stages: Map<String, Value> =
            Stage::ALL.iter().map(|s| (s.as_str().to_owned(), of(&|t| t.stages[*s as usize] as f64 * 1e-6))).collect();
        Ok(json!({"chunk_ms": of(&|t| t.wall_ms), "passes": took.last().map(|t| t.passes), "stages_ms": stages}))
    })
}

/// One line of JSON for each line of standard input.
fn answer(mut to: impl FnMut(usize) -> Result<Value>) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line.context("standard input cannot be read")?;
        let count: usize = line.trim().parse().with_context(|| format!("standard input: not a number of chunks (got {line:?})"))?;
        say!("{}", to(count)?);
    }
    Ok(())
}
