//! Files and folders: copied and hashed, made ours, put in the place of others in one step.

use anyhow::{Context, Result, anyhow, bail};
use drivewam_engine::Folder;
use drivewam_engine::folder::Trust;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Beside `out`, hidden: `.NAME.what`.
pub(crate) fn beside(out: &Path, what: &str) -> PathBuf {
    out.with_file_name(format!(".{}.{what}", out.file_name().unwrap_or_default().to_string_lossy()))
}

/// SHA-256 of a file.
pub(crate) fn hash(path: &Path) -> Result<String> {
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

/// Copies a file whose content is known by its hash.
pub(crate) fn copy(from: &Path, to: &Path, sha256: &str) -> Result<()> {
    remove(to)?;
    fs::copy(from, to).and_then(|_| File::open(to)?.sync_all()).with_context(|| format!("{from:?} cannot be copied to {to:?}"))?;
    let got = hash(to)?;
    if got == sha256 { Ok(()) } else { bail!("{from:?}: changed since it was checked (got SHA-256 {got}, wanted {sha256})") }
}

/// Removes a file, if there is one.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e).with_context(|| format!("{path:?} cannot be removed")),
        _ => Ok(()),
    }
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
    let is_of_engines = || Folder::verify(&out, &Trust::default(), None).manifest.is_ok_and(|m| m.built.is_some());
    if !is_empty && !is_of_engines() {
        bail!("--out {out:?}: has files, and no manifest of engines: it would be replaced as a whole");
    }
    Ok(out)
}

#[cfg(unix)]
pub(crate) fn is_ours(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let ours = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir() && m.uid() == ours && m.mode() & 0o077 == 0)
}

#[cfg(unix)]
fn set_mode(folder: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).with_context(|| format!("{folder:?}: its mode cannot be set"))
}

/// Nobody else looks into a build.
pub(crate) fn private(folder: &Path) -> Result<()> {
    set_mode(folder, 0o700)
}

/// Everybody may read what was built.
pub(crate) fn open_to_readers(folder: &Path) -> Result<()> {
    set_mode(folder, 0o755)
}

/// Puts the folder `new` in the place of `old`, in one step where there is one already, and removes what was there.
pub(crate) fn swap(new: &Path, old: &Path) -> Result<()> {
    let failed = |e: std::io::Error| anyhow!(e).context(format!("{new:?} cannot be put in the place of {old:?}"));
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_dir_all(new).map_err(failed)?,
        Err(e) if std::io::Error::from(e).kind() == ErrorKind::NotFound => fs::rename(new, old).map_err(failed)?,
        // A file system that cannot exchange: for a moment there is no folder.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let gone = beside(old, "old");
            fs::rename(old, &gone).and_then(|()| fs::rename(new, old)).map_err(failed)?;
            fs::remove_dir_all(&gone).map_err(failed)?;
        }
        Err(e) => return Err(failed(e.into())),
    }
    if let Some(folder) = old.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// Writes a file that survives a loss of power once this returns.
pub(crate) fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let written = fs::File::create(path).and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.with_context(|| format!("{path:?} cannot be written"))
}

/// A hash as the manifest writes it.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
