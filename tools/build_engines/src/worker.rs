//! The worker: builds one graph in a process of its own, so that a crash or a lack of memory fails
//! this graph alone.
//!
//! The worker never holds the weights: it hashes them in pieces and the vendor's parser reads them
//! from disk. So a memory map of the weight files would not lower its peak, which is the builder's.

use crate::build::build;
use crate::job::Job;
use crate::messages::{BuildRequest, WorkerMessage};
use anyhow::{Context, Result, bail};
use drivewam_core::ErrorKind;
use drivewam_core::config::Config;
use drivewam_core::manifest::Family;
use drivewam_engine::bundle::{attest, check_file};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

/// The request that makes a worker build `job`.
pub(crate) fn request(config: &Config, family: Family, job: &Job, engine: &Path, parse_only: bool, timing_cache: &Path) -> BuildRequest {
    BuildRequest {
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

/// Runs the worker: reads its request from stdin, builds, and writes messages to stdout.
///
/// # Errors
/// A request that cannot be read; a file that changed since the manifest was checked; the build's.
pub(crate) fn run() -> Result<()> {
    // When memory runs out, the kernel shall kill this process before any other.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // The parent holds the lock of the output folder: the worker must not outlive it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let request: BuildRequest = serde_json::from_str(&text).context("stdin holds no build request")?;
    let onnx = drivewam_files::read(&request.onnx, request.onnx_file.bytes, ErrorKind::Io)?;
    if attest(&onnx, request.onnx_file.role) != request.onnx_file {
        bail!("{:?}: changed since the manifest was checked", request.onnx);
    }
    // Returns false once the parent no longer reads, which ends the build.
    let mut send = |message: WorkerMessage| {
        let mut out = std::io::stdout().lock();
        serde_json::to_string(&message).is_ok_and(|line| writeln!(out, "{line}").and_then(|()| out.flush()).is_ok())
    };
    let built = build(&request, &onnx, &mut send)?;
    // The library read the weights from disk, after the manifest was checked.
    for (path, entry) in &request.weights {
        check_file(path, entry).context("changed during the build")?;
    }
    send(WorkerMessage::Finished(built));
    Ok(())
}
