//! `drivewam bench`: chunks on demand, for a comparison that takes turns (`make bench`).

mod selection;

use crate::shipped::ConfigArgs;
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use drivewam::ingest::EgoState;
use drivewam::telemetry::Stage;
use drivewam::{Plan, Progress, Ride, RideOptions, SourceCamera};
use drivewam_engine::Folder;
use drivewam_world::{Canvas, Options, World};
use selection::Selection;
use serde_json::{Map, Value, json};
use std::io::BufRead;

const TICK_NS: i64 = 100_000_000;

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
}

/// A ride through a drawn world that never ends.
struct Endless {
    ride: Ride,
    world: World,
    canvas: Canvas,
    tick: i64,
}

impl Endless {
    /// Drives until the next chunk is done: nanoseconds of each stage, and passes.
    fn chunk(&mut self) -> Result<([u64; Stage::ALL.len()], u32)> {
        let frame_every = 10 / i64::from(self.ride.config().model.image.frame_hz);
        loop {
            let (stamp_ns, ego) = (self.tick * TICK_NS, self.world.ego());
            self.ride.push_ego(
                stamp_ns,
                EgoState { speed_mps: ego.speed_mps, acceleration_mps2: ego.acceleration_mps2, curvature_1pm: ego.curvature_1pm },
            )?;
            self.ride.push_pose(stamp_ns, ego.pose)?;
            let mut done = None;
            if self.tick % frame_every == 0 {
                self.world.render(&mut self.canvas);
                self.ride.push_frame(stamp_ns, &self.canvas.rgb)?;
                if let Progress::Outcome(outcome) = self.ride.step(stamp_ns)? {
                    done = Some((Stage::ALL.map(|s| outcome.stages.ns(s)), outcome.stages.passes()));
                }
            }
            self.world.step(self.world.expert());
            self.tick += 1;
            if let Some(done) = done {
                return Ok(done);
            }
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
    let folder = Folder::open(named.config.engine.folder.as_ref(), None)?;
    let model = named.config.model.clone();
    let camera = SourceCamera::of_model(&model);
    let canvas = Canvas::new(camera.width, camera.height, camera.intrinsics);
    let ride = Plan::new(named.config, folder.manifest(), camera, RideOptions::default())?.warm(&folder)?;
    let engines: Map<String, Value> = ride.engines().into_iter().map(|(g, words)| (g.as_str().to_owned(), json!(words))).collect();
    let mut endless = Endless { ride, world: World::new(0, Options::default()), canvas, tick: 0 };
    for _ in 0..args.warmup {
        endless.chunk()?;
    }
    say!("{}", json!({"ready": true, "engines": engines, "arena_bytes": endless.ride.arena().bytes()}));
    answer(|count| {
        let mut stages = vec![Vec::with_capacity(count); Stage::ALL.len()];
        let (mut totals, mut passes) = (Vec::with_capacity(count), 0);
        for _ in 0..count {
            let (ns, made) = endless.chunk()?;
            passes = made;
            totals.push(ns.iter().sum::<u64>() as f64 * 1e-6);
            stages.iter_mut().zip(ns).for_each(|(all, ns)| all.push(ns as f64 * 1e-6));
        }
        let stages: Map<String, Value> = Stage::ALL.iter().zip(stages).map(|(s, ms)| (s.as_str().to_owned(), json!(ms))).collect();
        Ok(json!({"chunk_ms": totals, "passes": passes, "stages_ms": stages}))
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
