//! What a look at a folder found, file by file, without stopping at the first fault.

use super::{Progress, Signed, Trust, read, texts};
use crate::self_test;
use drivewam_core::manifest::{FILE_NAME, FileEntry, Manifest, Role};
use drivewam_core::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// All that is right and wrong with a folder.
#[derive(Debug)]
pub struct Report {
    /// The folder.
    pub path: PathBuf,
    /// Its manifest, or why it cannot be acted on.
    pub manifest: Result<Manifest>,
    /// SHA-256 of the manifest's text.
    pub manifest_sha256: Option<String>,
    /// Who signed the manifest; `None` for one that cannot be acted on.
    pub signed: Option<Signed>,
    /// The files that the manifest vouches for, then those that are there without; in order of name.
    pub files: Vec<FileReport>,
}

/// One file.
#[derive(Debug)]
pub struct FileReport {
    /// Its name in the folder.
    pub name: String,
    /// What the manifest says of it; `None` for a file that the manifest does not know.
    pub entry: Option<FileEntry>,
    /// What was found.
    pub status: FileStatus,
}

/// What was found of one file.
#[derive(Debug)]
pub enum FileStatus {
    /// Length and hash are as vouched for.
    Whole,
    /// It is not what the manifest says.
    Fault(Error),
    /// It is there, but nothing vouches for it. The runtime never opens it.
    Unvouched,
}

impl Report {
    /// Whether [`super::Folder::open`] has no reason to refuse the manifest and the files.
    pub fn is_whole(&self) -> bool {
        self.manifest.is_ok() && self.files.iter().all(|file| !matches!(file.status, FileStatus::Fault(_)))
    }

    /// The first fault, as an error that names the folder; `None` for a whole folder.
    pub fn into_first_fault(self) -> Option<Error> {
        let path = self.path;
        if let Err(e) = self.manifest {
            return Some(e.at(path.display()));
        }
        self.files.into_iter().find_map(|file| match file.status {
            FileStatus::Fault(e) => Some(e.at(format!("{:?}", file.name)).at(path.display())),
            FileStatus::Whole | FileStatus::Unvouched => None,
        })
    }
}

pub(super) fn verify(path: &Path, trust: &Trust, progress: Option<Progress<'_>>) -> Report {
    let mut files = Vec::new();
    let (manifest, manifest_sha256, signed) = match read::manifest(path, trust) {
        Ok(read::Checked { manifest, sha256, signed }) => (Ok(manifest), Some(sha256), Some(signed)),
        Err(e) => (Err(e), None, None),
    };
    if let Ok(manifest) = &manifest {
        let mut nothing = |_: u64, _: u64| {};
        let progress: Progress<'_> = match progress {
            Some(progress) => progress,
            None => &mut nothing,
        };
        let all = manifest.files.values().fold(0u64, |sum, entry| sum.saturating_add(entry.bytes));
        let mut before = 0u64;
        for (name, entry) in &manifest.files {
            let told = &mut |done: u64| progress(before.saturating_add(done), all);
            let looked_at = match entry.role {
                // What is small and read by every engine is read here too.
                Role::Commands => read::whole(&path.join(name), entry, told).and_then(|c| texts::read(manifest, c.as_slice()).map(drop)),
                Role::SelfTest => read::whole(&path.join(name), entry, told)
                    .and_then(|c| manifest.graphs.keys().try_for_each(|graph| self_test::read(c.as_slice(), *graph).map(drop))),
                _ => read::hash_only(&path.join(name), entry, told),
            };
            let status = looked_at.map_or_else(FileStatus::Fault, |()| FileStatus::Whole);
            before = before.saturating_add(entry.bytes);
            progress(before, all);
            files.push(FileReport { name: name.clone(), entry: Some(entry.clone()), status });
        }
        match unvouched(path, manifest) {
            Ok(names) => files.extend(names.into_iter().map(|name| FileReport { name, entry: None, status: FileStatus::Unvouched })),
            Err(e) => return Report { path: path.to_owned(), manifest: Err(e), manifest_sha256, signed, files },
        }
    }
    Report { path: path.to_owned(), manifest, manifest_sha256, signed, files }
}

fn unvouched(path: &Path, manifest: &Manifest) -> Result<Vec<String>> {
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
