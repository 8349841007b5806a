//! Opening a bundle, and loading the contents of its files.

use super::files::GraphFiles;
use super::read;
use super::report::{self, ReadProgress, Report};
use super::texts::{self, CommandText};
use super::trust::{Signed, Trust, hex};
use crate::bytes::Bytes;
use crate::meter::LoadMeter;
use crate::self_test::trajectory::{self, TrajectoryTest};
use drivewam_core::bindings::Graph;
use drivewam_core::dims::Command;
use drivewam_core::manifest::{FileEntry, Manifest};
use drivewam_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An opened engine bundle.
///
/// Opening reads and checks the manifest, its signature, and the two small files that every ride
/// needs: command texts and self-test. All other files must be there, plain, and as long as the
/// manifest says; their contents are read when a graph is loaded. A content is hashed in full
/// before a byte of it is used, and the buffer that was hashed is the one that the engine gets, so
/// a file that changes on disk in between is refused or has no effect. Files that the manifest does
/// not list are never opened.
///
/// The content of a file is freed as soon as the graph that it belongs to is loaded. A file that
/// several graphs use is read once and kept until the last of them is loaded, if
/// [`EngineBundle::plan_loads`] named them.
///
/// A clone shares the manifest, texts and self-test, but no content: it reads files anew.
#[derive(Debug)]
pub struct EngineBundle {
    path: PathBuf,
    manifest: Manifest,
    manifest_sha256: String,
    signed: Signed,
    texts: BTreeMap<Command, CommandText>,
    self_test: Option<Arc<Bytes>>,
    source: Source,
    meter: Arc<LoadMeter>,
    loads: Mutex<Loads>,
}

/// Where the contents come from.
#[derive(Debug, Clone)]
enum Source {
    Directory,
    Memory(BTreeMap<String, Arc<Bytes>>),
}

/// What was loaded, and what is still to come.
#[derive(Debug, Default)]
struct Loads {
    /// Graphs that were announced and not loaded yet.
    pending: Vec<Graph>,
    /// Contents that a pending graph needs.
    kept: BTreeMap<String, Arc<Bytes>>,
    /// Names of files whose content was hashed.
    hashed: BTreeSet<String>,
}

impl Clone for EngineBundle {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            manifest: self.manifest.clone(),
            manifest_sha256: self.manifest_sha256.clone(),
            signed: self.signed.clone(),
            texts: self.texts.clone(),
            self_test: self.self_test.clone(),
            source: self.source.clone(),
            meter: Arc::default(),
            loads: Mutex::default(),
        }
    }
}

impl EngineBundle {
    /// Opens the bundle in directory `path`. Where `trust` has keys, one of them must have signed
    /// it; where `trust` pins a manifest, it must be that one.
    ///
    /// # Errors
    /// `Manifest`, with the file, what was got and what was wanted: [`Manifest::parse`] refuses the
    /// manifest; no trusted key signed it, or another one is pinned; a file is missing, is not a
    /// plain file (but a link, a directory, a device), is writable by others, or has another length
    /// than the manifest says; command texts or self-test have another hash or shape; the
    /// normalisation is not the one that the self-test was made with. `Io` when reading fails;
    /// `Capacity` when a content does not fit in memory.
    pub fn open(path: &Path, trust: &Trust) -> Result<Self> {
        let named = |e: Error| e.at(path.display());
        let read::CheckedManifest { manifest, sha256, signed } = read::manifest(path, trust).map_err(named)?;
        for (name, entry) in &manifest.files {
            read::look(&path.join(name), entry).map_err(|e| named(e.at(format!("{name:?}"))))?;
        }
        let mut bundle = Self {
            path: path.to_owned(),
            manifest,
            manifest_sha256: sha256,
            signed,
            texts: BTreeMap::new(),
            self_test: None,
            source: Source::Directory,
            meter: Arc::default(),
            loads: Mutex::default(),
        };
        bundle.read_small_files()?;
        Ok(bundle)
    }

