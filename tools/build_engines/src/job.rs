//! Plans a build: which graphs, for which shapes, within which limits of memory and time.

use crate::messages::BuiltEngine;
use anyhow::{Context, Result, bail};
use drivewam::guidance::prompt_tokens::decoder_shapes;
use drivewam::guidance::vlm::DecoderShapes;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{BuildConfig, Config};
use drivewam_core::manifest::{Family, FileEntry, Fusion, GraphEntry, Manifest, Precision, Profile};
use drivewam_core::{Error, ErrorKind};
use drivewam_engine::bundle::{check_file, check_onnx, weight_bytes};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Memory of an idle builder, in bytes: measured with TensorRT-RTX 1.7 on a graph without weights,
/// and rounded up.
const BUILDER_BYTES: u64 = 600 << 20;
/// Copies of the weights that exist at the peak of a build: the parser's, the builder's two and the
/// serialised engine. Measured: see docs/engines.md.
const WEIGHT_COPIES: u64 = 4;
/// Bytes of an engine that one profile may add to the weights. Measured: 8 MiB for six layers.
const CODE_BYTES: u64 = 16 << 20;
/// Bytes that the runtime inside a version-compatible engine may take: TensorRT's lean runtime has
/// 111 MB.
const LEAN_BYTES: u64 = 192 << 20;

/// The graphs to build, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: PathBuf,
    /// SHA-256 of the source manifest's text when it was checked.
    pub(crate) source_sha256: String,
    pub(crate) manifest: Manifest,
    pub(crate) jobs: Vec<Job>,
    pub(crate) family: Family,
    pub(crate) build: BuildConfig,
}

/// A folder of exported graphs that was verified.
#[derive(Debug)]
pub(crate) struct SourceBundle {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    /// SHA-256 of the manifest's text.
    pub(crate) sha256: String,
}

/// One graph to build.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) graph: Graph,
    pub(crate) entry: GraphEntry,
    pub(crate) onnx: PathBuf,
    pub(crate) onnx_file: FileEntry,
    /// Weight files that the ONNX file refers to, and what the manifest says of them.
    pub(crate) weights: Vec<(PathBuf, FileEntry)>,
    pub(crate) weight_bytes: u64,
    pub(crate) profiles: Vec<Profile>,
    /// Whether the engine contains a runtime (`version_compatible`).
    carries_runtime: bool,
}

/// Limits of a worker process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: u64,
    pub(crate) time: Duration,
}

impl Plan {
    /// Plans the graphs `only`, or all graphs if it is empty.
    ///
    /// # Errors
    /// A source that holds engines, has no self-test or lacks a graph; a flag that the library
    /// family does not have; an ONNX file that its manifest entry does not describe.
    pub(crate) fn new(config: &Config, family: Family, source: SourceBundle, only: &[Graph]) -> Result<Self> {
        let SourceBundle { path: source, manifest, sha256: source_sha256 } = source;
        if let Some(built) = &manifest.built {
            bail!("{source:?}: got engines built by {} {}, wanted the exported graphs", built.family, built.library);
        }
        let requested = |flag: bool, key: &str| flag.then(|| format!("build.{key}"));
        let unsupported = match family {
            Family::TensorrtRtx => requested(config.build.flags.version_compatible, "flags.version_compatible")
                .or_else(|| requested(config.build.flags.hardware_compatible, "flags.hardware_compatible")),
            Family::Tensorrt => requested(!config.build.compute_capabilities.is_empty(), "compute_capabilities"),
        };
        if let Some(key) = unsupported {
            bail!("{key}: {family} does not support it");
        }
        if manifest.self_test.is_none() {
            bail!("{source:?}: has no self-test, so its engines could not be tested: export the graphs again");
        }
        let model = &config.model;
        let (video, action, tail) = config.slots();
        let s = video + action + tail;
        let fixed = |n: usize| Profile { n: [n; 3], s: [s; 3] };
        // A profile for each pass of the ride, so that the builder tunes kernels for its exact
        // shapes.
        let passes = [model.video_tokens(), model.action_tokens(), model.packed_tokens()];
        let mut jobs = Vec::new();
        for graph in Graph::ALL.into_iter().filter(|graph| only.is_empty() || only.contains(graph)) {
            let Some(entry) = manifest.graphs.get(&graph) else {
                if only.is_empty() {
                    continue;
                }
                bail!("{source:?}: has no graph {graph}");
            };
            let is_dynamic = entry.is_dynamic();
            let profiles = match graph {
                Graph::VlmDecoder => decoder(config, &manifest, &source)?,
                _ if is_dynamic => passes.map(fixed).to_vec(),
                _ => Vec::new(),
            };
            let onnx = source.join(&entry.file);
            let content = drivewam_files::read(&onnx, manifest.files[&entry.file].bytes, ErrorKind::Io)?;
            let named = |e: Error| e.at(source.display());
            let sizes = check_onnx(graph, entry, &content, &manifest.files).map_err(named)?;
            profiles.iter().try_for_each(|profile| sizes.check(profile.n[2], profile.s[2])).map_err(named)?;
            jobs.push(Job {
                graph,
                entry: entry.clone(),
                weight_bytes: weight_bytes(&content).map_err(|e| e.at(format!("{onnx:?}")))?,
                onnx_file: manifest.files[&entry.file].clone(),
                weights: entry.weights.iter().map(|name| (source.join(name), manifest.files[name].clone())).collect(),
                onnx,
                profiles,
                carries_runtime: config.build.flags.version_compatible,
            });
        }
        if jobs.is_empty() {
            bail!("{source:?}: has no graph to build");
        }
        Ok(Self { source, source_sha256, manifest, jobs, family, build: config.build.clone() })
    }

