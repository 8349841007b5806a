//! One component, built in a process of its own: a crash or a full memory is that component's error, and nobody else's.

use crate::files::{hash, hex, write_synced};
use crate::fusion;
use crate::job::Job;
use anyhow::{Context, Result, anyhow, bail};
use drivewam_core::bindings::TensorSpec;
use drivewam_core::config::Config;
use drivewam_core::manifest::{Capability, Dotted, Family, Flags, Fusion, Profile, Version};
use drivewam_device::cuda::{Primary, driver_version};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The first argument of a child.
pub(crate) const WORD: &str = "--component";

/// What a child is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    family: Family,
    library: Option<String>,
    gpu: u32,
    onnx: PathBuf,
    onnx_sha256: String,
    weights: Vec<(PathBuf, String)>,
    inputs: Vec<TensorSpec>,
    profiles: Vec<Profile>,
    capabilities: Vec<Capability>,
    flags: Flags,
    has_attention: bool,
    parse_only: bool,
    timing_cache: PathBuf,
    /// Where the engine goes; the report of its layers goes beside it.
    engine: PathBuf,
}

/// What a child says, a line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// A step of a phase.
    Step { phase: String, step: i32, steps: i32 },
    /// The last word of a success.
    Done(Done),
}

/// What was built.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Of the library that built it.
    pub(crate) library: Version,
    pub(crate) seconds: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) scratch_bytes: Option<u64>,
    pub(crate) fusion: Fusion,
    /// The report of layers, where a driver let the library read its engine.
    pub(crate) layers: Option<PathBuf>,
}

/// The library's version, its driver's and the machine's GPU, where they are.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) library: Version,
    pub(crate) driver: Option<Dotted<2>>,
    pub(crate) gpu: Option<String>,
    pub(crate) capability: Option<Capability>,
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.library)
    }
}

/// The child's order for `job`.
pub(crate) fn request(config: &Config, family: Family, job: &Job, engine: &Path, parse_only: bool, timing_cache: &Path) -> Request {
    Request {
        family,
        library: config.engine.tensorrt.library.clone(),
        gpu: config.engine.tensorrt.gpu,
        onnx: job.onnx.clone(),
        onnx_sha256: job.onnx_sha256.clone(),
        weights: job.weights.clone(),
        inputs: job.entry.inputs.clone(),
        profiles: job.profiles.clone(),
        capabilities: config.build.compute_capabilities.clone(),
        flags: config.build.flags(),
        has_attention: job.entry.attention.is_some(),
        parse_only,
        timing_cache: timing_cache.to_owned(),
        engine: engine.to_owned(),
    }
}

#[cfg(not(feature = "tensorrt"))]
pub(crate) fn library(_: Family, _: &Config) -> Result<Machine> {
    bail!(
        "this program was built without TensorRT: cargo run --release -p drivewam-build-engines --features tensorrt; --dry-run needs none"
    )
}

#[cfg(not(feature = "tensorrt"))]
fn build(_: &Request, _: &[u8], _: &mut dyn FnMut(Word) -> bool) -> Result<Done> {
    bail!("this program was built without TensorRT")
}

/// What would build.
#[cfg(feature = "tensorrt")]
pub(crate) fn library(family: Family, config: &Config) -> Result<Machine> {
    let library = drivewam_engine::tensorrt::Library::open(family, config.engine.tensorrt.library.as_deref())?;
    let primary = driver_version().and_then(|_| Primary::retain(i32::try_from(config.engine.tensorrt.gpu).unwrap_or(i32::MAX)));
    if family == Family::Tensorrt {
        // Its builder times kernels on the GPU; without a driver it ends the process.
        primary.as_ref().map_err(|e| anyhow!("TensorRT builds on the GPU that the engines are for: {e}"))?;
    } else if config.build.compute_capabilities.is_empty() && primary.is_err() {
        bail!("build.compute_capabilities: empty, and this machine has no GPU to build for");
    }
    let primary = primary.ok();
    Ok(Machine {
        library: library.version(),
        driver: primary.as_ref().map(|p| Dotted(p.driver())),
        gpu: primary.as_ref().map(|p| p.model()),
        capability: primary.as_ref().map(|p| Dotted(p.capability())),
    })
}

