//! The output folder: filled under a temporary name, renamed when complete, removed on failure.

use crate::config_args::hex_sha256;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// The file that identifies a folder as the output of a drive.
pub(super) const SUMMARY: &str = "summary.json";

/// An output folder being filled. Dropped before [`OutputDir::finish`], it leaves nothing behind.
#[derive(Debug)]
pub(super) struct OutputDir {
    target: PathBuf,
    /// Where the files are until the folder is complete.
    partial: PathBuf,
    /// Parent folders that were created for it.
    created: Vec<PathBuf>,
    /// Held from before `partial` is first accessed until it is renamed.
    _lock: File,
    is_finished: bool,
}

/// Whether a drive wrote `folder`.
fn is_drive(folder: &Path) -> bool {
    let summary = fs::read(folder.join(SUMMARY)).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    summary.is_some_and(|s| s.get("schema").is_some() && s.get("rollouts").is_some())
}

/// Locks a partial folder against other processes. The lock is a file in the system's temporary
/// folder, named by a hash of the path. It is never removed: removing it would let two processes
/// lock the same path.
fn lock(partial: &Path) -> Result<File> {
    let place = std::path::absolute(partial).with_context(|| format!("cannot make {partial:?} an absolute path"))?;
    let path = std::env::temp_dir().join(format!("drivewam-{}.lock", &hex_sha256(place.as_os_str().as_encoded_bytes())[..16]));
    let file = File::options().create(true).append(true).open(&path).with_context(|| format!("cannot write {path:?}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{partial:?}: another drive is writing to it"),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {partial:?}")),
    }
}

impl OutputDir {
    /// Prepares to write `target`. A folder that is not empty is replaced only if a drive wrote it,
    /// or with `force`.
    ///
    /// # Errors
    /// `target` is something else, another process writes to it, or it cannot be created.
    pub(super) fn begin(target: &Path, force: bool) -> Result<Self> {
        let name = target.file_name().with_context(|| format!("--out {target:?}: not a folder name"))?;
        if target.exists() {
            if !target.is_dir() {
                bail!("--out {target:?}: exists and is not a folder");
            }
            let mut entries = fs::read_dir(target).with_context(|| format!("--out: cannot read {target:?}"))?;
            if entries.next().is_some() && !is_drive(target) && !force {
                bail!(
                    "--out {target:?}: not empty, and not the output of a drive (got no {SUMMARY:?} of a drive, wanted one): give --force to replace it"
                );
            }
        }
        let mut created = Vec::new();
        let mut parent = target.parent();
        while let Some(folder) = parent.filter(|f| !f.as_os_str().is_empty() && !f.exists()) {
            created.push(folder.to_owned());
            parent = folder.parent();
        }
        let mut partial_name = name.to_owned();
        partial_name.push(".partial");
        let partial = target.with_file_name(partial_name);
        let lock = lock(&partial)?;
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {partial:?}, which an earlier drive left behind"))?;
        }
        let mut out = Self { target: target.to_owned(), partial, created, _lock: lock, is_finished: false };
        fs::create_dir_all(&out.partial).with_context(|| format!("--out: cannot create {:?}", out.target))?;
        out.folder("overlay")?;
        Ok(out)
    }

    /// The path of a file or folder inside.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.partial.join(name)
    }

    /// Creates a folder inside.
    pub(super) fn folder(&mut self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {path:?}"))
    }

    /// Writes a file inside.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {path:?}"))
    }

    /// Renames the folder to its final name.
    ///
    /// # Errors
    /// It cannot be renamed. The final name then refers to what it did before.
    pub(super) fn finish(mut self) -> Result<()> {
        let mut old_name = self.partial.file_name().map(ToOwned::to_owned).unwrap_or_default();
        old_name.push(".old");
        let old = self.partial.with_file_name(old_name);
        let had_one = self.target.exists();
        if had_one {
            let _ = fs::remove_dir_all(&old);
            fs::rename(&self.target, &old).with_context(|| format!("cannot replace {:?}", self.target))?;
        }
        if let Err(error) = fs::rename(&self.partial, &self.target) {
            if had_one {
                let _ = fs::rename(&old, &self.target);
            }
            return Err(error).with_context(|| format!("cannot rename {:?} to {:?}", self.partial, self.target));
        }
        self.is_finished = true;
        let _ = fs::remove_dir_all(&old);
        Ok(())
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let _ = fs::remove_dir_all(&self.partial);
        for folder in &self.created {
            // Fails, as it should, when something else was put into the folder meanwhile.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_folder_leaves_nothing_not_even_the_folders_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b/drive");
        let out = OutputDir::begin(&target, false).unwrap();
        out.write("x", "y").unwrap();
        drop(out);
        assert!(!dir.path().join("a").exists());
    }

    /// Breaks when a second drive removes what a first one is writing.
    #[test]
    fn two_drives_do_not_fill_one_folder_and_a_killed_one_is_in_nobody_s_way() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("drive");
        let first = OutputDir::begin(&target, false).unwrap();
        let error = OutputDir::begin(&target, false).unwrap_err().to_string();
        assert!(error.contains("another drive is writing to it"), "{error}");
        assert!(dir.path().join("drive.partial/overlay").exists());
        drop(first);
        fs::create_dir(dir.path().join("drive.partial")).unwrap();
        OutputDir::begin(&target, false).unwrap().finish().unwrap();
    }

    #[test]
    fn a_former_drive_is_replaced_whole_and_anything_else_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("drive");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("letter"), "dear").unwrap();
        assert!(OutputDir::begin(&target, false).unwrap_err().to_string().contains("--force"));
        assert!(target.join("letter").exists() && !dir.path().join("drive.partial").exists());
        fs::write(target.join(SUMMARY), "{}").unwrap();
        assert!(OutputDir::begin(&target, false).is_err(), "somebody else's summary");
        fs::write(target.join(SUMMARY), r#"{"schema": 1, "rollouts": 1}"#).unwrap();
        let out = OutputDir::begin(&target, false).unwrap();
        assert!(target.join("letter").exists(), "the old one stays until the new one is whole");
        out.write(SUMMARY, "{}").unwrap();
        out.finish().unwrap();
        assert!(!target.join("letter").exists() && target.join("overlay").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