    /// What would be built, as a table.
    pub(crate) fn table(&self, out: &Path) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{} from {:?} to {out:?}", self.family, self.source);
        let _ = writeln!(text, "GPUs       {}", self.gpus());
        let _ = writeln!(text, "{:<18} {:<9} {:>12} {:>14}  profiles (N over S)", "graph", "precision", "weights", "needs about");
        for job in &self.jobs {
            let _ = writeln!(
                text,
                "{:<18} {:<9} {:>12} {:>14}  {}",
                job.graph.as_str(),
                job.entry.precision,
                mib(job.weight_bytes),
                mib(job.estimate()),
                profiles(&job.profiles)
            );
        }
        let _ = writeln!(text, "free memory {}", free_bytes().map_or("unknown".to_owned(), mib));
        text
    }

    /// What would be built, as JSON.
    pub(crate) fn json(&self, out: &Path) -> serde_json::Value {
        let jobs: Vec<_> = self
            .jobs
            .iter()
            .map(|job| {
                serde_json::json!({"graph": job.graph, "onnx": job.onnx, "precision": job.entry.precision, "weight_bytes": job.weight_bytes,
                    "estimate_bytes": job.estimate(), "profiles": job.profiles})
            })
            .collect();
        serde_json::json!({"family": self.family, "source": self.source, "out": out, "build": self.build, "free_bytes": free_bytes(), "graphs": jobs})
    }

    fn gpus(&self) -> String {
        let all: Vec<_> = self.build.compute_capabilities.iter().map(ToString::to_string).collect();
        if all.is_empty() { "the GPU of this machine".to_owned() } else { all.join(", ") }
    }
}

impl Job {
    /// Estimated memory of the build, in bytes.
    pub(crate) fn estimate(&self) -> u64 {
        BUILDER_BYTES.saturating_add(WEIGHT_COPIES.saturating_mul(self.weight_bytes))
    }

    /// One line that describes the build.
    pub(crate) fn description(&self) -> String {
        format!("{} of weights, {}, {}", mib(self.weight_bytes), self.entry.precision, profiles(&self.profiles))
    }

    /// Limits of the worker process. Without `build.memory_bytes` the memory limit is nine tenths
    /// of the free memory.
    ///
    /// # Errors
    /// An estimate above the memory limit.
    pub(crate) fn limits(&self, build: &BuildConfig) -> Result<Limits> {
        let memory_bytes = if build.memory_bytes > 0 { build.memory_bytes } else { free_bytes().map_or(u64::MAX, |free| free / 10 * 9) };
        if self.estimate() > memory_bytes {
            bail!(
                "graph {}: not started: the build needs about {}, the limit is {} (build.memory_bytes; by default nine tenths of free memory)",
                self.graph,
                mib(self.estimate()),
                mib(memory_bytes)
            );
        }
        Ok(Limits { memory_bytes, time: Duration::from_secs(build.time_limit_s) })
    }

