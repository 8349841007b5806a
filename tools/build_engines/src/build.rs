//! Builds one graph with the vendor's builder; only with the feature `tensorrt`.

use crate::files::write_synced;
use crate::fusion;
use crate::messages::{BuildMachine, BuildRequest, BuiltEngine, WorkerMessage};
use anyhow::{Result, anyhow, bail};
use drivewam_core::ErrorKind;
use drivewam_core::config::Config;
use drivewam_core::manifest::{Dotted, Family, FileRole, Fusion};
use drivewam_device::cuda::{PrimaryContext, driver_version};
use drivewam_engine::bundle::attest;
use drivewam_engine::tensorrt::{Library, builder};
use std::fs;
use std::time::Instant;

/// Largest file of timings, bytes. A larger one is not read, and the build measures anew.
const TIMING_CACHE_BYTES: u64 = 1 << 30;

/// The library, driver and GPU that would build.
///
/// # Errors
/// A library that cannot be opened; no GPU where the build needs one.
pub(crate) fn machine(family: Family, config: &Config) -> Result<BuildMachine> {
    let library = Library::open(family, config.engine.tensorrt.library.as_deref())?;
    let primary = driver_version().and_then(|_| PrimaryContext::retain(i32::try_from(config.engine.tensorrt.gpu).unwrap_or(i32::MAX)));
    if family == Family::Tensorrt {
        // Its builder times kernels on the GPU, and without a driver it aborts the process.
        primary.as_ref().map_err(|e| anyhow!("TensorRT builds on the GPU that will run the engines: {e}"))?;
    } else if config.build.compute_capabilities.is_empty() && primary.is_err() {
        bail!("build.compute_capabilities: empty, and this machine has no GPU whose capability could be taken");
    }
    let primary = primary.ok();
    Ok(BuildMachine {
        library: library.version(),
        driver: primary.as_ref().map(|p| Dotted(p.driver())),
        gpu: primary.as_ref().map(|p| p.model()),
        capability: primary.as_ref().map(|p| Dotted(p.capability())),
    })
}

/// Builds one engine and writes it and its layer report to the paths of the request. `send` returns
/// false to cancel the build.
///
/// # Errors
/// Of the library, the GPU and the disk.
pub(crate) fn build(request: &BuildRequest, onnx: &[u8], send: &mut dyn FnMut(WorkerMessage) -> bool) -> Result<BuiltEngine> {
    let began = Instant::now();
    let library = Library::open(request.family, request.library.as_deref())?;
    let timing_cache = drivewam_files::read(&request.timing_cache, TIMING_CACHE_BYTES, ErrorKind::Io).unwrap_or_default();
    let builder_request = builder::BuildRequest {
        onnx,
        path: &request.onnx,
        inputs: &request.inputs,
        profiles: &request.profiles,
        capabilities: &request.capabilities,
        flags: request.flags,
        timing_cache: &timing_cache,
    };
    let mut built = BuiltEngine {
        file: attest(&[], FileRole::Engine),
        library: library.version(),
        seconds: 0.0,
        peak_bytes: 0,
        scratch_bytes: None,
        fusion: if request.has_attention { Fusion::Unknown } else { Fusion::None },
        layers: None,
    };
    if request.parse_only {
        builder::parse(&library, &builder_request)?;
        return Ok(built);
    }
    let mut step = |phase: &str, step: i32, steps: i32| send(WorkerMessage::Progress { phase: phase.to_owned(), step, steps });
    let primary = driver_version().and_then(|_| PrimaryContext::retain(i32::try_from(request.gpu).unwrap_or(i32::MAX))).ok();
    // The library uses the GPU of the current context.
    primary.as_ref().map_or(Ok(()), |primary| primary.enter())?;
    let output = builder::build(&library, &builder_request, &mut step)?;
    write_synced(&request.engine, &output.engine)?;
    if !output.timing_cache.is_empty() {
        // The cache only speeds up the next build: an error is no fault of this one.
        let temporary = request.timing_cache.with_extension("new");
        let _ = write_synced(&temporary, &output.timing_cache).and_then(|()| Ok(fs::rename(&temporary, &request.timing_cache)?));
    }
    built.file = attest(&output.engine, FileRole::Engine);
    if let Some(primary) = primary {
        let runs_here = request.capabilities.is_empty() || request.capabilities.contains(&Dotted(primary.capability()));
        if runs_here {
            let facts = builder::facts(&library, &primary, &output.engine, request.flags.version_compatible)?;
            let report = request.engine.with_extension("layers.json");
            write_synced(&report, facts.layers.as_bytes())?;
            built.scratch_bytes = Some(facts.scratch_bytes);
            // TensorRT-RTX chooses its kernels on the GPU at load time, so its report cannot tell.
            if request.has_attention && request.family == Family::Tensorrt {
                built.fusion = Fusion::Fused(fusion::count(&facts.layers)?);
            }
            built.layers = Some(attest(facts.layers.as_bytes(), FileRole::Report));
        }
    }
    if request.has_attention && request.family == Family::TensorrtRtx {
        built.fusion = Fusion::Named(fusion::named(&output.engine));
    }
    built.seconds = began.elapsed().as_secs_f64();
    built.peak_bytes = peak_bytes();
    Ok(built)
}

/// The largest resident memory of this process so far, in bytes.
fn peak_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kb| kb * 1024)
}
