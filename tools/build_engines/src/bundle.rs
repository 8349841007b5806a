//! Writes the output folder: gathers engines and manifest beside it, verifies them, and replaces
//! the existing folder in one step.

use crate::files::{self, sibling, write_synced};
use crate::job::{Job, Plan, mib};
use crate::messages::{BuildMachine, BuiltEngine};
use crate::sign;
use anyhow::{Context, Result, anyhow, bail};
use drivewam_core::ErrorKind;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::manifest::{
    Built, Compatible, Dotted, EngineEntry, FILE_NAME, FileEntry, GraphEntry, Manifest, Precision, Profile, Version,
};
use drivewam_engine::EngineBundle;
use drivewam_engine::bundle::{SIGNATURE_FILE_NAME, Signed, Trust, check_file, manifest_of};
use ed25519_dalek::SigningKey;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// File of a partial folder that holds the [`Built`] of its engines.
const KEY_FILE: &str = "build.json";
/// Longest record of an earlier build that is read, bytes.
const RECORD_BYTES: u64 = 1 << 20;

/// An unfinished build. The engines built so far stay on disk, and the next build resumes from
/// them.
#[derive(Debug)]
pub(crate) struct BundleWriter {
    out: PathBuf,
    /// Where the engines of this build lie until it finishes.
    partial: PathBuf,
    /// Locked while this value lives.
    _lock: File,
    built: Built,
    /// The finished engines, each with the folder that holds it.
    done: BTreeMap<Graph, (BuiltEngine, PathBuf)>,
    /// Manifest of the existing output folder, if its engines were built by the same library, for
    /// the same GPUs, with the same flags and from the same graphs.
    existing: Option<Manifest>,
}

/// What a finished build prints, as a table or as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct BuildReport {
    out: PathBuf,
    manifest_sha256: String,
    signed_by: Option<String>,
    library: String,
    graphs: Vec<GraphReport>,
}

#[derive(Debug, Serialize)]
struct GraphReport {
    graph: Graph,
    #[serde(flatten)]
    done: BuiltEngine,
}

impl fmt::Display for BuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<18} {:>12} {:>8} {:>12}  attention", "graph", "engine", "seconds", "peak")?;
        for GraphReport { graph, done } in &self.graphs {
            let (engine, peak) = (mib(done.file.bytes), mib(done.peak_bytes));
            writeln!(f, "{:<18} {engine:>12} {:>8.1} {peak:>12}  {}", graph.as_str(), done.seconds, done.fusion)?;
        }
        writeln!(f, "written to {:?} by {}", self.out, self.library)?;
        writeln!(f, "manifest {}: the value for engine.manifest_sha256", self.manifest_sha256)?;
        match &self.signed_by {
            Some(key) => writeln!(f, "signed by {key}: the entry for vehicle.trusted_keys"),
            None => writeln!(f, "not signed (--sign)"),
        }
    }
}

/// Path of the timing cache, which later builds for the same output folder reuse.
pub(crate) fn timing_cache(out: &Path) -> PathBuf {
    sibling(out, "timing_cache")
}

fn engine_file(graph: Graph) -> String {
    format!("{graph}.engine")
}

fn layers_file(graph: Graph) -> String {
    format!("{graph}.layers.json")
}

