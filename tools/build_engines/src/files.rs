//! Files and folders: made ours, linked, put in the place of others in one step.

use anyhow::{Context, Result, anyhow, bail};
use drivewam_engine::bundle::manifest_of;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Beside `out`, hidden: `.NAME.what`.
pub(crate) fn beside(out: &Path, what: &str) -> PathBuf {
    out.with_file_name(format!(".{}.{what}", out.file_name().unwrap_or_default().to_string_lossy()))
}

/// The folder to write, by its own path: nothing, or a folder of engines, which is replaced; never one that somebody put something else into.
pub(crate) fn place(out: &Path, source: &Path) -> Result<PathBuf> {
    let name = out.file_name().with_context(|| format!("--out {out:?}: not the name of a folder"))?;
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).with_context(|| format!("{folder:?} cannot be made"))?;
    let out = folder.canonicalize().with_context(|| format!("{folder:?}"))?.join(name);
    let Ok(looked_at) = fs::symlink_metadata(&out) else { return Ok(out) };
    if !looked_at.is_dir() {
        bail!("--out {out:?}: there is something else than a folder");
    }
    if source.starts_with(&out) || out.starts_with(source) {
        bail!("--out {out:?}: the folder of the graphs themselves, or around or inside it");
    }
    let is_empty = fs::read_dir(&out).with_context(|| format!("{out:?} cannot be listed"))?.next().is_none();
    if !is_empty && !manifest_of(&out).is_ok_and(|manifest| manifest.built.is_some()) {
        bail!("--out {out:?}: has files, and no manifest of engines: it would be replaced as a whole");
    }
    Ok(out)
}

/// The folder `path`, with nothing in it.
pub(crate) fn emptied(path: &Path) -> Result<PathBuf> {
    if fs::symlink_metadata(path).is_ok() {
        fs::remove_dir_all(path).with_context(|| format!("{path:?} cannot be removed"))?;
    }
    fs::create_dir(path).with_context(|| format!("{path:?} cannot be made"))?;
    Ok(path.to_owned())
}

/// Whether nobody else has, or had, a hand in a folder.
pub(crate) fn is_ours(folder: &Path) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir() && m.uid() == ours && m.mode() & 0o077 == 0)
}

/// Keeps others out of a folder.
pub(crate) fn make_ours(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).with_context(|| format!("{folder:?}: its mode cannot be set"))
}

/// The same file under another name; a copy where the file system has no such thing.
pub(crate) fn link(from: &Path, to: &Path) -> Result<()> {
    let copied = fs::hard_link(from, to).or_else(|_no_links| fs::copy(from, to).and_then(|_| File::open(to)?.sync_all()));
    copied.with_context(|| format!("{from:?} cannot be copied to {to:?}"))
}

/// Makes the names in a folder survive a loss of power.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("{folder:?} cannot be synced"))
}

/// Puts the folder `new` in the place of `old`, in one step where there is one already, and removes what was there.
pub(crate) fn swap(new: &Path, old: &Path) -> Result<()> {
    let failed = |e: std::io::Error| anyhow!(e).context(format!("{new:?} cannot be put in the place of {old:?}"));
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_dir_all(new).map_err(failed)?,
        Err(Errno::NOENT) => fs::rename(new, old).map_err(failed)?,
        // A file system that cannot exchange: for a moment there is no folder.
        Err(Errno::INVAL | Errno::NOSYS) => {
            let gone = beside(old, "old");
            fs::rename(old, &gone).and_then(|()| fs::rename(new, old)).map_err(failed)?;
            fs::remove_dir_all(&gone).map_err(failed)?;
        }
        Err(e) => return Err(failed(e.into())),
    }
    sync(old.parent().unwrap_or(Path::new("/")))
}

/// Writes a file that survives a loss of power once this returns.
pub(crate) fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.with_context(|| format!("{path:?} cannot be written"))
}
