//! The folder that is written: built aside, whole before anybody sees it, and swapped in one step.

use crate::component::{Done, Machine};
use crate::files::{self, beside, write_synced};
use crate::job::{Job, Plan, mib};
use crate::sign;
use anyhow::{Context, Result, anyhow, bail};
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

/// Where the components of an unfinished build say what they were built for.
const KEY_FILE: &str = "build.json";

/// A build under way. Its components survive it, the next one goes on from there.
#[derive(Debug)]
pub(crate) struct Work {
    out: PathBuf,
    aside: PathBuf,
    /// Locked as long as this value lives.
    _lock: File,
    built: Built,
    /// Of every graph: its engine, and the folder that it lies in.
    done: BTreeMap<Graph, (Done, PathBuf)>,
    /// The folder that is there, where it was built for the same.
    old: Option<Manifest>,
}

/// What was written, for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    out: PathBuf,
    manifest_sha256: String,
    signed_by: Option<String>,
    library: String,
    graphs: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    graph: Graph,
    #[serde(flatten)]
    done: Done,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<18} {:>12} {:>8} {:>12}  attention", "graph", "engine", "seconds", "peak")?;
        for Row { graph, done } in &self.graphs {
            let (engine, peak) = (mib(done.file.bytes), mib(done.peak_bytes));
            writeln!(f, "{:<18} {engine:>12} {:>8.1} {peak:>12}  {}", graph.as_str(), done.seconds, done.fusion)?;
        }
        writeln!(f, "written to {:?} by {}, manifest {}", self.out, self.library, &self.manifest_sha256[..12])?;
        match &self.signed_by {
            Some(key) => writeln!(f, "signed by {key}: what goes into vehicle.trusted_keys"),
            None => writeln!(f, "not signed (--sign)"),
        }
    }
}

/// What earlier builds for this target found out about its GPU.
pub(crate) fn timing_cache(out: &Path) -> PathBuf {
    beside(out, "timing_cache")
}

fn engine_file(graph: Graph) -> String {
    format!("{graph}.engine")
}

fn layers_file(graph: Graph) -> String {
    format!("{graph}.layers.json")
}

