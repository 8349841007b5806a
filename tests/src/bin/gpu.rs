//! `drivewam-gpu`: the conformance suite and the benchmark of the CUDA kernels on a real GPU, and a
//! ride on TensorRT engines. `tests/gpu/run.sh` runs it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use drivewam::{Plan, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::arena::ArenaPlan;
use drivewam_core::config::Layer;
use drivewam_core::dtype::DType;
use drivewam_core::selection::Scoring;
use drivewam_device::cuda::{CudaDevice, Kernel, Nvidia};
use drivewam_device::gpu::{GraphNodeCounts, StreamPriority, capture};
use drivewam_device::{Device, DeviceMemory, Gpu};
use drivewam_engine::{EngineBundle, Trust};
use drivewam_tests::conformance::{Make, suite};
use drivewam_tests::drive::drive;
use drivewam_tests::paper::{ACTION, LAYERS, Memory, ROW_BYTES, VIDEO};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Tests and benchmarks the CUDA kernels on a real GPU.
#[derive(Debug, Parser)]
#[command(name = "drivewam-gpu", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Folder that build_kernels wrote.
    #[arg(long, global = true, default_value = "engines/kernels")]
    kernels: PathBuf,
    /// Index of the GPU.
    #[arg(long, global = true, default_value_t = 0)]
    gpu: i32,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the conformance suite of devices, for each element type of the memory.
    Suite {
        /// Only tests whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Time selection and overwrite at the paper's size, and print the figures as JSON.
    Bench {
        /// Commits per measurement.
        #[arg(long, default_value_t = 300)]
        commits: u32,
        /// Number of measurements.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// Number of layers; fewer than the paper's only to try the program.
        #[arg(long, default_value_t = LAYERS)]
        layers: usize,
    },
    /// Drive through a simulated world on the engines of a configuration and on the host, and
    /// compare.
    Ride {
        /// Configuration whose `engine.kind` is tensorrt or tensorrt_rtx.
        config: PathBuf,
        /// Configuration of the same model on the host.
        #[arg(long, default_value = "configs/tiny.yaml")]
        host: PathBuf,
        /// Folder of engines, in place of the configuration's.
        #[arg(long)]
        engines: Option<PathBuf>,
        /// Scratch memory of a pass in bytes, if the engines do not state it.
        #[arg(long)]
        scratch_bytes: Option<u64>,
        /// Number of chunks.
        #[arg(long, default_value_t = 20)]
        chunks: usize,
        /// Largest mean distance of positions from the host's, m.
        #[arg(long, default_value_t = 0.1)]
        most_m: f64,
    },
}

/// GPU and kernels for [`device`], which as a plain function pointer cannot capture them.
static OPENED: OnceLock<(i32, PathBuf)> = OnceLock::new();

fn open() -> drivewam_core::Result<Nvidia> {
    let (gpu, kernels) = OPENED.get().cloned().unwrap_or_default();
    Nvidia::open(gpu, &kernels, StreamPriority::High)
}

