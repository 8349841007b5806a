//! The folder that is written: built aside, whole before anybody sees it, and swapped in one step.

use crate::component::{Done, Machine};
use crate::files::{self, beside, copy, hash, hex, remove, write_synced};
use crate::job::{Job, Plan, mib};
use crate::sign;
use anyhow::{Context, Result, anyhow, bail};
use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::manifest::{
    Built, Compatible, EngineEntry, FILE_NAME, FileEntry, GraphEntry, Manifest, Precision, Profile, Role, Version,
};
use drivewam_engine::Folder;
use drivewam_engine::folder::{SIGNATURE_FILE_NAME, Trust};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
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
    key: Key,
    machine: Machine,
    done: BTreeMap<Graph, Done>,
    /// The folder that is there, where it was built for the same.
    old: Option<Manifest>,
    /// Its graphs that nobody asked for: they stay.
    carried: Vec<Graph>,
}

/// What components must have in common to stand in one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    built: Built,
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
            let (engine, peak) = (mib(done.bytes), mib(done.peak_bytes));
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
        let key = Key { built: built(plan, machine)? };
        let aside = aside_of(&out, &key)?;
        let there = Folder::verify(&out, &Trust::default(), None).manifest.ok();
        let trust = match sign {
            Some(key) => sign::trust(key)?,
            None => Trust::default(),
        };
        let old = Folder::verify(&out, &trust, None);
        let old = if old.is_whole() { old.manifest.ok().filter(|m| m.built.as_ref() == Some(&key.built)) } else { None };
        let carried: Vec<Graph> =
            there.iter().flat_map(|m| m.graphs.keys()).copied().filter(|g| plan.jobs.iter().all(|job| job.graph != *g)).collect();
        if old.is_none() && !carried.is_empty() {
            let names: Vec<_> = carried.iter().map(|graph| graph.as_str()).collect();
            bail!(
                "{out:?}: has engines that were built in another way, and this build would drop {}: build all graphs, or write to another --out",
                names.join(", ")
            );
        }
        Ok(Self { out, aside, _lock: lock, key, machine: machine.clone(), done: BTreeMap::new(), old, carried })
    }

    /// Where a component writes its engine.
    pub(crate) fn aside(&self, job: &Job) -> PathBuf {
        self.aside.join(format!("{}.new", job.graph))
    }

    /// Takes an engine that an earlier build left: aside, or in the folder that is there. Only if it is whole and was built for exactly this.
    pub(crate) fn take_known(&mut self, job: &Job) -> Result<Option<Done>> {
        let (name, record) = (engine_file(job.graph), self.aside.join(format!("{}.json", job.graph)));
        if let Ok(text) = fs::read_to_string(&record)
            && let Ok((profiles, done)) = serde_json::from_str::<(Vec<Profile>, Done)>(&text)
            && profiles == job.profiles
            && hash(&self.aside.join(&name)).is_ok_and(|sha256| sha256 == done.sha256)
        {
            self.done.insert(job.graph, done.clone());
            return Ok(Some(done));
        }
        let Some(old) = &self.old else { return Ok(None) };
        let (Some(entry), Some(file)) = (old.graphs.get(&job.graph), old.files.get(&name)) else { return Ok(None) };
        let Some(engine) = entry.engine.as_ref().filter(|e| e.onnx_sha256 == job.onnx_sha256 && e.profiles == job.profiles) else {
            return Ok(None);
        };
        copy(&self.out.join(&name), &self.aside.join(&name), &file.sha256)?;
        let layers = engine.layers.as_ref().map(|report| self.aside.join(report));
        if let (Some(to), Some(report)) = (&layers, &engine.layers) {
            copy(&self.out.join(report), to, &old.files[report].sha256)?;
        }
        let done = Done {
            library: old.built.as_ref().map_or(self.machine.library, |built| built.library),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            seconds: engine.build_seconds,
            peak_bytes: 0,
            scratch_bytes: engine.scratch_bytes,
            fusion: engine.fusion,
            layers,
        };
        self.record(job, done.clone())?;
        Ok(Some(done))
    }

    /// Keeps what a component built.
    pub(crate) fn keep(&mut self, job: &Job, done: Done) -> Result<()> {
        let (from, to) = (self.aside(job), self.aside.join(engine_file(job.graph)));
        if hash(&from)? != done.sha256 {
            bail!("{from:?}: not what the component says that it wrote");
        }
        if done.library != self.machine.library {
            bail!("the library was replaced meanwhile: got {}, wanted {}", done.library, self.machine.library);
        }
        fs::rename(&from, &to).with_context(|| format!("{to:?} cannot be written"))?;
        self.record(job, done)
    }

    fn record(&mut self, job: &Job, done: Done) -> Result<()> {
        let record = serde_json::to_string(&(&job.profiles, &done))?;
        write_synced(&self.aside.join(format!("{}.json", job.graph)), record.as_bytes())?;
        self.done.insert(job.graph, done);
        Ok(())
    }

    /// Writes the manifest and its signature, checks the folder as the vehicle of the configuration would, and puts it in the place of the old one.
    pub(crate) fn finish(self, config: &Config, plan: &Plan, target: &str, key: Option<&SigningKey>) -> Result<Written> {
        let manifest = self.manifest(config, plan, target)?;
        let text = serde_saphyr::to_string(&manifest)?;
        Manifest::parse(&text).context("the manifest that was made is refused")?;
        write_synced(&self.aside.join(FILE_NAME), text.as_bytes())?;
        let signature = self.aside.join(SIGNATURE_FILE_NAME);
        remove(&signature)?;
        if let Some(key) = key {
            write_synced(&signature, &sign::signature(key, text.as_bytes()))?;
        }
        let report = Folder::verify(&self.aside, &Trust::of(&config.vehicle)?, None);
        if !report.is_whole() {
            let fault = report.into_first_fault().map_or_else(|| anyhow!("it is not whole"), Into::into);
            return Err(fault.context("the vehicle of this configuration would refuse the folder that was made"));
        }
        // Only what the manifest names goes along; records of the build are kept until the folder is in its place.
        let kept = beside(&self.out, "records");
        fs::create_dir_all(&kept).with_context(|| format!("{kept:?} cannot be made"))?;
        for entry in fs::read_dir(&self.aside)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !manifest.files.contains_key(&name) && name != FILE_NAME && name != SIGNATURE_FILE_NAME {
                fs::rename(entry.path(), kept.join(&name)).with_context(|| format!("{:?} cannot be moved", entry.path()))?;
            }
        }
        let placed = files::open_to_readers(&self.aside)
            .and_then(|()| File::open(&self.aside)?.sync_all().with_context(|| format!("{:?} cannot be synced", self.aside)))
            .and_then(|()| files::swap(&self.aside, &self.out));
        if let Err(error) = placed {
            for entry in fs::read_dir(&kept)?.flatten() {
                let _ = fs::rename(entry.path(), self.aside.join(entry.file_name()));
            }
            return Err(error);
        }
        let _ = fs::remove_dir_all(&kept);
        Ok(Written {
            out: self.out,
            manifest_sha256: hex(&Sha256::digest(text.as_bytes())),
            signed_by: key.map(sign::public),
            library: format!("{} {}", plan.family, self.machine),
            graphs: self.done.into_iter().map(|(graph, done)| Row { graph, done }).collect(),
        })
    }

    /// The manifest of the graphs, with engines in the place of ONNX.
    fn manifest(&self, config: &Config, plan: &Plan, target: &str) -> Result<Manifest> {
        let source = &plan.manifest;
        let mut files = BTreeMap::new();
        // What is on the disk must be what was built, or what was checked when this began.
        let mut vouch = |name: &str, role: Role, wanted: Option<&str>| -> Result<()> {
            let path = self.aside.join(name);
            let (bytes, sha256) = (fs::metadata(&path).with_context(|| format!("{path:?}"))?.len(), hash(&path)?);
            if wanted.is_some_and(|wanted| wanted != sha256) {
                bail!("{path:?}: changed since it was checked (got SHA-256 {sha256}, wanted {})", wanted.unwrap_or_default());
            }
            files.insert(name.to_owned(), FileEntry { sha256, bytes, role });
            Ok(())
        };
        let test = source.self_test.as_ref().context("the graphs have no self-test")?;
        for (name, role) in [(&source.commands.file, Role::Commands), (&test.file, Role::SelfTest)] {
            let wanted = &source.files[name].sha256;
            copy(&plan.source.join(name), &self.aside.join(name), wanted)?;
            vouch(name, role, Some(wanted))?;
        }
        let mut graphs = BTreeMap::new();
        for job in &plan.jobs {
            let done = self.done.get(&job.graph).with_context(|| format!("graph {} was not built", job.graph))?;
            let file = engine_file(job.graph);
            vouch(&file, Role::Engine, Some(&done.sha256))?;
            let layers = done.layers.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
            layers.as_deref().map_or(Ok(()), |name| vouch(name, Role::Report, None))?;
            let engine = EngineEntry {
                onnx_sha256: job.onnx_sha256.clone(),
                weight_bytes: job.weight_bytes,
                profiles: job.profiles.clone(),
                scratch_bytes: done.scratch_bytes,
                fusion: done.fusion,
                layers,
                build_seconds: (done.seconds * 10.0).round() / 10.0,
            };
            let loose = config.build.tf32 && job.entry.precision == Precision::F32;
            let tolerance = if loose { job.entry.precision.tolerance(true) } else { job.entry.tolerance };
            graphs.insert(job.graph, GraphEntry { file, weights: Vec::new(), tolerance, engine: Some(engine), ..job.entry.clone() });
        }
        for (graph, old) in self.carried.iter().filter_map(|graph| Some((graph, self.old.as_ref()?))) {
            let entry = old.graphs[graph].clone();
            let report = entry.engine.as_ref().and_then(|engine| engine.layers.as_ref());
            for (name, role) in [(&entry.file, Role::Engine)].into_iter().chain(report.map(|name| (name, Role::Report))) {
                copy(&self.out.join(name), &self.aside.join(name), &old.files[name].sha256)?;
                vouch(name, role, Some(&old.files[name].sha256))?;
            }
            graphs.insert(*graph, entry);
        }
        Ok(Manifest { target: target.to_owned(), built: Some(self.key.built.clone()), graphs, files, ..source.clone() })
    }
}

