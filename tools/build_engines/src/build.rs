//! What the feature `tensorrt` adds: the vendor's builder, on one component.

use crate::component::{Done, Machine, Request, Word};
use crate::files::write_synced;
use crate::fusion;
use anyhow::{Result, anyhow, bail};
use drivewam_core::config::Config;
use drivewam_core::manifest::{Dotted, Family, Fusion, Role};
use drivewam_device::cuda::{PrimaryContext, driver_version};
use drivewam_engine::folder::vouch;
use drivewam_engine::tensorrt::{Library, builder};
use std::fs;
use std::time::Instant;

/// What would build.
pub(crate) fn library(family: Family, config: &Config) -> Result<Machine> {
    let library = Library::open(family, config.engine.tensorrt.library.as_deref())?;
    let primary = driver_version().and_then(|_| PrimaryContext::retain(i32::try_from(config.engine.tensorrt.gpu).unwrap_or(i32::MAX)));
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

/// One engine and the report of its layers, written where the order says.
pub(crate) fn build(request: &Request, onnx: &[u8], say: &mut dyn FnMut(Word) -> bool) -> Result<Done> {
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
        file: vouch(&[], Role::Engine),
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
    let primary = driver_version().and_then(|_| PrimaryContext::retain(i32::try_from(request.gpu).unwrap_or(i32::MAX))).ok();
    // The library times and asks the GPU whose context is current.
    primary.as_ref().map_or(Ok(()), |primary| primary.enter())?;
    let product = builder::build(&library, &asked, &mut step)?;
    write_synced(&request.engine, &product.engine)?;
    if !product.timing_cache.is_empty() {
        // Only speeds up the next build: losing it is no fault.
        let aside = request.timing_cache.with_extension("new");
        let _ = write_synced(&aside, &product.timing_cache).and_then(|()| Ok(fs::rename(&aside, &request.timing_cache)?));
    }
    done.file = vouch(&product.engine, Role::Engine);
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
            done.layers = Some(vouch(facts.layers.as_bytes(), Role::Report));
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
fn peak_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kb| kb * 1024)
}
