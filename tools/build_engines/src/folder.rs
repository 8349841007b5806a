//! The folder that is written: built aside, whole before anybody sees it, and swapped in one step.

use crate::component::{Done, Machine, hex, write_synced};
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
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
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

/// Beside `out`, hidden: `.NAME.what`.
fn beside(out: &Path, what: &str) -> PathBuf {
    out.with_file_name(format!(".{}.{what}", out.file_name().unwrap_or_default().to_string_lossy()))
}

/// What earlier builds for this target found out about its GPU.
pub(crate) fn timing_cache(out: &Path) -> PathBuf {
    beside(out, "timing_cache")
}

fn engine_file(graph: Graph) -> String {
    format!("{graph}.engine")
}

impl Work {
    /// Takes the lock, and what is left of an earlier build for the same.
    ///
    /// # Errors
    /// Another build is under way; the folder cannot be written.
    pub(crate) fn begin(out: &Path, plan: &Plan, machine: &Machine) -> Result<Self> {
        if out.file_name().is_none() {
            bail!("--out {out:?}: not the name of a folder");
        }
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{folder:?} cannot be made"))?;
        }
        if plan.source == out.canonicalize().unwrap_or_default() {
            bail!("--out {out:?}: the folder of the graphs themselves");
        }
        let path = beside(out, "lock");
        let lock = File::create(&path).with_context(|| format!("{path:?} cannot be written"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => bail!("{out:?}: another build is under way ({path:?} is locked)"),
            Err(fs::TryLockError::Error(e)) => return Err(e).with_context(|| format!("{path:?} cannot be locked")),
        }
        let key = Key { built: built(plan, machine)? };
        let aside = beside(out, "partial");
        let text = serde_json::to_string_pretty(&key)?;
        if fs::read_to_string(aside.join(KEY_FILE)).is_ok_and(|known| known != text) {
            fs::remove_dir_all(&aside).with_context(|| format!("{aside:?} cannot be removed"))?;
        }
        fs::create_dir_all(&aside).with_context(|| format!("{aside:?} cannot be made"))?;
        write_synced(&aside.join(KEY_FILE), text.as_bytes())?;
        let old = Folder::verify(out, &Trust::default(), None);
        let old = if old.is_whole() { old.manifest.ok().filter(|m| m.built.as_ref() == Some(&key.built)) } else { None };
        Ok(Self { out: out.to_owned(), aside, _lock: lock, key, machine: machine.clone(), done: BTreeMap::new(), old })
    }

    /// Where a component writes its engine.
    pub(crate) fn aside(&self, job: &Job) -> PathBuf {
        self.aside.join(format!("{}.new", job.graph))
    }

    /// Takes an engine that an earlier build left: aside, or in the folder that is there. Only if it is whole and was built for exactly this.
    pub(crate) fn take_known(&mut self, job: &Job) -> Result<bool> {
        let (name, record) = (engine_file(job.graph), self.aside.join(format!("{}.json", job.graph)));
        if let Ok(text) = fs::read_to_string(&record)
            && let Ok((profiles, done)) = serde_json::from_str::<(Vec<Profile>, Done)>(&text)
            && profiles == job.profiles
            && hash(&self.aside.join(&name)).is_ok_and(|sha256| sha256 == done.sha256)
        {
            self.done.insert(job.graph, done);
            return Ok(true);
        }
        let Some(old) = &self.old else { return Ok(false) };
        let (Some(entry), Some(file)) = (old.graphs.get(&job.graph), old.files.get(&name)) else { return Ok(false) };
        let Some(engine) = entry.engine.as_ref().filter(|e| e.onnx_sha256 == job.onnx_sha256 && e.profiles == job.profiles) else {
            return Ok(false);
        };
        copy(&self.out.join(&name), &self.aside.join(&name))?;
        let layers = engine.layers.as_ref().map(|report| self.aside.join(report));
        if let (Some(to), Some(report)) = (&layers, &engine.layers) {
            copy(&self.out.join(report), to)?;
        }
        let done = Done {
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            seconds: engine.build_seconds,
            peak_bytes: 0,
            scratch_bytes: engine.scratch_bytes,
            fusion: engine.fusion,
            layers,
        };
        self.record(job, done)?;
        Ok(true)
    }

