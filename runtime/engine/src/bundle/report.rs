//! Checks a bundle file by file, without stopping at the first fault.

use super::trust::{Signed, Trust};
use super::{read, texts};
use crate::onnx;
use crate::self_test::{answers, trajectory};
use drivewam_core::manifest::{FILE_NAME, FileEntry, FileRole, Manifest};
use drivewam_core::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Gets the bytes that are done and the bytes of all files.
pub type ReadProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// What is right and wrong with a bundle.
#[derive(Debug)]
pub struct Report {
    /// The directory.
    pub path: PathBuf,
    /// Its manifest, or why the manifest is refused.
    pub manifest: Result<Manifest>,
    /// SHA-256 of the manifest's text.
    pub manifest_sha256: Option<String>,
    /// Who signed the manifest; `None` for a refused one.
    pub signed: Option<Signed>,
    /// The files that the manifest lists, then the others of the directory; each in order of name.
    pub files: Vec<FileReport>,
}

/// One file.
#[derive(Debug)]
pub struct FileReport {
    /// Its name in the directory.
    pub name: String,
    /// What the manifest says of it; `None` for a file that the manifest does not know.
    pub entry: Option<FileEntry>,
    /// What was found.
    pub status: FileStatus,
}

/// What was found of one file.
#[derive(Debug)]
pub enum FileStatus {
    /// Length and hash are those of the manifest.
    Whole,
    /// It is not what the manifest says.
    Fault(Error),
    /// The manifest does not list it. The runtime never opens it.
    Unlisted,
}

impl Report {
    /// Whether manifest and files are as a ride requires them.
    pub fn is_whole(&self) -> bool {
        self.manifest.is_ok() && self.files.iter().all(|file| !matches!(file.status, FileStatus::Fault(_)))
    }

    /// The first fault, as an error that names the directory; `None` for a bundle without faults.
    pub fn into_first_fault(self) -> Option<Error> {
        let path = self.path;
        if let Err(e) = self.manifest {
            return Some(e.at(path.display()));
        }
        self.files.into_iter().find_map(|file| match file.status {
            FileStatus::Fault(e) => Some(e.at(format!("{:?}", file.name)).at(path.display())),
            FileStatus::Whole | FileStatus::Unlisted => None,
        })
    }
}

pub(super) fn verify(path: &Path, trust: &Trust, progress: Option<ReadProgress<'_>>) -> Report {
    let mut files = Vec::new();
    let (manifest, manifest_sha256, signed) = match read::manifest(path, trust) {
        Ok(read::CheckedManifest { manifest, sha256, signed }) => (Ok(manifest), Some(sha256), Some(signed)),
        Err(e) => (Err(e), None, None),
    };
    if let Ok(manifest) = &manifest {
        let mut nothing = |_: u64, _: u64| {};
        let progress: ReadProgress<'_> = match progress {
            Some(progress) => progress,
            None => &mut nothing,
        };
        let all = manifest.files.values().fold(0u64, |sum, entry| sum.saturating_add(entry.bytes));
        let mut before = 0u64;
        for (name, entry) in &manifest.files {
            let tell = &mut |done: u64| progress(before.saturating_add(done), all);
            let checked = match entry.role {
                // Every ride parses these two, so they are parsed here too.
                FileRole::Commands => {
                    read::whole(&path.join(name), entry, tell).and_then(|c| texts::read(manifest, c.as_slice()).map(drop))
                }
                FileRole::SelfTest => read::whole(&path.join(name), entry, tell).and_then(|c| {
                    manifest.graphs.keys().try_for_each(|graph| answers::read(c.as_slice(), *graph).map(drop))?;
                    trajectory::check_decoded(manifest, c.as_slice())
                }),
                // Without a self-test only the closed-form engine loads it, which reads no graphs.
                FileRole::Graph if manifest.self_test.is_some() && entry.bytes <= onnx::MAX_BYTES => {
                    read::whole(&path.join(name), entry, tell).and_then(|c| graphs(manifest, name, c.as_slice()))
                }
                _ => read::hash_only(&path.join(name), entry, tell),
            };
            let status = checked.map_or_else(FileStatus::Fault, |()| FileStatus::Whole);
            before = before.saturating_add(entry.bytes);
            progress(before, all);
            files.push(FileReport { name: name.clone(), entry: Some(entry.clone()), status });
        }
        match unlisted(path, manifest) {
            Ok(names) => files.extend(names.into_iter().map(|name| FileReport { name, entry: None, status: FileStatus::Unlisted })),
            Err(e) => return Report { path: path.to_owned(), manifest: Err(e), manifest_sha256, signed, files },
        }
    }
    Report { path: path.to_owned(), manifest, manifest_sha256, signed, files }
}

/// Checks the content of the file `name` as each graph that is loaded from it.
fn graphs(manifest: &Manifest, name: &str, content: &[u8]) -> Result<()> {
    let of_file = manifest.graphs.iter().filter(|(_, entry)| entry.file == name);
    of_file.into_iter().try_for_each(|(graph, entry)| onnx::check(*graph, entry, content, &manifest.files).map(drop))
}

fn unlisted(path: &Path, manifest: &Manifest) -> Result<Vec<String>> {
    let unreadable = |e| Error::new(ErrorKind::Io, "the folder cannot be listed").caused_by(e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if name != FILE_NAME && !manifest.files.contains_key(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