impl BundleWriter {
    /// Locks the output folder and finds what an earlier build left for the same graphs, library,
    /// GPUs and flags. With a key, engines of the existing folder are reused only if this key
    /// signed them.
    ///
    /// # Errors
    /// Another build holds the lock; `out` is not a folder of engines; `out` has engines of other
    /// graphs that this build could not keep; an I/O error.
    pub(crate) fn begin(out: &Path, plan: &Plan, machine: &BuildMachine, sign: Option<&SigningKey>) -> Result<Self> {
        let out = files::output_folder(out, &plan.source)?;
        let path = sibling(&out, "lock");
        let lock = File::create(&path).with_context(|| format!("cannot write {path:?}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => bail!("{out:?}: another build is running ({path:?} is locked)"),
            Err(fs::TryLockError::Error(e)) => return Err(e).with_context(|| format!("cannot lock {path:?}")),
        }
        let built = built(plan, machine)?;
        let there = manifest_of(&out).ok();
        let is_requested = |graph: &Graph| plan.jobs.iter().any(|job| job.graph == *graph);
        let others: Vec<&str> = there.iter().flat_map(|m| m.graphs.keys()).filter(|g| !is_requested(g)).map(|g| g.as_str()).collect();
        let is_trusted = || -> Result<bool> { Ok(EngineBundle::verify(&out, &sign::trust(sign)?, None).is_whole()) };
        let existing = match there {
            Some(manifest) if manifest.built.as_ref() == Some(&built) && is_trusted()? => Some(manifest),
            _ if others.is_empty() => None,
            _ => bail!(
                "{out:?}: its engines have other build settings, or the key did not sign them, and this build would drop {}: \
                 build all graphs, or choose another --out",
                others.join(", ")
            ),
        };
        let partial = partial_folder(&out, &built)?;
        let mut work = Self { out, partial, _lock: lock, built, done: BTreeMap::new(), existing };
        // Engines of graphs that were not requested are kept.
        let graphs: Vec<Graph> = work.existing.iter().flat_map(|m| m.graphs.keys()).copied().filter(|g| !is_requested(g)).collect();
        for graph in graphs {
            let done = work.existing_engine(graph).with_context(|| format!("graph {graph}: the existing folder has no engine of it"))?;
            work.done.insert(graph, (done, work.out.clone()));
        }
        Ok(work)
    }

    /// Where the worker writes the engine of `job`.
    pub(crate) fn engine_path(&self, job: &Job) -> PathBuf {
        self.partial.join(engine_file(job.graph))
    }

    /// Path of the record of a finished engine: its profiles and [`BuiltEngine`], as JSON.
    fn record(&self, graph: Graph) -> PathBuf {
        self.partial.join(format!("{graph}.json"))
    }

    /// An engine of the existing folder, by its manifest.
    fn existing_engine(&self, graph: Graph) -> Option<BuiltEngine> {
        let existing = self.existing.as_ref()?;
        let engine = existing.graphs.get(&graph)?.engine.as_ref()?;
        Some(BuiltEngine {
            file: existing.files.get(&engine_file(graph))?.clone(),
            library: self.built.library,
            seconds: engine.build_seconds,
            peak_bytes: 0,
            scratch_bytes: engine.scratch_bytes,
            fusion: engine.fusion,
            layers: engine.layers.as_ref().and_then(|report| existing.files.get(report)).cloned(),
        })
    }

    /// Reuses an engine that an earlier build left, in the partial or in the existing folder, if it
    /// is intact and was built from the same ONNX file for the same profiles.
    pub(crate) fn reuse(&mut self, job: &Job) -> Option<BuiltEngine> {
        let text = drivewam_files::read_text(&self.record(job.graph), RECORD_BYTES, ErrorKind::Io).unwrap_or_default();
        let left = serde_json::from_str::<(Vec<Profile>, BuiltEngine)>(&text)
            .ok()
            .filter(|(profiles, done)| *profiles == job.profiles && check_file(&self.engine_path(job), &done.file).is_ok())
            .map(|(_, done)| (done, self.partial.clone()));
        let is_same = |engine: &EngineEntry| engine.onnx_sha256 == job.onnx_file.sha256 && engine.profiles == job.profiles;
        let there = self.existing.as_ref().and_then(|existing| existing.graphs.get(&job.graph)?.engine.as_ref());
        let known = left
            .or_else(|| there.filter(|engine| is_same(engine)).and_then(|_| Some((self.existing_engine(job.graph)?, self.out.clone()))))?;
        self.done.insert(job.graph, known.clone());
        Some(known.0)
    }

    /// Adds an engine that a worker built, and records it for a resumed build.
    ///
    /// # Errors
    /// An engine of another library version than this build began with; an I/O error.
    pub(crate) fn add(&mut self, job: &Job, done: BuiltEngine) -> Result<()> {
        if done.library != self.built.library {
            bail!("the library changed during the build: got {}, wanted {}", done.library, self.built.library);
        }
        write_synced(&self.record(job.graph), serde_json::to_string(&(&job.profiles, &done))?.as_bytes())?;
        self.done.insert(job.graph, (done, self.partial.clone()));
        Ok(())
    }

    /// Gathers the new folder, verifies it as the vehicle of the configuration would, and replaces
    /// the existing one.
    ///
    /// # Errors
    /// A graph without an engine; a folder that the vehicle would refuse; an I/O error.
    pub(crate) fn finish(self, config: &Config, plan: &Plan, target: &str, key: Option<&SigningKey>) -> Result<BuildReport> {
        let new_folder = files::create_empty(&sibling(&self.out, "new"))?;
        let manifest = self.gather(&new_folder, plan, target)?;
        let text = serde_saphyr::to_string(&manifest)?;
        write_synced(&new_folder.join(FILE_NAME), text.as_bytes())?;
        if let Some(key) = key {
            write_synced(&new_folder.join(SIGNATURE_FILE_NAME), &sign::signature(key, text.as_bytes()))?;
        }
        // A vehicle without trusted keys would accept any signature, so this key is checked
        // instead.
        let trust = if config.vehicle.trusted_keys.is_empty() { sign::trust(key)? } else { Trust::of(&config.vehicle)? };
        let mut report = EngineBundle::verify(&new_folder, &trust, None);
        let (signed, manifest_sha256) = (report.signed.take(), report.manifest_sha256.take().unwrap_or_default());
        if let Some(fault) = report.into_first_fault() {
            return Err(anyhow!(fault).context("the vehicle of this configuration would refuse the new folder"));
        }
        files::sync(&new_folder)?;
        files::swap(&new_folder, &self.out)?;
        fs::remove_dir_all(&self.partial).with_context(|| format!("cannot remove {:?}", self.partial))?;
        let signed_by = match signed {
            Some(Signed::By(key)) => Some(key),
            _ => None,
        };
        let library = format!("{} {}", plan.family, self.built.library);
        let graphs = self.done.into_iter().map(|(graph, (done, _))| GraphReport { graph, done }).collect();
        Ok(BuildReport { out: self.out, manifest_sha256, signed_by, library, graphs })
    }

    /// Links all files into `new_folder`. Returns the source manifest with engines in place of ONNX
    /// files. Its hashes are those of the files when they were checked or built: verifying the
    /// folder finds a file that changed since.
    fn gather(&self, new_folder: &Path, plan: &Plan, target: &str) -> Result<Manifest> {
        let source = &plan.manifest;
        let mut files: BTreeMap<String, FileEntry> = BTreeMap::new();
        let mut take = |folder: &Path, name: &str, entry: &FileEntry| -> Result<()> {
            files::link(&folder.join(name), &new_folder.join(name))?;
            files.insert(name.to_owned(), entry.clone());
            Ok(())
        };
        let test = source.self_test.as_ref().context("the graphs have no self-test")?;
        let tokenizers = source.guidance.iter().flat_map(|guidance| [&guidance.vlm.tokenizer, &guidance.text.tokenizer]);
        for name in [&source.commands.file, &test.file].into_iter().chain(tokenizers) {
            take(&plan.source, name, &source.files[name])?;
        }
        for (graph, (done, folder)) in &self.done {
            take(folder, &engine_file(*graph), &done.file)?;
            done.layers.as_ref().map_or(Ok(()), |entry| take(folder, &layers_file(*graph), entry))?;
        }
        let mut graphs: BTreeMap<Graph, GraphEntry> = self.existing.iter().flat_map(|existing| existing.graphs.clone()).collect();
        for job in &plan.jobs {
            let (done, _) = self.done.get(&job.graph).with_context(|| format!("graph {} was not built", job.graph))?;
            let engine = EngineEntry {
                onnx_sha256: job.onnx_file.sha256.clone(),
                weight_bytes: job.weight_bytes,
                profiles: job.profiles.clone(),
                scratch_bytes: done.scratch_bytes,
                fusion: done.fusion,
                layers: done.layers.is_some().then(|| layers_file(job.graph)),
                build_seconds: (done.seconds * 10.0).round() / 10.0,
            };
            let uses_tf32 = self.built.flags.tf32 && job.entry.precision == Precision::F32;
            let tolerance = if uses_tf32 { job.entry.precision.tolerance(true) } else { job.entry.tolerance };
            let file = engine_file(job.graph);
            graphs.insert(job.graph, GraphEntry { file, weights: Vec::new(), tolerance, engine: Some(engine), ..job.entry.clone() });
        }
        Ok(Manifest { target: target.to_owned(), built: Some(self.built.clone()), graphs, files, ..source.clone() })
    }
}

/// What the manifest says about the build: library, GPUs and flags.
fn built(plan: &Plan, machine: &BuildMachine) -> Result<Built> {
    let asked = &plan.build.compute_capabilities;
    let capabilities = match (asked.is_empty(), machine.capability) {
        (false, _) => asked.clone(),
        (true, Some(own)) if plan.build.flags.hardware_compatible => {
            let mut all: Vec<_> = AMPERE_AND_LATER.into_iter().map(Dotted).chain([own]).collect();
            all.sort_unstable();
            all.dedup();
            all
        }
        (true, Some(own)) => vec![own],
        (true, None) => bail!("build.compute_capabilities: empty, and this machine has no GPU whose capability could be taken"),
    };
    let Version { 0: [major, _, _] } = machine.library;
    let newest = if plan.build.flags.version_compatible { Dotted([major, 999, 999]) } else { machine.library };
    Ok(Built {
        family: plan.family,
        library: machine.library,
        driver: machine.driver,
        gpu: machine.gpu.clone(),
        source_sha256: plan.source_sha256.clone(),
        flags: plan.build.flags,
        compatible: Compatible { compute_capabilities: capabilities, library_from: machine.library, library_to: newest },
    })
}

/// Compute capabilities that TensorRT's hardware compatibility level Ampere+ covers.
const AMPERE_AND_LATER: [[u32; 2]; 7] = [[8, 0], [8, 6], [8, 9], [9, 0], [10, 0], [12, 0], [12, 1]];

/// The folder of an unfinished build: the one that an earlier build for the same [`Built`] left, if
/// only this user can access it; else a new, empty one.
fn partial_folder(out: &Path, built: &Built) -> Result<PathBuf> {
    let partial = sibling(out, "partial");
    let (key, text) = (partial.join(KEY_FILE), serde_json::to_string_pretty(built)?);
    let known = drivewam_files::read_text(&key, RECORD_BYTES, ErrorKind::Io);
    if known.is_ok_and(|known| known == text) && files::is_private(&partial) {
        return Ok(partial);
    }
    files::create_empty(&partial)?;
    files::make_private(&partial)?;
    write_synced(&key, text.as_bytes())?;
    Ok(partial)
}