fn device(plan: ArenaPlan) -> drivewam_core::Result<Box<dyn Device>> {
    Ok(Box::new(CudaDevice::new(Box::new(open()?), plan)?))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let _ = OPENED.set((args.gpu, args.kernels.clone()));
    let done = match &args.verb {
        Verb::Suite { only } => run_suite(only),
        Verb::Bench { commits, rounds, layers } => bench(*commits, *rounds, *layers),
        Verb::Ride { config, host, engines, scratch_bytes, chunks, most_m } => {
            let layer = json!({"engine": {"folder": engines, "tensorrt": {"gpu": args.gpu, "kernels": args.kernels, "scratch_bytes": scratch_bytes}}});
            let text = if engines.is_some() { layer } else { json!({"engine": {"tensorrt": layer["engine"]["tensorrt"]}}) };
            ride(config, host, text.to_string(), *chunks, *most_m)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drivewam-gpu: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_suite(only: &str) -> Result<()> {
    let mut out = std::io::stdout();
    // Kept open for all tests: creating a context takes longer than most of them.
    let _context = open()?;
    let (mut run, mut failed) = (0, Vec::new());
    writeln!(out, "{}", device(drivewam_core::arena::Planner::new().finish(0)?)?.describe())?;
    for kv in [DType::F32, DType::F16, DType::Bf16] {
        for (name, test) in suite().into_iter().filter(|(name, _)| name.contains(only)) {
            let done = catch_unwind(|| test(Make { device, kv }));
            run += 1;
            writeln!(out, "{kv:<5} {name}: {}", if done.is_ok() { "ok" } else { "FAILED" })?;
            if done.is_err() {
                failed.push(format!("{kv} {name}"));
            }
        }
    }
    writeln!(out, "{} of {run} passed", run - failed.len())?;
    if run == 0 || !failed.is_empty() {
        bail!("{} failed of {run}: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

/// Warms up a ride.
fn warm(path: &Path, layers: &[Layer]) -> Result<Ride> {
    let config = load_config(path, layers)?;
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::of_config(&config)?)?;
    let camera = SourceCamera::of_model(&config.model);
    Ok(Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION)?.warm(bundle)?)
}

fn ride(config: &Path, host: &Path, layer: String, chunks: usize, most_m: f64) -> Result<()> {
    let mut out = std::io::stdout();
    let mut gpu = warm(config, &[Layer { name: "the command line".to_owned(), text: layer }]).context("on the GPU")?;
    writeln!(out, "{}", gpu.describe_device())?;
    for (graph, words) in gpu.engines() {
        writeln!(out, "{graph}: {words}, self-test passed")?;
    }
    let (got, wanted) = (drive(&mut gpu, chunks).context("on the GPU")?, drive(&mut warm(host, &[])?, chunks).context("on the host")?);
    let mut sorted = got.seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN) * 1e3
    };
    let (mean, worst) = got.distance(&wanted);
    writeln!(out, "{chunks} chunks: median {:.2} ms, p95 {:.2} ms, greatest {:.2} ms", at(0.5), at(0.95), at(1.0))?;
    writeln!(out, "positions differ from the host's by {mean:.2e} m in the mean, {worst:.2e} m at most")?;
    if got.poses.len() != wanted.poses.len() || mean.is_nan() || mean > most_m {
        bail!("the rides differ: {} and {} poses, {mean} m in the mean (wanted at most {most_m})", got.poses.len(), wanted.poses.len());
    }
    Ok(())
}

fn microseconds(since: Instant, commits: u32) -> f64 {
    since.elapsed().as_secs_f64() * 1e6 / f64::from(commits)
}

fn bench(commits: u32, rounds: usize, layers: usize) -> Result<()> {
    let memory = Memory::new(layers, Scoring::default())?;
    let mut whole = CudaDevice::new(Box::new(open()?), memory.plan.clone())?;
    memory.fill(&mut whole).context("filling the memory")?;
    whole.set_chunk(0)?;
    let graph = capture(&mut whole, |device| memory.commit(device, 0)).context("capturing")?;
    let nodes = whole.node_counts(graph)?;
    if nodes != (GraphNodeCounts { kernels: 3, memory: 0, others: 0 }) {
        bail!("the graph holds {nodes:?}, wanted three launches and no memory nodes");
    }
    let (mut graphs, mut launches, mut chunk) = (Vec::new(), Vec::new(), 4);
    for _ in 0..rounds {
        let since = Instant::now();
        for _ in 0..commits {
            whole.set_chunk(chunk)?;
            whole.replay(graph)?;
            chunk += 1;
        }
        whole.synchronize()?;
        graphs.push(microseconds(since, commits));
        let since = Instant::now();
        for _ in 0..commits {
            memory.commit(&mut whole, chunk)?;
            chunk += 1;
        }
        whole.synchronize()?;
        launches.push(microseconds(since, commits));
    }
    // Single kernels, timed with events.
    let seen: Arc<Mutex<Vec<(Kernel, f32)>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let timed = open()?.timed(move |kernel, ms| notes.lock().unwrap_or_else(PoisonError::into_inner).push((kernel, ms)))?;
    let mut single = CudaDevice::new(Box::new(timed), memory.plan.clone())?;
    memory.fill(&mut single)?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    for chunk in 4..4 + commits.min(50) {
        memory.commit(&mut single, chunk)?;
    }
    single.synchronize()?;
    let mut kernels: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (kernel, ms) in seen.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        kernels.entry(kernel.name().to_string_lossy().into_owned()).or_default().push(f64::from(*ms) * 1e3);
    }
    let figures = json!({
        "device": whole.describe(),
        "graph_us": graphs,
        "launches_us": launches,
        "kernels_us": kernels,
        "graph_nodes": {"kernels": nodes.kernels, "memory": nodes.memory, "others": nodes.others},
        "layers": layers,
        "key_bytes": layers * (VIDEO[0] + ACTION[0]) * ROW_BYTES,
        "new_bytes": 2 * layers * (VIDEO[1] + ACTION[1]) * ROW_BYTES,
        "commits": commits,
    });
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&figures)?)?;
    Ok(())
}