    /// Keeps what a component built.
    pub(crate) fn keep(&mut self, job: &Job, done: Done) -> Result<()> {
        let (from, to) = (self.aside(job), self.aside.join(engine_file(job.graph)));
        if hash(&from)? != done.sha256 {
            bail!("{from:?}: not what the component says that it wrote");
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

    /// Writes the manifest and its signature, checks the folder as a vehicle would, and puts it in the place of the old one.
    pub(crate) fn finish(self, config: &Config, plan: &Plan, target: &str, key: Option<&SigningKey>) -> Result<Written> {
        let manifest = self.manifest(config, plan, target)?;
        let text = serde_saphyr::to_string(&manifest)?;
        Manifest::parse(&text).context("the manifest that was made is refused")?;
        write_synced(&self.aside.join(FILE_NAME), text.as_bytes())?;
        let signature = self.aside.join(SIGNATURE_FILE_NAME);
        let _ = fs::remove_file(&signature);
        let mut vehicle = config.vehicle.clone();
        (vehicle.trusted_keys, vehicle.revoked_keys) = (Vec::new(), Vec::new());
        if let Some(key) = key {
            write_synced(&signature, &sign::signature(key, text.as_bytes()))?;
            vehicle.trusted_keys.push(sign::public(key));
        }
        // Only what the manifest names stays.
        for entry in fs::read_dir(&self.aside)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !manifest.files.contains_key(&name) && name != FILE_NAME && name != SIGNATURE_FILE_NAME {
                fs::remove_file(entry.path()).with_context(|| format!("{:?} cannot be removed", entry.path()))?;
            }
        }
        let report = Folder::verify(&self.aside, &Trust::of(&vehicle)?, None);
        if !report.is_whole() {
            return Err(report.into_first_fault().map_or_else(|| anyhow!("the folder that was made is not whole"), Into::into));
        }
        File::open(&self.aside)?.sync_all().with_context(|| format!("{:?} cannot be synced", self.aside))?;
        swap(&self.aside, &self.out)?;
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
        let mut vouch = |name: &str, role: Role| -> Result<()> {
            let path = self.aside.join(name);
            let bytes = fs::metadata(&path).with_context(|| format!("{path:?}"))?.len();
            files.insert(name.to_owned(), FileEntry { sha256: hash(&path)?, bytes, role });
            Ok(())
        };
        let test = source.self_test.as_ref().context("the graphs have no self-test")?;
        for (name, role) in [(&source.commands.file, Role::Commands), (&test.file, Role::SelfTest)] {
            copy(&plan.source.join(name), &self.aside.join(name))?;
            vouch(name, role)?;
        }
        let mut graphs = BTreeMap::new();
        for job in &plan.jobs {
            let done = self.done.get(&job.graph).with_context(|| format!("graph {} was not built", job.graph))?;
            let file = engine_file(job.graph);
            vouch(&file, Role::Engine)?;
            let layers = done.layers.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
            layers.as_deref().map_or(Ok(()), |name| vouch(name, Role::Report))?;
            let engine = EngineEntry {
                onnx_sha256: job.onnx_sha256.clone(),
                weight_bytes: job.weight_bytes,
                profiles: job.profiles.clone(),
                scratch_bytes: done.scratch_bytes,
                fusion: done.fusion,
                layers,
                build_seconds: (done.seconds * 10.0).round() / 10.0,
            };
            // Ten bits of mantissa instead of 23 in every product.
            let loose = config.build.tf32 && job.entry.precision == Precision::F32;
            let tolerance = if loose { job.entry.tolerance.max(2e-2) } else { job.entry.tolerance };
            graphs.insert(job.graph, GraphEntry { file, weights: Vec::new(), tolerance, engine: Some(engine), ..job.entry.clone() });
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
    let path = plan.source.join(FILE_NAME);
    Ok(Built {
        family: plan.family,
        library: machine.library,
        driver: machine.driver,
        gpu: machine.gpu.clone(),
        source_sha256: hash(&path)?,
        flags: plan.build.flags(),
        compatible: Compatible { compute_capabilities: capabilities, library_from: machine.library, library_to: newest },
    })
}

/// What TensorRT's hardware compatibility covers.
const AMPERE_AND_LATER: [[u32; 2]; 7] = [[8, 0], [8, 6], [8, 9], [9, 0], [10, 0], [12, 0], [12, 1]];

fn hash(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    let mut file = File::open(path).with_context(|| format!("{path:?}"))?;
    loop {
        match file.read(&mut piece).with_context(|| format!("{path:?}"))? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&piece[..read]),
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).and_then(|_| File::open(to)?.sync_all()).with_context(|| format!("{from:?} cannot be copied to {to:?}"))
}

/// Puts the folder `new` in the place of `old`, in one step where there is one already, and removes what was there.
fn swap(new: &Path, old: &Path) -> Result<()> {
    let failed = |e: std::io::Error| anyhow!(e).context(format!("{new:?} cannot be put in the place of {old:?}"));
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_dir_all(new).map_err(failed)?,
        Err(e) if std::io::Error::from(e).kind() == ErrorKind::NotFound => fs::rename(new, old).map_err(failed)?,
        Err(e) => return Err(failed(e.into())),
    }
    if let Some(folder) = old.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(())
}
