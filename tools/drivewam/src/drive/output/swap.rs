//! Puts a finished folder in its place. What was there before is never lost half-way: either all of
//! it is replaced, or none.

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file that identifies a folder as the output of a drive.
pub(crate) const SUMMARY: &str = "summary.json";

/// What could not be removed of what was there before.
#[derive(Debug, PartialEq)]
pub(super) struct Leftover {
    pub(super) path: PathBuf,
    pub(super) why: String,
}

/// Renames `partial` to `target`, which is missing or an empty folder. If it is neither and
/// `is_taken`, exchanges the two and removes the former folder; what cannot be removed is moved to
/// `former`.
///
/// # Errors
/// A folder cannot be renamed. Both are then where they were.
pub(super) fn beside(partial: &Path, target: &Path, former: &Path, is_taken: bool) -> Result<Option<Leftover>> {
    let failed = |e: io::Error| anyhow!(e).context(format!("cannot rename {partial:?} to {target:?}"));
    if !is_taken {
        return fs::rename(partial, target).map(|()| None).map_err(failed);
    }
    match renameat_with(CWD, partial, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(retire(partial, former)),
        Err(Errno::NOENT) => fs::rename(partial, target).map(|()| None).map_err(failed),
        // This file system cannot exchange names: for a moment there is no folder.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::rename(target, former).map_err(failed)?;
            if let Err(error) = fs::rename(partial, target) {
                let _ = fs::rename(former, target);
                return Err(failed(error));
            }
            Ok(retire(former, former))
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// Moves the entries of `partial`, a folder in `target`, up into `target`, and removes the entries
/// that were there before, where the place `is_taken`. `is_kept` names entries that stay. The
/// summary goes first and comes last, so that a folder with a summary is whole.
///
/// # Errors
/// An entry cannot be renamed, or there are entries though nothing `is_taken`. All are then where
/// they were.
pub(super) fn inside(
    partial: &Path,
    target: &Path,
    former: &Path,
    is_taken: bool,
    is_kept: impl Fn(&OsStr) -> bool,
) -> Result<Option<Leftover>> {
    let mut old = names(target)?;
    old.retain(|name| !is_kept(name));
    if let Some(stranger) = old.first().filter(|_| !is_taken) {
        bail!("{target:?}: {stranger:?} was put there meanwhile");
    }
    old.sort_by_key(|name| name != SUMMARY);
    let mut new = names(partial)?;
    new.sort_by_key(|name| name == SUMMARY);
    if !old.is_empty() {
        fs::create_dir(former).with_context(|| format!("cannot create {former:?}"))?;
    }
    let away = old.iter().map(|name| (target.join(name), former.join(name)));
    let up = new.iter().map(|name| (partial.join(name), target.join(name)));
    let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
    for (from, to) in away.chain(up) {
        if let Err(error) = fs::rename(&from, &to) {
            for (from, to) in moved.iter().rev() {
                let _ = fs::rename(to, from);
            }
            let _ = fs::remove_dir(former);
            return Err(error).with_context(|| format!("cannot rename {from:?} to {to:?}"));
        }
        moved.push((from, to));
    }
    let _ = fs::remove_dir(partial);
    Ok(if old.is_empty() { None } else { retire(former, former) })
}

/// The names of the entries of a folder.
pub(super) fn names(folder: &Path) -> Result<Vec<OsString>> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    entries.with_context(|| format!("--out: cannot read {folder:?}"))
}

/// Removes a folder. What cannot be removed, since it belongs to another user, goes to `former`.
fn retire(folder: &Path, former: &Path) -> Option<Leftover> {
    let error = fs::remove_dir_all(folder).err()?;
    let is_moved = folder != former && fs::rename(folder, former).is_ok();
    Some(Leftover { path: if is_moved { former } else { folder }.to_owned(), why: error.to_string() })
}
