//! A folder of engines, as its manifest vouches for it.
//!
//! Enters: a path. Leaves: the manifest, and the content of every file that it names, read once, hashed while it was read and kept: what was hashed is
//! what an engine loads, whatever happens to the disk afterwards. Files that the manifest does not name are never opened. Dropping a [`Folder`] frees
//! what no engine holds.

pub(crate) mod read;
mod report;
mod texts;
mod trust;

pub use crate::onnx::{check as check_onnx, weight_bytes};
pub use report::{FileReport, FileStatus, Report};
pub use texts::CommandText;
pub use trust::{FILE_NAME as SIGNATURE_FILE_NAME, Signed, Trust};

use crate::bytes::Bytes;
use drivewam_core::bindings::Graph;
use drivewam_core::dims::Command;
use drivewam_core::manifest::{FileEntry, GraphEntry, Manifest, Role};
use drivewam_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a manifest says of a file with this content.
pub fn vouch(content: &[u8], role: Role) -> FileEntry {
    FileEntry { sha256: read::hex(&Sha256::digest(content)), bytes: content.len() as u64, role }
}

/// Proves that the file `path` is what `entry` says, without keeping it.
///
/// # Errors
/// As [`Folder::open`] says of a file.
pub fn check_file(path: &Path, entry: &FileEntry) -> Result<()> {
    read::hash_only(path, entry, &mut |_| {}).map_err(|e| e.at(format!("{:?}", path.display())))
}

/// The manifest of a folder, none of whose files is looked at.
///
/// # Errors
/// As [`Folder::open`] says of a manifest.
pub fn manifest_of(path: &Path) -> Result<Manifest> {
    read::manifest(path, &Trust::default()).map(|checked| checked.manifest)
}

/// Told the bytes that are done and the bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// A folder whose files are all what the manifest says.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    manifest: Manifest,
    manifest_sha256: String,
    signed: Signed,
    files: BTreeMap<String, Arc<Bytes>>,
    texts: BTreeMap<Command, CommandText>,
}

impl Folder {
    /// Reads and checks a whole folder, which one of `trust`'s keys must have signed, where it has any. `progress` is called as bytes are read, at least once for each file.
    ///
    /// # Errors
    /// `Manifest`, with the file, what was got and what was wanted: a manifest that [`Manifest::parse`] refuses, or that no trusted key signed; a file that is missing, is not a plain
    /// file (a link, a folder, a device), that others may write, is shorter or longer than vouched for, or has another hash; command texts of another shape. `Io` when the
    /// disk fails; `Capacity` when the content does not fit in memory.
    pub fn open(path: &Path, trust: &Trust, progress: Option<Progress<'_>>) -> Result<Self> {
        let named = |e: Error| e.at(path.display());
        let read::Checked { manifest, sha256, signed } = read::manifest(path, trust).map_err(named)?;
        let all = manifest.files.values().fold(0u64, |sum, entry| sum.saturating_add(entry.bytes));
        let mut done = 0u64;
        let mut nothing = |_: u64, _: u64| {};
        let progress: Progress<'_> = match progress {
            Some(progress) => progress,
            None => &mut nothing,
        };
        let mut files = BTreeMap::new();
        for (name, entry) in &manifest.files {
            let before = done;
            let bytes = read::whole(&path.join(name), entry, &mut |bytes| {
                done = before.saturating_add(bytes);
                progress(done, all);
            })
            .map_err(|e| named(e.at(format!("{name:?}"))))?;
            files.insert(name.clone(), Arc::new(bytes));
        }
        Ok(Self { signed, ..Self::of(path.to_owned(), manifest, sha256, files).map_err(named)? })
    }

    /// A folder that was never on a disk. `files` must be what `manifest.files` vouches for; the hashes are checked here too.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn in_memory(manifest: Manifest, files: BTreeMap<String, Bytes>) -> Result<Self> {
        let files: BTreeMap<_, _> = files.into_iter().map(|(name, bytes)| (name, Arc::new(bytes))).collect();
        for (name, entry) in &manifest.files {
            let Some(bytes) = files.get(name) else { return Err(read::missing().at(format!("{name:?}"))) };
            read::check(bytes.as_slice(), entry).map_err(|e| e.at(format!("{name:?}")))?;
        }
        let text =
            serde_json::to_vec(&manifest).map_err(|e| Error::new(ErrorKind::Usage, "a manifest that cannot be written").caused_by(e))?;
        Self::of(PathBuf::from("(in memory)"), manifest, read::hex(&Sha256::digest(text)), files)
    }

    fn of(path: PathBuf, manifest: Manifest, manifest_sha256: String, files: BTreeMap<String, Arc<Bytes>>) -> Result<Self> {
        let name = &manifest.commands.file;
        let bytes = files.get(name).ok_or_else(|| read::missing().at(format!("{name:?}")))?;
        let texts = texts::read(&manifest, bytes.as_slice()).map_err(|e| e.at(format!("{name:?}")))?;
        Ok(Self { path, manifest, manifest_sha256, signed: Signed::No, files, texts })
    }

    /// Checks every file and goes on after a fault: what `drivewam inspect` shows. Keeps no content; slower disks are read once.
    pub fn verify(path: &Path, trust: &Trust, progress: Option<Progress<'_>>) -> Report {
        report::verify(path, trust, progress)
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest's text, which names everything that the folder holds; of its JSON where it never was a text.
    pub fn manifest_sha256(&self) -> &str {
        &self.manifest_sha256
    }

    /// Who signed the manifest.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Every file that the manifest vouches for, with its hash and length; all were checked.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileEntry)> {
        self.manifest.files.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The checked content of `name`.
    ///
    /// # Errors
    /// `Manifest` when nothing vouches for such a file.
    pub fn content(&self, name: &str) -> Result<&Arc<Bytes>> {
        self.files.get(name).ok_or_else(|| Error::new(ErrorKind::Manifest, "the manifest vouches for no such file").at(format!("{name:?}")))
    }

    /// The text embedding of a route command.
    ///
    /// # Errors
    /// `Manifest`, with the commands that there are, for one that the folder has no text for.
    pub fn text(&self, command: Command) -> Result<&CommandText> {
        self.texts.get(&command).ok_or_else(|| {
            let known: Vec<_> = self.texts.keys().map(|c| c.as_str()).collect();
            Error::new(ErrorKind::Manifest, "the folder has no text for this route command")
                .at("commands")
                .got(command.as_str())
                .wanted(known.join(", "))
        })
    }

    /// What an engine needs of `graph`: its entry, its own content, and the weight files that it points into.
    ///
    /// # Errors
    /// `Manifest` when the folder has no such graph.
    pub(crate) fn parts(&self, graph: Graph) -> Result<Parts<'_>> {
        let entry = self.manifest.graph(graph)?;
        let content = self.content(&entry.file)?;
        let weights = entry.weights.iter().map(|name| Ok((name.as_str(), self.content(name)?))).collect::<Result<_>>()?;
        Ok(Parts { entry, content, weights })
    }
}

/// What an engine needs of one graph.
pub(crate) struct Parts<'a> {
    pub entry: &'a GraphEntry,
    /// The graph's own file: ONNX, or an engine.
    pub content: &'a Arc<Bytes>,
    pub weights: Vec<(&'a str, &'a Arc<Bytes>)>,
}

#[cfg(test)]
mod tests;