/// How and where, for the manifest.
fn built(plan: &Plan, machine: &Machine) -> Result<Built> {
    let asked = &plan.build.compute_capabilities;
    let capabilities = match (asked.is_empty(), machine.capability) {
        (false, _) => asked.clone(),
        (true, Some(own)) if plan.build.hardware_compatible => {
            let mut all: Vec<_> = AMPERE_AND_LATER.into_iter().map(drivewam_core::manifest::Dotted).chain([own]).collect();
            all.sort_unstable();
            all.dedup();
            all
        }
        (true, Some(own)) => vec![own],
        (true, None) => bail!("build.compute_capabilities: empty, and this machine has no GPU to build for"),
    };
    let Version { 0: [major, _, _] } = machine.library;
    let newest = if plan.build.version_compatible { drivewam_core::manifest::Dotted([major, 999, 999]) } else { machine.library };
    Ok(Built {
        family: plan.family,
        library: machine.library,
        driver: machine.driver,
        gpu: machine.gpu.clone(),
        source_sha256: plan.source_sha256.clone(),
        flags: plan.build.flags(),
        compatible: Compatible { compute_capabilities: capabilities, library_from: machine.library, library_to: newest },
    })
}

/// What TensorRT's hardware compatibility covers.
const AMPERE_AND_LATER: [[u32; 2]; 7] = [[8, 0], [8, 6], [8, 9], [9, 0], [10, 0], [12, 0], [12, 1]];

/// The folder where an unfinished build lies: ours alone, and of a build for the same; else a new one.
fn aside_of(out: &Path, key: &Key) -> Result<PathBuf> {
    let aside = beside(out, "partial");
    let text = serde_json::to_string_pretty(key)?;
    let is_same = fs::read_to_string(aside.join(KEY_FILE)).is_ok_and(|known| known == text) && files::is_ours(&aside);
    if !is_same && fs::symlink_metadata(&aside).is_ok() {
        fs::remove_dir_all(&aside).with_context(|| format!("{aside:?} cannot be removed"))?;
    }
    fs::create_dir_all(&aside).with_context(|| format!("{aside:?} cannot be made"))?;
    files::private(&aside)?;
    write_synced(&aside.join(KEY_FILE), text.as_bytes())?;
    Ok(aside)
}
