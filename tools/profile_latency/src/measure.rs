//! One measurement in this process: a ride through a drawn world, chunk after chunk.
//!
//! A chunk's latency is the time from its newest frame (handed over: `push_frame` and what comes with it) to its outcome. Under a period a chunk should begin at a
//! fixed time, and its response counts from then, so that a slow chunk also costs those that wait behind it (no coordinated omission).

use crate::args::Args;
use crate::machine::{Machine, Meter, PERIOD, PowerReport, Source};
use anyhow::{Context, Result, ensure};
use drivewam::guard::Verdict;
use drivewam::guidance::status::GuidanceSource;
use drivewam::stages::Stage;
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_core::arena::ArenaPlan;
use drivewam_core::config::Config;
use drivewam_core::dims::Model;
use drivewam_core::manifest::Manifest;
use drivewam_engine::{Folder, Trust, load};
use drivewam_simulation::{CameraSource, SimulationDriver};
use drivewam_world::{Options, TICK_NS};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A run of a stage within a chunk. Times in ns; `from_ns` since the window began, as are those of [`Chunk`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) stage: Stage,
    pub(crate) from_ns: u64,
    pub(crate) ns: u64,
}

/// A chunk of the window.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// When its newest frame was handed over.
    pub(crate) from_ns: u64,
    pub(crate) latency_ns: u64,
    /// Since it should have begun; under a period alone.
    pub(crate) response_ns: Option<u64>,
    pub(crate) runs: Vec<Run>,
    pub(crate) verdict: Verdict,
    pub(crate) uncovered_ms: f64,
    pub(crate) voice: GuidanceSource,
    pub(crate) age_ms: Option<f64>,
    /// Of an answer that no chunk before was told.
    pub(crate) took_ms: Option<f64>,
    pub(crate) refusals: u32,
    /// Energy of the board from the chunk before to this one, J.
    pub(crate) joules: Option<f64>,
}

/// How long it took until the first trajectory, ns.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Startup {
    /// Configuration and manifest read, and every file hashed.
    pub(crate) open_ns: u64,
    pub(crate) plan_ns: u64,
    /// Engines loaded.
    pub(crate) load_ns: u64,
    /// The rest of Warm: the arena, self-tests, a chunk on noise.
    pub(crate) warm_ns: u64,
    /// All of it and the first chunk, drawing left out.
    pub(crate) first_trajectory_ns: u64,
}

/// All that a measurement came to.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) began: SystemTime,
    pub(crate) config: Config,
    pub(crate) manifest: Manifest,
    pub(crate) manifest_sha256: String,
    pub(crate) engines: Vec<(String, String)>,
    pub(crate) arena: ArenaPlan,
    pub(crate) startup: Startup,
    pub(crate) warmup_chunks: usize,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) window: Duration,
    pub(crate) before: Machine,
    pub(crate) after: Machine,
    pub(crate) power: Result<PowerReport, String>,
    pub(crate) interrupted: bool,
}

/// A ride and what feeds it.
struct Bench {
    ride: Ride,
    feed: SimulationDriver,
    /// Wall time of a chunk's beginning; `period` apart.
    due: Option<(Instant, Duration)>,
    chunks: u32,
    took_ms: Option<f64>,
    per_chunk: u64,
}