    /// Checks the size and the attention kernels of a built engine.
    ///
    /// # Errors
    /// An engine that holds its weights more than once; one in half precision without any fused
    /// attention block, unless `allow_unfused`.
    pub(crate) fn check(&self, built: &BuiltEngine, allow_unfused: bool) -> Result<()> {
        let runtime = if self.carries_runtime { LEAN_BYTES } else { 0 };
        let code = CODE_BYTES.saturating_mul(self.profiles.len().max(1) as u64);
        let most = self.weight_bytes.saturating_add(self.weight_bytes / 8).saturating_add(code).saturating_add(runtime);
        if built.file.bytes > most {
            bail!(
                "the engine has {}, wanted at most {}: does it hold copies of the weights for each profile?",
                mib(built.file.bytes),
                mib(most)
            );
        }
        // The library fuses attention only in half precision.
        if matches!(built.fusion, Fusion::Fused(0) | Fusion::Named(0)) && self.entry.precision != Precision::F32 && !allow_unfused {
            bail!(
                "no attention block was fused into one kernel (attention: {}): export the graph with --attention textbook, or accept the engine with --allow-unfused",
                self.entry.attention.as_deref().unwrap_or("?")
            );
        }
        Ok(())
    }
}

/// Profiles of the language model: one token of an answer, and the prompts, whose length depends on
/// the route command's text.
fn decoder(config: &Config, manifest: &Manifest, source: &Path) -> Result<Vec<Profile>> {
    let name = &manifest.guidance()?.vlm.tokenizer;
    let path = source.join(name);
    let file = manifest.files.get(name).with_context(|| format!("{source:?}: the manifest names no file {name:?}"))?;
    check_file(&path, file)?;
    let tokenizer = drivewam_files::read(&path, file.bytes, ErrorKind::Io)?;
    let DecoderShapes { prompts, slots } = decoder_shapes(config, manifest, &tokenizer)?;
    let (least, most) = (prompts.iter().copied().min().unwrap_or(1), prompts.iter().copied().max().unwrap_or(1));
    let s = [slots; 3];
    Ok(vec![Profile { n: [1; 3], s }, Profile { n: [least, most, most], s }])
}

/// Memory that the system has available, in bytes.
fn free_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn profiles(all: &[Profile]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { "one shape".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if an engine with copies of its weights, or one in half precision without fused
    /// attention, is accepted.
    #[test]
    fn an_engine_that_is_too_large_or_not_fused_is_refused() {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engines/tiny/manifest.yaml")).unwrap();
        let entry = Manifest::parse(&text).unwrap().graphs[&Graph::Dit].clone();
        let profiles = vec![Profile { n: [8; 3], s: [172; 3] }; 3];
        let file = |bytes| FileEntry { sha256: String::new(), bytes, role: drivewam_core::manifest::FileRole::Engine };
        let mut job = Job {
            graph: Graph::Dit,
            entry,
            onnx: PathBuf::new(),
            onnx_file: file(0),
            weights: Vec::new(),
            weight_bytes: 1 << 30,
            profiles,
            carries_runtime: false,
        };
        let engine = |bytes, fusion| BuiltEngine {
            file: file(bytes),
            library: drivewam_core::manifest::Dotted([1, 7, 1]),
            seconds: 0.0,
            peak_bytes: 0,
            scratch_bytes: None,
            fusion,
            layers: None,
        };
        let error = |job: &Job, built: &BuiltEngine, allow| job.check(built, allow).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(error(&job, &engine((1 << 30) + (100 << 20), Fusion::Fused(0)), false), "", "f32 is never fused");
        assert!(error(&job, &engine(2 << 30, Fusion::Fused(3)), false).contains("copies of the weights"));
        job.entry.precision = Precision::F16;
        for unfused in [Fusion::Fused(0), Fusion::Named(0)] {
            let refused = error(&job, &engine(1 << 30, unfused), false);
            assert!(refused.contains("--attention textbook") && refused.contains("scores_concatenated"), "{refused}");
            assert_eq!(error(&job, &engine(1 << 30, unfused), true), "");
        }
        for fused in [Fusion::Fused(1), Fusion::Named(54), Fusion::Unknown] {
            assert_eq!(error(&job, &engine(1 << 30, fused), false), "");
        }
    }
}
