//! `build_engines`: builds the engines of a target from exported graphs and writes their manifest.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg_attr(not(feature = "tensorrt"), path = "no_build.rs")]
mod build;
mod bundle;
mod files;
#[cfg(feature = "tensorrt")]
mod fusion;
mod job;
mod messages;
mod sign;
mod supervise;
mod worker;

use anyhow::{Context, Result, bail};
use clap::Parser;
use drivewam::load_config;
use drivewam_console::{note, print_line, text};
use drivewam_core::ErrorKind;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, EngineKind, Layer};
use drivewam_core::manifest::Family;
use drivewam_engine::{EngineBundle, Trust};
use indicatif::{ProgressBar, ProgressStyle};
use job::{Job, Plan, SourceBundle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Largest file of a target, bytes.
const TARGET_BYTES: u64 = 1 << 20;

/// Builds engines with TensorRT or TensorRT-RTX. Each graph is built in a process of its own, with
/// a memory and a time limit; finished engines are kept when a later graph fails.
///
/// The existing folder stays valid until the new one is complete, and is then replaced in one step.
/// TensorRT builds for the GPU of this machine. TensorRT-RTX builds for the compute capabilities of
/// the target and needs no GPU.
#[derive(Debug, Parser)]
#[command(name = "build_engines", version = concat!(env!("CARGO_PKG_VERSION"), " (DriveWAM Edge)"))]
struct Args {
    /// Configuration: `engine.folder` holds the exported graphs, and its sizes are those of the
    /// engines.
    config: PathBuf,
    /// Target: a YAML file with `target:`, `engine:` and `build:`, or the name of one in the folder
    /// target/ beside CONFIG.
    #[arg(long, value_name = "T")]
    target: String,
    /// Folder to write, or to replace if it holds engines. Default: a folder with the target's name
    /// beside that of the graphs.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder of the exported graphs, in place of the configuration's.
    #[arg(long, value_name = "DIR")]
    graphs: Option<PathBuf>,
    /// Graph to build; may be repeated. Default: every graph of the folder. Engines of other graphs
    /// are kept if they were built with the same settings.
    #[arg(long = "graph", value_name = "NAME")]
    only: Vec<String>,
    /// Overrides one key, for example --set build.flags.optimization_level=5; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Sign the manifest with this ed25519 private key (PEM, as `openssl genpkey -algorithm
    /// ed25519` writes it).
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Accept an engine in which no attention block was fused into one kernel.
    #[arg(long)]
    allow_unfused: bool,
    /// Parse every graph with the library's parser, build nothing.
    #[arg(long, conflicts_with = "dry_run")]
    parse_only: bool,
    /// Print what would be built, build nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    // An error message quotes the library's errors; RUST_LOG=tensorrt=info shows its whole log.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_unset| "off".into()))
        .with_ansi(false)
        // Its own complaint about a full standard error would panic.
        .log_internal_errors(false)
        .without_time()
        .init();
    let is_worker = std::env::args_os().nth(1).is_some_and(|argument| argument == messages::WORKER_FLAG);
    let done = if is_worker {
        worker::run()
    } else {
        match drivewam_console::parse() {
            Ok(args) => run(&args),
            Err(code) => return code,
        }
    };
    drivewam_console::exit_code("build_engines", done.map(|()| ExitCode::SUCCESS))
}

fn run(args: &Args) -> Result<()> {
    let (config, name) = configuration(args)?;
    let family = match config.engine.kind {
        EngineKind::Tensorrt => Family::Tensorrt,
        EngineKind::TensorrtRtx => Family::TensorrtRtx,
        other => bail!("{}: engine.kind: got {other:?}, wanted tensorrt or tensorrt_rtx: other engines are not built", args.target),
    };
    let key = args.sign.as_deref().map(sign::read).transpose()?;
    let source = PathBuf::from(&config.engine.folder);
    let out = args.out.clone().unwrap_or_else(|| source.with_file_name(&name));
    let only = args.only.iter().map(|name| graph(name)).collect::<Result<Vec<_>>>()?;
    let bar = bar(args.json)?;
    bar.set_message("checking the graphs");
    let mut progress = |done: u64, all: u64| {
        bar.set_length(all);
        bar.set_position(done);
    };
    // Signatures matter where engines are loaded, on the vehicle: graphs to build need none.
    let report = EngineBundle::verify(&source, &Trust::default(), Some(&mut progress));
    if !report.is_whole() {
        return Err(report.into_first_fault().map_or_else(|| anyhow::anyhow!("{source:?}: not whole"), Into::into));
    }
    let checked = SourceBundle { path: source, manifest: report.manifest?, sha256: report.manifest_sha256.unwrap_or_default() };
    checked.manifest.check_model(&config.model)?;
    bar.finish_and_clear();
    let plan = Plan::new(&config, family, checked, &only)?;
    if args.dry_run {
        if args.json {
            print_line!("{}", plan.json(&out));
        } else {
            text(&plan.table(&out));
        }
        return Ok(());
    }
    let request = |job: &Job, engine: &Path| worker::request(&config, family, job, engine, args.parse_only, &bundle::timing_cache(&out));
    let machine = build::machine(family, &config)?;
    if args.parse_only {
        for job in &plan.jobs {
            supervise::build_in_worker(&request(job, Path::new("")), &job.limits(&config.build)?, &bar)?;
            print_line!("{:<18} accepted by {family} {}", job.graph.as_str(), machine.library);
        }
        return Ok(());
    }
    let mut writer = bundle::BundleWriter::begin(&out, &plan, &machine, key.as_ref())?;
    for job in &plan.jobs {
        if !args.json {
            note!("{:<18} {}", job.graph.as_str(), job.description());
        }
        check_interrupted()?;
        if let Some(known) = writer.reuse(job) {
            job.check(&known, args.allow_unfused).with_context(|| format!("graph {}", job.graph))?;
            continue;
        }
        let limits = job.limits(&config.build)?;
        let built = supervise::build_in_worker(&request(job, &writer.engine_path(job)), &limits, &bar);
        let built = built.with_context(|| format!("graph {}", job.graph))?;
        job.check(&built, args.allow_unfused).with_context(|| format!("graph {}", job.graph))?;
        writer.add(job, built)?;
    }
    bar.finish_and_clear();
    check_interrupted()?;
    let report = writer.finish(&config, &plan, &name, key.as_ref())?;
    if args.json {
        print_line!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        text(&report.to_string());
    }
    Ok(())
}

/// Fails after Ctrl-C.
fn check_interrupted() -> Result<()> {
    if supervise::interrupted() { bail!("interrupted: {}", supervise::KEPT) } else { Ok(()) }
}

/// The configuration with the target and the overrides on top, and the target's name.
fn configuration(args: &Args) -> Result<(Config, String)> {
    let beside = args.config.parent().unwrap_or(Path::new("")).join("target").join(format!("{}.yaml", args.target));
    let path = [PathBuf::from(&args.target), beside.clone()]
        .into_iter()
        .find(|path| path.exists())
        .with_context(|| format!("--target {:?}: no such file, and no {beside:?}", args.target))?;
    let text = drivewam_files::read_text(&path, TARGET_BYTES, ErrorKind::Io).context("--target")?;
    let mut layers = vec![Layer { name: path.display().to_string(), text }];
    for text in &args.set {
        layers.push(Layer::setting(text)?);
    }
    if let Some(folder) = &args.graphs {
        layers.push(Layer { name: "--graphs".to_owned(), text: serde_json::json!({"engine": {"folder": folder}}).to_string() });
    }
    let mut config = load_config(&args.config, &layers)?;
    drivewam_console::warn("build_engines", config.deprecated_keys());
    if let Ok(plain) = Path::new(&config.engine.folder).canonicalize() {
        config.engine.folder = plain.display().to_string();
    }
    if config.engine.kind == EngineKind::TensorrtRtx
        && std::env::var_os("DRIVEWAM_TENSORRT").is_none()
        && config.engine.tensorrt.library.is_none()
    {
        config.engine.tensorrt.library = wheel();
    }
    let name = config.target.name.clone();
    if name.is_empty() || name.starts_with('.') || name.bytes().any(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'-' | b'_' | b'.')) {
        bail!("target.name: got {name:?}, wanted letters, digits, '.', '_' and '-': it names the folder");
    }
    Ok((config, name))
}

/// TensorRT-RTX where `make setup` installs it.
fn wheel() -> Option<String> {
    let pythons = std::fs::read_dir(".venv/lib").into_iter().flatten().flatten();
    let mut paths = pythons.map(|python| python.path().join("site-packages/tensorrt_rtx_libs/libtensorrt_rtx.so.1"));
    paths.find(|path| path.exists()).and_then(|path| path.canonicalize().ok()).map(|path| path.display().to_string())
}

fn graph(name: &str) -> Result<Graph> {
    let known = Graph::ALL.map(Graph::as_str);
    Graph::ALL
        .into_iter()
        .find(|graph| graph.as_str() == name)
        .with_context(|| format!("--graph: got {name:?}, wanted one of {}", known.join(", ")))
}

fn bar(json: bool) -> Result<ProgressBar> {
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(1) };
    bar.set_style(ProgressStyle::with_template("{bar:40} {msg} {elapsed}")?);
    Ok(bar)
}
