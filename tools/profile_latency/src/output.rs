//! The files that the program writes: checked before it measures, written through temporary ones.

use crate::args::Args;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Checks that every requested file can be written, so that a measurement of an hour is not lost to
/// a folder that does not exist. Leaves nothing behind.
///
/// # Errors
/// A path that is no file, lies in no folder or in one that cannot be written; two options with the
/// same file.
pub(crate) fn check(args: &Args) -> Result<()> {
    let mut known: Vec<(&str, PathBuf)> = Vec::new();
    for (option, path) in args.files() {
        let target = target(path).with_context(|| format!("{option} {path:?}"))?;
        if let Some((other, _)) = known.iter().find(|(_, known)| *known == target) {
            bail!("{option} {path:?}: the same file as that of {other} (wanted another one)");
        }
        let temporary = temporary(&target);
        fs::File::create(&temporary)
            .and_then(|_| fs::remove_file(&temporary))
            .with_context(|| format!("{option} {path:?}: the folder cannot be written"))?;
        known.push((option, target));
    }
    Ok(())
}

/// The file that `path` names, behind any link.
fn target(path: &Path) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => bail!("exists and is not a file"),
        Ok(_) => Ok(path.canonicalize()?),
        Err(_) => {
            let name = path.file_name().context("names no file")?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = folder.canonicalize().with_context(|| format!("the folder {folder:?} cannot be used; create it first"))?;
            Ok(folder.join(name))
        }
    }
}

fn temporary(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    name.into()
}

/// Writes `text` to `path` through a temporary file, so that no incomplete file has its name.
///
/// # Errors
/// A path that cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let target = target(path).with_context(|| format!("cannot write {path:?}"))?;
    let temporary = temporary(&target);
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &target));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write {path:?}"))
}