    /// A bundle without a directory. `files` must be what the manifest lists; all hashes are
    /// checked here.
    ///
    /// # Errors
    /// As [`EngineBundle::open`] and its loads.
    pub fn in_memory(manifest: Manifest, files: BTreeMap<String, Bytes>) -> Result<Self> {
        let files: BTreeMap<_, _> = files.into_iter().map(|(name, bytes)| (name, Arc::new(bytes))).collect();
        for (name, entry) in &manifest.files {
            let Some(bytes) = files.get(name) else { return Err(read::missing().at(format!("{name:?}"))) };
            read::check(bytes.as_slice(), entry).map_err(|e| e.at(format!("{name:?}")))?;
        }
        let text =
            serde_json::to_vec(&manifest).map_err(|e| Error::new(ErrorKind::Usage, "a manifest that cannot be written").caused_by(e))?;
        let mut bundle = Self {
            path: PathBuf::from("(in memory)"),
            manifest,
            manifest_sha256: hex(&Sha256::digest(text)),
            signed: Signed::No,
            texts: BTreeMap::new(),
            self_test: None,
            source: Source::Memory(files),
            meter: Arc::default(),
            loads: Mutex::default(),
        };
        bundle.read_small_files()?;
        Ok(bundle)
    }

    fn read_small_files(&mut self) -> Result<()> {
        let commands = self.read(&self.manifest.commands.file)?;
        self.texts = texts::read(&self.manifest, commands.as_slice()).map_err(|e| self.at(&self.manifest.commands.file, e))?;
        self.self_test = self.manifest.self_test.as_ref().map(|test| self.read(&test.file)).transpose()?;
        if let (Some(test), Some(content)) = (&self.manifest.self_test, &self.self_test) {
            trajectory::check_decoded(&self.manifest, content.as_slice()).map_err(|e| self.at(&test.file, e))?;
        }
        Ok(())
    }