impl Work {
    /// Takes the lock, and what is left of an earlier build for the same. With a key, only engines that it signed are taken from the folder that is there.
    ///
    /// # Errors
    /// Another build is under way; `out` is something else than a folder of engines, or one of more graphs than could be kept; it cannot be written.
    pub(crate) fn begin(out: &Path, plan: &Plan, machine: &Machine, sign: Option<&SigningKey>) -> Result<Self> {
        let out = files::place(out, &plan.source)?;
        let path = beside(&out, "lock");
        let lock = File::create(&path).with_context(|| format!("{path:?} cannot be written"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => bail!("{out:?}: another build is under way ({path:?} is locked)"),
            Err(fs::TryLockError::Error(e)) => return Err(e).with_context(|| format!("{path:?} cannot be locked")),
        }
        let built = built(plan, machine)?;
        let there = manifest_of(&out).ok();
        let is_asked = |graph: &Graph| plan.jobs.iter().any(|job| job.graph == *graph);
        let others: Vec<&str> = there.iter().flat_map(|m| m.graphs.keys()).filter(|g| !is_asked(g)).map(|g| g.as_str()).collect();
        let is_trusted = || -> Result<bool> { Ok(EngineBundle::verify(&out, &sign::trust(sign)?, None).is_whole()) };
        let old = match there {
            Some(manifest) if manifest.built.as_ref() == Some(&built) && is_trusted()? => Some(manifest),
            _ if others.is_empty() => None,
            _ => bail!(
                "{out:?}: has engines that were built in another way, or that the key did not sign, and this build would drop {}: build all graphs, or write to another --out",
                others.join(", ")
            ),
        };
        let aside = aside_of(&out, &built)?;
        let mut work = Self { out, aside, _lock: lock, built, done: BTreeMap::new(), old };
        // Graphs that nobody asked for stay as they are.
        let graphs: Vec<Graph> = work.old.iter().flat_map(|m| m.graphs.keys()).copied().filter(|g| !is_asked(g)).collect();
        for graph in graphs {
            let done = work.in_old(graph).with_context(|| format!("graph {graph}: the folder that is there has no engine of it"))?;
            work.done.insert(graph, (done, work.out.clone()));
        }
        Ok(work)
    }

    /// Where a component writes its engine.
    pub(crate) fn aside(&self, job: &Job) -> PathBuf {
        self.aside.join(engine_file(job.graph))
    }

    /// Where a component's record is kept: for the shapes that it was built for.
    fn record(&self, graph: Graph) -> PathBuf {
        self.aside.join(format!("{graph}.json"))
    }

    /// What the folder that is there says of an engine.
    fn in_old(&self, graph: Graph) -> Option<Done> {
        let old = self.old.as_ref()?;
        let engine = old.graphs.get(&graph)?.engine.as_ref()?;
        Some(Done {
            file: old.files.get(&engine_file(graph))?.clone(),
            library: self.built.library,
            seconds: engine.build_seconds,
            peak_bytes: 0,
            scratch_bytes: engine.scratch_bytes,
            fusion: engine.fusion,
            layers: engine.layers.as_ref().and_then(|report| old.files.get(report)).cloned(),
        })
    }

    /// Takes an engine that an earlier build left: aside, or in the folder that is there. Only if it is whole and was built for exactly this.
    pub(crate) fn take_known(&mut self, job: &Job) -> Option<Done> {
        let text = fs::read_to_string(self.record(job.graph)).unwrap_or_default();
        let left = serde_json::from_str::<(Vec<Profile>, Done)>(&text)
            .ok()
            .filter(|(profiles, done)| *profiles == job.profiles && check_file(&self.aside(job), &done.file).is_ok())
            .map(|(_, done)| (done, self.aside.clone()));
        let is_same = |engine: &EngineEntry| engine.onnx_sha256 == job.onnx_file.sha256 && engine.profiles == job.profiles;
        let there = self.old.as_ref().and_then(|old| old.graphs.get(&job.graph)?.engine.as_ref());
        let known =
            left.or_else(|| there.filter(|engine| is_same(engine)).and_then(|_| Some((self.in_old(job.graph)?, self.out.clone()))))?;
        self.done.insert(job.graph, known.clone());
        Some(known.0)
    }

    /// Keeps what a component built.
    pub(crate) fn keep(&mut self, job: &Job, done: Done) -> Result<()> {
        if done.library != self.built.library {
            bail!("the library was replaced meanwhile: got {}, wanted {}", done.library, self.built.library);
        }
        write_synced(&self.record(job.graph), serde_json::to_string(&(&job.profiles, &done))?.as_bytes())?;
        self.done.insert(job.graph, (done, self.aside.clone()));
        Ok(())
    }

    /// Gathers the new folder, checks it as the vehicle of the configuration would, and puts it in the place of the old one.
    pub(crate) fn finish(self, config: &Config, plan: &Plan, target: &str, key: Option<&SigningKey>) -> Result<Written> {
        let fresh = files::emptied(&beside(&self.out, "new"))?;
        let manifest = self.gather(&fresh, plan, target)?;
        let text = serde_saphyr::to_string(&manifest)?;
        write_synced(&fresh.join(FILE_NAME), text.as_bytes())?;
        if let Some(key) = key {
            write_synced(&fresh.join(SIGNATURE_FILE_NAME), &sign::signature(key, text.as_bytes()))?;
        }
        // Where the vehicle trusts nobody yet, the key is held against its own signature.
        let trust = if config.vehicle.trusted_keys.is_empty() { sign::trust(key)? } else { Trust::of(&config.vehicle)? };
        let mut report = EngineBundle::verify(&fresh, &trust, None);
        let (signed, manifest_sha256) = (report.signed.take(), report.manifest_sha256.take().unwrap_or_default());
        if let Some(fault) = report.into_first_fault() {
            return Err(anyhow!(fault).context("the vehicle of this configuration would refuse the folder that was made"));
        }
        files::sync(&fresh)?;
        files::swap(&fresh, &self.out)?;
        fs::remove_dir_all(&self.aside).with_context(|| format!("{:?} cannot be removed", self.aside))?;
        let signed_by = match signed {
            Some(Signed::By(key)) => Some(key),
            _ => None,
        };
        let library = format!("{} {}", plan.family, self.built.library);
        let graphs = self.done.into_iter().map(|(graph, (done, _))| Row { graph, done }).collect();
        Ok(Written { out: self.out, manifest_sha256, signed_by, library, graphs })
    }

    /// Puts all files into `fresh`. Returns the manifest of the graphs, with engines in the place of ONNX; it vouches for what was checked or built, and whoever
    /// verifies the folder finds out what changed since.
    fn gather(&self, fresh: &Path, plan: &Plan, target: &str) -> Result<Manifest> {
        let source = &plan.manifest;
        let mut files: BTreeMap<String, FileEntry> = BTreeMap::new();
        let mut take = |folder: &Path, name: &str, entry: &FileEntry| -> Result<()> {
            files::link(&folder.join(name), &fresh.join(name))?;
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
        let mut graphs: BTreeMap<Graph, GraphEntry> = self.old.iter().flat_map(|old| old.graphs.clone()).collect();
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
            let loose = self.built.flags.tf32 && job.entry.precision == Precision::F32;
            let tolerance = if loose { job.entry.precision.tolerance(true) } else { job.entry.tolerance };
            let file = engine_file(job.graph);
            graphs.insert(job.graph, GraphEntry { file, weights: Vec::new(), tolerance, engine: Some(engine), ..job.entry.clone() });
        }
        Ok(Manifest { target: target.to_owned(), built: Some(self.built.clone()), graphs, files, ..source.clone() })
    }
}

/// How and where, for the manifest.
fn built(plan: &Plan, machine: &Machine) -> Result<Built> {
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
        (true, None) => bail!("build.compute_capabilities: empty, and this machine has no GPU to build for"),
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

/// What TensorRT's hardware compatibility covers.
const AMPERE_AND_LATER: [[u32; 2]; 7] = [[8, 0], [8, 6], [8, 9], [9, 0], [10, 0], [12, 0], [12, 1]];

/// The folder where an unfinished build lies: ours alone, and of a build for the same; else a new one.
fn aside_of(out: &Path, built: &Built) -> Result<PathBuf> {
    let aside = beside(out, "partial");
    let (key, text) = (aside.join(KEY_FILE), serde_json::to_string_pretty(built)?);
    if fs::read_to_string(&key).is_ok_and(|known| known == text) && files::is_ours(&aside) {
        return Ok(aside);
    }
    files::emptied(&aside)?;
    files::make_ours(&aside)?;
    write_synced(&key, text.as_bytes())?;
    Ok(aside)
}
