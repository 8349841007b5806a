//! One measurement in this process: a ride through a simulated world, chunk by chunk.
//!
//! The latency of a chunk is the time from the push of its newest frame to its outcome. With a
//! period each chunk is due at a fixed time and its response time counts from then, so that a slow
//! chunk also costs the ones that wait behind it (no coordinated omission).

use crate::args::Args;
use crate::machine::{Machine, Meter, PERIOD, PowerReport, Source};
use anyhow::{Context, Result, ensure};
use drivewam::guard::Verdict;
use drivewam::guidance::status::GuidanceSource;
use drivewam::stages::Stage;
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_core::arena::ArenaPlan;
use drivewam_core::config::Config;
use drivewam_core::manifest::Manifest;
use drivewam_engine::{EngineBundle, Trust, load};
use drivewam_simulation::SimulationDriver;
use drivewam_world::{Options, TICK_NS};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// One run of a stage within a chunk. Times in ns; `from_ns` counts from the start of the window,
/// as in [`Chunk`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) stage: Stage,
    pub(crate) from_ns: u64,
    pub(crate) ns: u64,
}

/// A measured chunk.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// When its newest frame was pushed.
    pub(crate) from_ns: u64,
    pub(crate) latency_ns: u64,
    /// Time since the chunk was due; only with a period.
    pub(crate) response_ns: Option<u64>,
    pub(crate) runs: Vec<Run>,
    pub(crate) verdict: Verdict,
    pub(crate) uncovered_ms: f64,
    pub(crate) source: GuidanceSource,
    pub(crate) age_ms: Option<f64>,
    /// Generation time of the guidance, for the first chunk that uses it.
    pub(crate) generate_ms: Option<f64>,
    pub(crate) reject_count: u32,
    /// Energy of the board since the previous chunk, J.
    pub(crate) joules: Option<f64>,
}

/// Times until the first trajectory, ns.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Startup {
    /// Read configuration and manifest, hash every file.
    pub(crate) open_ns: u64,
    pub(crate) plan_ns: u64,
    /// Load the engines.
    pub(crate) load_ns: u64,
    /// The rest of Warm: arena, self-tests, one chunk on noise.
    pub(crate) warm_ns: u64,
    /// All of the above and the first chunk, without drawing.
    pub(crate) first_trajectory_ns: u64,
}

/// The result of a measurement.
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

/// A ride and the world that it drives through.
struct Bench {
    ride: Ride,
    simulation: SimulationDriver,
    /// When the first chunk is due, and the period.
    due: Option<(Instant, Duration)>,
    chunks: u32,
    generate_ms: Option<f64>,
    ticks_per_chunk: u64,
}

/// Measures `args` once. `started` is when this process started. Calls `progress` with the phase
/// and its number of chunks. Returns early, with the chunks so far, once `stop` is set; `None` if
/// there are none yet.
///
/// # Errors
/// Of the configuration, the engines or the ride; an empty window.
pub(crate) fn measure(args: &Args, started: Instant, stop: &AtomicBool, mut progress: impl FnMut(&str, usize)) -> Result<Option<Measured>> {
    ensure!(!args.window.is_empty(), "--window: nothing to measure (got {}, wanted at least one chunk)", args.window.argument());
    let began = SystemTime::now();
    let config = args.configuration()?;
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::of_config(&config)?)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut startup = Startup { open_ns: nanos(started.elapsed()), ..Startup::default() };
    let from = Instant::now();
    let model = config.model.clone();
    let camera = SourceCamera::of_model(&model);
    let plan = Plan::new(config.clone(), bundle.manifest(), camera, RideOptions { realtime: true, ..RideOptions::EVALUATION })?;
    startup.plan_ns = nanos(from.elapsed());
    let (from, loading) = (Instant::now(), Cell::new(Duration::ZERO));
    let engine = config.engine.clone();
    let timed = |bundle: &EngineBundle, graph| {
        let from = Instant::now();
        let loaded = load(&engine, bundle, graph);
        loading.set(loading.get() + from.elapsed());
        loaded
    };
    let ride = plan.warm_engines(bundle.clone(), timed)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    startup.load_ns = nanos(loading.get());
    startup.warm_ns = nanos(from.elapsed().saturating_sub(loading.get()));
    let ticks_per_chunk = ticks_per_chunk(ride.config())?;
    let simulation = SimulationDriver::new(ride.config(), args.seed, Options::default())?;
    let ready = started.elapsed();
    let mut bench = Bench { ride, simulation, due: None, chunks: 0, generate_ms: None, ticks_per_chunk };
    let (mut warmup_chunks, warming) = (0, Instant::now());
    loop {
        let chunk = bench.chunk(warming)?;
        if warmup_chunks == 0 {
            startup.first_trajectory_ns = nanos(ready) + chunk.latency_ns;
        }
        warmup_chunks += 1;
        progress("warm-up", warmup_chunks);
        if args.warmup.is_over(warmup_chunks, warming.elapsed()) || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let meter = Source::find(Path::new("/"), config.engine.tensorrt.gpu)
        .and_then(|source| Meter::start(source, PERIOD).map_err(|e| format!("cannot start the power meter: {e}")));
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
        progress("window", chunks.len());
    }
    let window = window.elapsed();
    if chunks.is_empty() {
        return Ok(None);
    }
    Ok(Some(Measured {
        began,
        engines: bench.ride.engines().into_iter().map(|(graph, text)| (graph.as_str().to_owned(), text)).collect(),
        arena: bench.ride.arena().clone(),
        manifest: bundle.manifest().clone(),
        manifest_sha256: bundle.manifest_sha256().to_owned(),
        config,
        startup,
        warmup_chunks,
        chunks,
        window,
        before,
        after: Machine::read(Path::new("/")),
        power: meter.map(Meter::stop),
        interrupted: stop.load(Ordering::Relaxed),
    }))
}

