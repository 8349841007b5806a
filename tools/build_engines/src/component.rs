//! One component, built in a process of its own: a crash or a full memory is that component's error, and nobody else's.

use crate::build::build;
use crate::job::Job;
use anyhow::{Context, Result, bail};
use drivewam_core::config::Config;
use drivewam_core::manifest::{Capability, Dotted, Family, FileEntry, Flags, Fusion, Profile, Version};
use drivewam_core::tensor::TensorSpec;
use drivewam_engine::bundle::{attest, check_file};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The first argument of a child.
pub(crate) const WORD: &str = "--component";

/// What a child is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) family: Family,
    pub(crate) library: Option<String>,
    pub(crate) gpu: u32,
    pub(crate) onnx: PathBuf,
    pub(crate) onnx_file: FileEntry,
    pub(crate) weights: Vec<(PathBuf, FileEntry)>,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) flags: Flags,
    pub(crate) has_attention: bool,
    pub(crate) parse_only: bool,
    pub(crate) timing_cache: PathBuf,
    /// Where the engine goes; the report of its layers goes beside it.
    pub(crate) engine: PathBuf,
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
    pub(crate) file: FileEntry,
    /// Of the library that built it.
    pub(crate) library: Version,
    pub(crate) seconds: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) scratch_bytes: Option<u64>,
    pub(crate) fusion: Fusion,
    /// The report of layers, where a driver let the library read its engine.
    pub(crate) layers: Option<FileEntry>,
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
        onnx_file: job.onnx_file.clone(),
        weights: job.weights.clone(),
        inputs: job.entry.inputs.clone(),
        profiles: job.profiles.clone(),
        capabilities: config.build.compute_capabilities.clone(),
        flags: config.build.flags,
        has_attention: job.entry.attention.is_some(),
        parse_only,
        timing_cache: timing_cache.to_owned(),
        engine: engine.to_owned(),
    }
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
    if attest(&onnx, request.onnx_file.role) != request.onnx_file {
        bail!("{:?}: changed since the manifest was checked", request.onnx);
    }
    // `false` once nobody listens any more.
    let mut say = |word: Word| {
        let mut out = std::io::stdout().lock();
        serde_json::to_string(&word).is_ok_and(|line| writeln!(out, "{line}").and_then(|()| out.flush()).is_ok())
    };
    let done = build(&request, &onnx, &mut say)?;
    // The library read the weights from the disk itself.
    for (path, entry) in &request.weights {
        check_file(path, entry).context("changed while it was built from")?;
    }
    say(Word::Done(done));
    Ok(())
}
