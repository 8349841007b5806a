//! Operations on files and folders: create, link, replace in one step, sync to disk.

use anyhow::{Context, Result, anyhow, bail};
use drivewam_engine::bundle::manifest_of;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The hidden path `.NAME.suffix` beside `out`.
pub(crate) fn sibling(out: &Path, what: &str) -> PathBuf {
    out.with_file_name(format!(".{}.{what}", out.file_name().unwrap_or_default().to_string_lossy()))
}

/// The canonical path of the output folder `out`; creates its parent.
///
/// # Errors
/// `out` exists and is neither an empty folder nor a folder of engines; it contains `source` or
/// lies inside it; an I/O error.
pub(crate) fn output_folder(out: &Path, source: &Path) -> Result<PathBuf> {
    let name = out.file_name().with_context(|| format!("--out {out:?}: does not name a folder"))?;
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create {folder:?}"))?;
    let out = folder.canonicalize().with_context(|| format!("{folder:?}"))?.join(name);
    if source.starts_with(&out) || out.starts_with(source) {
        bail!("--out {out:?}: is the folder of the graphs, contains it or lies inside it");
    }
    let Ok(metadata) = fs::symlink_metadata(&out) else { return Ok(out) };
    if !metadata.is_dir() {
        bail!("--out {out:?}: exists and is not a folder");
    }
    let is_empty = fs::read_dir(&out).with_context(|| format!("cannot list {out:?}"))?.next().is_none();
    if !is_empty && !manifest_of(&out).is_ok_and(|manifest| manifest.built.is_some()) {
        bail!("--out {out:?}: has files but no manifest of engines: the build would delete them");
    }
    Ok(out)
}

/// Creates the folder `path`, and removes what was there before.
pub(crate) fn create_empty(path: &Path) -> Result<PathBuf> {
    if fs::symlink_metadata(path).is_ok() {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {path:?}"))?;
    }
    fs::create_dir(path).with_context(|| format!("cannot create {path:?}"))?;
    Ok(path.to_owned())
}

/// Whether a folder belongs to this user and no other user can access it.
pub(crate) fn is_private(folder: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir() && m.uid() == user && m.mode() & 0o077 == 0)
}

/// Denies other users access to a folder.
pub(crate) fn make_private(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).with_context(|| format!("cannot set the mode of {folder:?}"))
}

/// Hard-links a file, or copies it where the file system has no hard links.
pub(crate) fn link(from: &Path, to: &Path) -> Result<()> {
    let copied = fs::hard_link(from, to).or_else(|_no_links| fs::copy(from, to).and_then(|_| File::open(to)?.sync_all()));
    copied.with_context(|| format!("cannot copy {from:?} to {to:?}"))
}

/// Syncs the entries of a folder to disk.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("cannot sync {folder:?}"))
}

/// Replaces the folder `old` by `new`, and removes what `old` held. One atomic step where the file
/// system can exchange two names.
pub(crate) fn swap(new: &Path, old: &Path) -> Result<()> {
    let failed = |e: std::io::Error| anyhow!(e).context(format!("cannot replace {old:?} by {new:?}"));
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_dir_all(new).map_err(failed)?,
        Err(Errno::NOENT) => fs::rename(new, old).map_err(failed)?,
        // This file system cannot exchange names: for a moment there is no folder.
        Err(Errno::INVAL | Errno::NOSYS) => {
            let gone = sibling(old, "old");
            fs::rename(old, &gone).and_then(|()| fs::rename(new, old)).map_err(failed)?;
            fs::remove_dir_all(&gone).map_err(failed)?;
        }
        Err(e) => return Err(failed(e.into())),
    }
    sync(old.parent().unwrap_or(Path::new("/")))
}

/// Writes a file and syncs its content to disk.
pub(crate) fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.with_context(|| format!("cannot write {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Breaks when a build goes on in a folder that another user could have written into.
    #[test]
    fn a_folder_is_private_if_no_other_user_reaches_it() {
        let temp = tempfile::tempdir().unwrap();
        let folder = create_empty(&temp.path().join("partial")).unwrap();
        make_private(&folder).unwrap();
        assert!(is_private(&folder));
        let link = temp.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(!is_private(&link), "a link leads anywhere");
        for mode in [0o750, 0o701, 0o720] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            assert!(!is_private(&folder), "{mode:o}");
        }
        make_private(&folder).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&folder, Some(12345), None).unwrap();
            assert!(!is_private(&folder), "the folder of another user");
        }
    }
}