/// Ticks of the world from one chunk to the next, whichever lanes they are of.
fn ticks_per_chunk(config: &Config) -> Result<u64> {
    u64::try_from(config.stagger_ns() / TICK_NS).context("the duration of a chunk is not a whole number of ticks")
}

impl Bench {
    /// Drives until the next outcome. Earlier frames are pushed as soon as they are drawn; the
    /// newest waits until the chunk is due.
    fn chunk(&mut self, origin: Instant) -> Result<Chunk> {
        loop {
            if self.simulation.is_frame() {
                self.simulation.draw();
            }
            let is_last = self.simulation.tick().is_multiple_of(self.ticks_per_chunk);
            let due = self.due.filter(|_| is_last && self.simulation.tick() > 0).map(|(first, period)| first + period * self.chunks);
            if let Some(due) = due {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let from = Instant::now();
            // The vehicle's clock stops between ticks: wall-clock delay is added to the
            // stamps.
            let late_ns = due.map_or(0, |due| i64::try_from(from.saturating_duration_since(due).as_nanos()).unwrap_or(i64::MAX));
            let (simulation, ride) = (&mut self.simulation, &mut self.ride);
            // An answer to a silence is no chunk.
            let done = simulation.push_late(ride, late_ns)?.is_some_and(|outcome| outcome.policy_t0_ns.is_some());
            let ended = Instant::now();
            self.simulation.step(self.simulation.world.expert());
            if done {
                self.chunks += 1;
                return Ok(self.finish(origin, from, ended, due));
            }
        }
    }

    /// The measured chunk, from its times and the ride's outcome.
    fn finish(&mut self, origin: Instant, from: Instant, ended: Instant, due: Option<Instant>) -> Chunk {
        let since = |at: Instant| nanos(at.saturating_duration_since(origin));
        let mut chunk = Chunk {
            from_ns: since(from),
            latency_ns: nanos(ended - from),
            response_ns: due.map(|due| nanos(ended.saturating_duration_since(due))),
            runs: Vec::new(),
            verdict: Verdict::Accepted,
            uncovered_ms: 0.0,
            source: GuidanceSource::Command,
            age_ms: None,
            generate_ms: None,
            reject_count: 0,
            joules: None,
        };
        if let Some(outcome) = self.ride.outcome() {
            let guidance = &outcome.guidance;
            let is_new = guidance.generate_ms.is_some() && guidance.generate_ms != self.generate_ms;
            self.generate_ms = guidance.generate_ms;
            chunk.runs = outcome.stages.spans().map(|span| Run { stage: span.stage, from_ns: since(span.from), ns: span.ns }).collect();
            (chunk.verdict, chunk.uncovered_ms, chunk.source) = (outcome.verdict, outcome.uncovered_ms, guidance.source);
            (chunk.age_ms, chunk.generate_ms, chunk.reject_count) =
                (guidance.age_ms, guidance.generate_ms.filter(|_| is_new), guidance.reject_count);
        }
        chunk
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