/// Measures `args` once; `begun`: when this process did. Ends early, with what there is, when `stop` is raised.
///
/// # Errors
/// Of the configuration, the engines or the ride; a window of nothing.
pub(crate) fn measure(args: &Args, begun: Instant, stop: &AtomicBool, mut told: impl FnMut(&str, usize)) -> Result<Measured> {
    ensure!(!args.window.is_empty(), "--window: nothing to measure (got {}, wanted at least a chunk)", args.window.word());
    let began = SystemTime::now();
    let config = args.configuration()?;
    let folder = Folder::open(config.engine.folder.as_ref(), &Trust::of(&config.vehicle)?, None)?;
    let mut startup = Startup { open_ns: nanos(begun.elapsed()), ..Startup::default() };
    let from = Instant::now();
    let model = config.model.clone();
    let camera = SourceCamera::of_model(&model);
    let plan = Plan::new(config.clone(), folder.manifest(), camera, RideOptions { realtime: true, ..RideOptions::default() })?;
    startup.plan_ns = nanos(from.elapsed());
    let (from, loading) = (Instant::now(), Cell::new(Duration::ZERO));
    let engine = config.engine.clone();
    let timed = |graph| {
        let from = Instant::now();
        let loaded = load(&engine, &folder, graph);
        loading.set(loading.get() + from.elapsed());
        loaded
    };
    let ride = plan.warm_engines(&folder, timed)?;
    startup.load_ns = nanos(loading.get());
    startup.warm_ns = nanos(from.elapsed().saturating_sub(loading.get()));
    let feed = SimulationDriver::new(&model, args.seed, Options::default(), CameraSource::Own)?;
    let ready = begun.elapsed();
    let mut bench = Bench { ride, feed, due: None, chunks: 0, took_ms: None, per_chunk: per_chunk(&model)? };
    let (mut warmup_chunks, warming) = (0, Instant::now());
    loop {
        let chunk = bench.chunk(warming)?;
        if warmup_chunks == 0 {
            startup.first_trajectory_ns = nanos(ready) + chunk.latency_ns;
        }
        warmup_chunks += 1;
        told("warm-up", warmup_chunks);
        if args.warmup.is_over(warmup_chunks, warming.elapsed()) || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let meter = Source::find(Path::new("/"), config.engine.tensorrt.gpu)
        .and_then(|source| Meter::start(source, PERIOD).map_err(|e| format!("the power cannot be watched: {e}")));
    let before = Machine::read(Path::new("/"));
    let mut chunks = Vec::new();
    let window = Instant::now();
    (bench.due, bench.chunks) = (args.period.map(|period| (window, period)), 0);
    let mut energy = meter.as_ref().ok().and_then(Meter::energy_mj);
    while !args.window.is_over(chunks.len(), window.elapsed()) && !stop.load(Ordering::Relaxed) {
        let mut chunk = bench.chunk(window)?;
        let now = meter.as_ref().ok().and_then(Meter::energy_mj);
        chunk.joules = now.zip(energy).map(|(now, before)| (now - before) * 1e-3);
        energy = now;
        chunks.push(chunk);
        told("window", chunks.len());
    }
    let window = window.elapsed();
    ensure!(!chunks.is_empty(), "interrupted before a chunk was measured");
    Ok(Measured {
        began,
        engines: bench.ride.engines().into_iter().map(|(graph, words)| (graph.as_str().to_owned(), words)).collect(),
        arena: bench.ride.arena().clone(),
        manifest: folder.manifest().clone(),
        manifest_sha256: folder.manifest_sha256().to_owned(),
        config,
        startup,
        warmup_chunks,
        chunks,
        window,
        before,
        after: Machine::read(Path::new("/")),
        power: meter.map(Meter::stop),
        interrupted: stop.load(Ordering::Relaxed),
    })
}

/// Ticks of the world in a chunk.
fn per_chunk(model: &Model) -> Result<u64> {
    u64::try_from(model.chunk_ns() / TICK_NS).context("a chunk is no whole number of ticks")
}

impl Bench {
    /// Drives until the next outcome. Frames before the newest are handed over as soon as they are drawn; the newest waits for its time.
    fn chunk(&mut self, origin: Instant) -> Result<Chunk> {
        loop {
            if self.feed.is_frame() {
                self.feed.draw();
            }
            let is_last = self.feed.tick().is_multiple_of(self.per_chunk);
            let due = self.due.filter(|_| is_last && self.feed.tick() > 0).map(|(first, period)| first + period * self.chunks);
            if let Some(due) = due {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let from = Instant::now();
            // The vehicle's clock stands still while nothing is driven; what is late by the wall is late by the stamps.
            let late_ns = due.map_or(0, |due| i64::try_from(from.saturating_duration_since(due).as_nanos()).unwrap_or(i64::MAX));
            let (feed, ride) = (&mut self.feed, &mut self.ride);
            let done = feed.push_late(ride, late_ns)?.is_some();
            let ended = Instant::now();
            self.feed.step(self.feed.world.expert());
            if done {
                self.chunks += 1;
                return Ok(self.settle(origin, from, ended, due));
            }
        }
    }

    fn settle(&mut self, origin: Instant, from: Instant, ended: Instant, due: Option<Instant>) -> Chunk {
        let since = |at: Instant| nanos(at.saturating_duration_since(origin));
        let mut chunk = Chunk {
            from_ns: since(from),
            latency_ns: nanos(ended - from),
            response_ns: due.map(|due| nanos(ended.saturating_duration_since(due))),
            runs: Vec::new(),
            verdict: Verdict::Accepted,
            uncovered_ms: 0.0,
            voice: GuidanceSource::Command,
            age_ms: None,
            took_ms: None,
            refusals: 0,
            joules: None,
        };
        if let Some(outcome) = self.ride.outcome() {
            let told = &outcome.guidance;
            let is_new = told.generate_ms.is_some() && told.generate_ms != self.took_ms;
            self.took_ms = told.generate_ms;
            chunk.runs = outcome.stages.spans().map(|span| Run { stage: span.stage, from_ns: since(span.from), ns: span.ns }).collect();
            (chunk.verdict, chunk.uncovered_ms, chunk.voice) = (outcome.verdict, outcome.uncovered_ms, told.source);
            (chunk.age_ms, chunk.took_ms, chunk.refusals) = (told.age_ms, told.generate_ms.filter(|_| is_new), told.reject_count);
        }
        chunk
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
