//! The output folder: filled aside, renamed when it is whole, removed when it is not.

use crate::shipped::sha256;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// The file by which a folder is known as a former drive's.
pub(super) const SUMMARY: &str = "summary.json";

/// A folder under way. Dropped before [`Out::finish`], it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Out {
    target: PathBuf,
    aside: PathBuf,
    /// Folders above that were made for it.
    made: Vec<PathBuf>,
    /// Held from before the folder aside is looked at until it is in its place.
    _lock: File,
    is_finished: bool,
}

/// Whether `folder` holds what a drive wrote.
fn is_drive(folder: &Path) -> bool {
    let summary = fs::read(folder.join(SUMMARY)).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    summary.is_some_and(|s| s.get("schema").is_some() && s.get("rollouts").is_some())
}

/// Takes the lock of a folder aside: a file in the system's temporary folder, named by the folder's hash. It is never removed, for that would let
/// two in.
fn lock(aside: &Path) -> Result<File> {
    let place = std::path::absolute(aside).with_context(|| format!("{aside:?}: no absolute path"))?;
    let path = std::env::temp_dir().join(format!("drivewam-{}.lock", &sha256(place.as_os_str().as_encoded_bytes())[..16]));
    let file = File::options().create(true).append(true).open(&path).with_context(|| format!("{path:?} cannot be written"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{aside:?}: another drive is filling it"),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{aside:?} cannot be locked")),
    }
}

impl Out {
    /// Makes room for `target`. A folder with something in it is replaced only if it is a former drive's, or with `force`.
    ///
    /// # Errors
    /// `target` is in the way, or cannot be written.
    pub(super) fn begin(target: &Path, force: bool) -> Result<Self> {
        let name = target.file_name().with_context(|| format!("--out {target:?}: not the name of a folder"))?;
        if target.exists() {
            if !target.is_dir() {
                bail!("--out {target:?}: not a folder");
            }
            let mut entries = fs::read_dir(target).with_context(|| format!("--out {target:?} cannot be read"))?;
            if entries.next().is_some() && !is_drive(target) && !force {
                bail!("--out {target:?}: not empty and not a former drive's (got no {SUMMARY:?} of a drive in it, wanted one, or --force)");
            }
        }
        let mut made = Vec::new();
        let mut above = target.parent();
        while let Some(folder) = above.filter(|f| !f.as_os_str().is_empty() && !f.exists()) {
            made.push(folder.to_owned());
            above = folder.parent();
        }
        let mut aside_name = name.to_owned();
        aside_name.push(".partial");
        let aside = target.with_file_name(aside_name);
        let lock = lock(&aside)?;
        if aside.exists() {
            fs::remove_dir_all(&aside).with_context(|| format!("{aside:?}, left by a drive that was killed, cannot be removed"))?;
        }
        let mut out = Self { target: target.to_owned(), aside, made, _lock: lock, is_finished: false };
        fs::create_dir_all(&out.aside).with_context(|| format!("--out {:?} cannot be written", out.target))?;
        out.folder("overlay")?;
        Ok(out)
    }

    /// A path inside.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.aside.join(name)
    }

    /// Makes a folder inside.
    pub(super) fn folder(&mut self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("{path:?} cannot be made"))
    }

    /// Writes a file inside.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("{path:?} cannot be written"))
    }

    /// Puts the folder in its place.
    ///
    /// # Errors
    /// It cannot be renamed; then the place is as it was.
    pub(super) fn finish(mut self) -> Result<()> {
        let mut old_name = self.aside.file_name().map(ToOwned::to_owned).unwrap_or_default();
        old_name.push(".old");
        let old = self.aside.with_file_name(old_name);
        let had_one = self.target.exists();
        if had_one {
            let _ = fs::remove_dir_all(&old);
            fs::rename(&self.target, &old).with_context(|| format!("{:?} cannot be replaced", self.target))?;
        }
        if let Err(error) = fs::rename(&self.aside, &self.target) {
            if had_one {
                let _ = fs::rename(&old, &self.target);
            }
            return Err(error).with_context(|| format!("{:?} cannot be put in its place", self.target));
        }
        self.is_finished = true;
        let _ = fs::remove_dir_all(&old);
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let _ = fs::remove_dir_all(&self.aside);
        for folder in &self.made {
            // Removes a folder only if nothing else has been put into it.
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
        let out = Out::begin(&target, false).unwrap();
        out.write("x", "y").unwrap();
        drop(out);
        assert!(!dir.path().join("a").exists());
    }

    /// Breaks when a second drive removes what a first one is writing.
    #[test]
    fn two_drives_do_not_fill_one_folder_and_a_killed_one_is_in_nobody_s_way() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("drive");
        let first = Out::begin(&target, false).unwrap();
        let error = Out::begin(&target, false).unwrap_err().to_string();
        assert!(error.contains("another drive is filling it"), "{error}");
        assert!(dir.path().join("drive.partial/overlay").exists());
        drop(first);
        fs::create_dir(dir.path().join("drive.partial")).unwrap();
        Out::begin(&target, false).unwrap().finish().unwrap();
    }

    #[test]
    fn a_former_drive_is_replaced_whole_and_anything_else_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("drive");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("letter"), "dear").unwrap();
        assert!(Out::begin(&target, false).unwrap_err().to_string().contains("--force"));
        assert!(target.join("letter").exists() && !dir.path().join("drive.partial").exists());
        fs::write(target.join(SUMMARY), "{}").unwrap();
        assert!(Out::begin(&target, false).is_err(), "somebody else's summary");
        fs::write(target.join(SUMMARY), r#"{"schema": 1, "rollouts": 1}"#).unwrap();
        let out = Out::begin(&target, false).unwrap();
        assert!(target.join("letter").exists(), "the old one stays until the new one is whole");
        out.write(SUMMARY, "{}").unwrap();
        out.finish().unwrap();
        assert!(!target.join("letter").exists() && target.join("overlay").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