/// The child: reads its order from stdin, says words on stdout.
pub(crate) fn run() -> Result<()> {
    // When memory runs out the system ends this process, not the parent and not the vehicle's.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // Nor does it outlive the parent, whose lock goes with it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order)?;
    let request: Request = serde_json::from_str(&order).context("not an order for a component")?;
    let onnx = fs::read(&request.onnx).with_context(|| format!("{:?}", request.onnx))?;
    if hex(&Sha256::digest(&onnx)) != request.onnx_sha256 {
        bail!("{:?}: changed since the manifest was checked", request.onnx);
    }
    // `false` once nobody listens any more.
    let mut say = |word: Word| {
        let mut out = std::io::stdout().lock();
        serde_json::to_string(&word).is_ok_and(|line| writeln!(out, "{line}").and_then(|()| out.flush()).is_ok())
    };
    let done = build(&request, &onnx, &mut say)?;
    // The library read the weights from the disk itself.
    for (path, wanted) in &request.weights {
        let got = hash(path)?;
        if got != *wanted {
            bail!("{path:?}: changed while it was built from (got SHA-256 {got}, wanted {wanted})");
        }
    }
    say(Word::Done(done));
    Ok(())
}

#[cfg(feature = "tensorrt")]
fn build(request: &Request, onnx: &[u8], say: &mut dyn FnMut(Word) -> bool) -> Result<Done> {
    use drivewam_engine::tensorrt::{Library, builder};
    let began = Instant::now();
    let library = Library::open(request.family, request.library.as_deref())?;
    let timing_cache = fs::read(&request.timing_cache).unwrap_or_default();
    let asked = builder::Request {
        onnx,
        path: &request.onnx,
        inputs: &request.inputs,
        profiles: &request.profiles,
        capabilities: &request.capabilities,
        flags: request.flags,
        timing_cache: &timing_cache,
    };
    let mut done = Done {
        bytes: 0,
        sha256: String::new(),
        library: library.version(),
        seconds: 0.0,
        peak_bytes: 0,
        scratch_bytes: None,
        fusion: if request.has_attention { Fusion::Unknown } else { Fusion::None },
        layers: None,
    };
    if request.parse_only {
        builder::parse(&library, &asked)?;
        return Ok(done);
    }
    let mut step = |phase: &str, step: i32, steps: i32| say(Word::Step { phase: phase.to_owned(), step, steps });
    let primary = driver_version().and_then(|_| Primary::retain(i32::try_from(request.gpu).unwrap_or(i32::MAX))).ok();
    // The library times and asks the GPU whose context is current.
    primary.as_ref().map_or(Ok(()), |primary| primary.enter())?;
    let product = builder::build(&library, &asked, &mut step)?;
    write_synced(&request.engine, &product.engine)?;
    if !product.timing_cache.is_empty() {
        // Only speeds up the next build: losing it is no fault.
        let aside = request.timing_cache.with_extension("new");
        let _ = write_synced(&aside, &product.timing_cache).and_then(|()| Ok(fs::rename(&aside, &request.timing_cache)?));
    }
    (done.bytes, done.sha256) = (product.engine.len() as u64, hex(&Sha256::digest(&product.engine)));
    if let Some(primary) = primary {
        let runs_here = request.capabilities.is_empty() || request.capabilities.contains(&Dotted(primary.capability()));
        if runs_here {
            let facts = builder::facts(&library, &primary, &product.engine, request.flags.version_compatible)?;
            let report = request.engine.with_extension("layers.json");
            write_synced(&report, facts.layers.as_bytes())?;
            done.scratch_bytes = Some(facts.scratch_bytes);
            // TensorRT-RTX chooses its kernels when it meets the GPU.
            if request.has_attention && request.family == Family::Tensorrt {
                done.fusion = Fusion::Fused(fusion::count(&facts.layers)?);
            }
            done.layers = Some(report);
        }
    }
    if request.has_attention && request.family == Family::TensorrtRtx {
        done.fusion = Fusion::Named(fusion::named(&product.engine));
    }
    done.seconds = began.elapsed().as_secs_f64();
    done.peak_bytes = peak_bytes();
    Ok(done)
}

/// The most memory that this process had.
#[cfg(feature = "tensorrt")]
fn peak_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kb| kb * 1024)
}