    /// Checks every file and goes on after a fault: what `drivewam inspect` shows. Reads every file
    /// once, weights in constant memory; graphs are checked as before they are loaded. `progress`
    /// gets the bytes read so far and the bytes of all files.
    pub fn verify(path: &Path, trust: &Trust, progress: Option<ReadProgress<'_>>) -> Report {
        report::verify(path, trust, progress)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest's text; of its JSON for a bundle in memory. Since the manifest lists
    /// the hash of every file, it identifies the whole bundle.
    pub fn manifest_sha256(&self) -> &str {
        &self.manifest_sha256
    }

    /// Who signed the manifest.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Every file that the manifest lists, with its hash and length.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileEntry)> {
        self.manifest.files.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The text embedding of a route command.
    ///
    /// # Errors
    /// `Manifest`, with the commands that there are, for one without a text.
    pub fn text(&self, command: Command) -> Result<&CommandText> {
        self.texts.get(&command).ok_or_else(|| {
            let known: Vec<_> = self.texts.keys().map(|c| c.as_str()).collect();
            Error::new(ErrorKind::Manifest, "the folder has no text for this route command")
                .at("commands")
                .got(command.as_str())
                .wanted(known.join(", "))
        })
    }

    /// The content of the self-test's file.
    ///
    /// # Errors
    /// `Manifest` for a bundle without a self-test.
    pub(crate) fn self_test(&self) -> Result<(&str, &[u8])> {
        match (&self.manifest.self_test, &self.self_test) {
            (Some(test), Some(content)) => Ok((&test.file, content.as_slice())),
            _ => Err(Error::new(ErrorKind::Manifest, "the bundle has no self-test")
                .at("self_test")
                .wanted("a bundle that the exporter wrote")),
        }
    }

    /// The rollout that a ride repeats in Warm; `None` for a bundle without a self-test.
    ///
    /// # Errors
    /// `Manifest` for a self-test without a rollout.
    pub fn trajectory_test(&self) -> Result<Option<TrajectoryTest>> {
        let Some((test, content)) = self.manifest.self_test.as_ref().zip(self.self_test.as_ref()) else { return Ok(None) };
        TrajectoryTest::new(&self.manifest, content.as_slice()).map(Some).map_err(|e| self.at(&test.file, e))
    }

    /// Counts what is read and what of it is in memory. The meter outlives the bundle.
    pub fn meter(&self) -> Arc<LoadMeter> {
        Arc::clone(&self.meter)
    }

    /// Announces the graphs that will be loaded, each once: a file that several of them use is then
    /// read once. Replaces an earlier announcement.
    pub fn plan_loads(&self, graphs: &[Graph]) {
        let mut loads = self.loads();
        loads.pending = graphs.to_vec();
        loads.kept.clear();
    }

    /// The checked content of the file `name`.
    ///
    /// # Errors
    /// `Manifest` when the manifest does not list the file, or the file is not what the manifest
    /// says; `Io` when reading fails; `Capacity` when the content does not fit in memory.
    pub fn content(&self, name: &str) -> Result<Arc<Bytes>> {
        self.read(name)
    }

    /// The files of `graph`, for an engine to load.
    ///
    /// # Errors
    /// `Manifest` when the bundle has no such graph; as [`EngineBundle::content`].
    pub(crate) fn graph_files(&self, graph: Graph) -> Result<GraphFiles<'_>> {
        let entry = self.manifest.graph(graph)?;
        let content = self.read(&entry.file)?;
        let weights = entry.weights.iter().map(|name| Ok((name.as_str(), self.read(name)?))).collect::<Result<Vec<_>>>()?;
        let mut loads = self.loads();
        if let Some(at) = loads.pending.iter().position(|pending| *pending == graph) {
            loads.pending.remove(at);
        }
        let Loads { pending, kept, .. } = &mut *loads;
        let is_needed = |name: &str| pending.iter().filter_map(|graph| self.manifest.graphs.get(graph)).any(|entry| entry.uses(name));
        for (name, content) in weights.iter().map(|(name, content)| (*name, content)).chain([(entry.file.as_str(), &content)]) {
            kept.insert(name.to_owned(), Arc::clone(content));
        }
        kept.retain(|name, _| is_needed(name));
        drop(loads);
        Ok(GraphFiles { entry, content, weights })
    }

    /// Hashes the files that were not loaded, in constant memory. After it every file of the bundle
    /// was found to be what the manifest says.
    ///
    /// # Errors
    /// As [`EngineBundle::content`].
    pub fn verify_unread(&self) -> Result<()> {
        if matches!(self.source, Source::Memory(_)) {
            return Ok(());
        }
        for (name, entry) in &self.manifest.files {
            if self.loads().hashed.contains(name) {
                continue;
            }
            read::hash_only(&self.path.join(name), entry, &mut |_| {}).map_err(|e| self.at(name, e))?;
            self.meter.add_read(entry.bytes);
            self.loads().hashed.insert(name.clone());
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Arc<Bytes>> {
        let unlisted = || self.at(name, Error::new(ErrorKind::Manifest, "the manifest lists no such file"));
        let entry = self.manifest.files.get(name).ok_or_else(unlisted)?;
        if let Some(content) = self.loads().kept.get(name) {
            return Ok(Arc::clone(content));
        }
        match &self.source {
            Source::Memory(files) => files.get(name).cloned().ok_or_else(|| self.at(name, read::missing())),
            Source::Directory => {
                let content = read::whole(&self.path.join(name), entry, &mut |_| {}).map_err(|e| self.at(name, e))?;
                self.meter.add_read(entry.bytes);
                self.loads().hashed.insert(name.to_owned());
                Ok(Arc::new(content.metered(&self.meter)))
            }
        }
    }

    fn at(&self, name: &str, e: Error) -> Error {
        e.at(format!("{name:?}")).at(self.path.display())
    }

    fn loads(&self) -> MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
