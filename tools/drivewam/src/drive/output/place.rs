//! Which folder `--out` names, and how a finished drive can take its place. Decided before the
//! drive begins.

use anyhow::{Context, Result, bail};
use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags, accessat, statvfs, statx};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Longest name of the folder, bytes. File systems take 255; the partial folder's name is longer by
/// a suffix.
const MAX_NAME_BYTES: usize = 200;
/// Mode bit of a folder in which only the owner of an entry may rename it.
const STICKY: u32 = 0o1000;
const ROOT: u32 = 0;

/// How the finished folder takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// It is filled beside its place and renamed. A folder that is there is exchanged for it.
    Beside,
    /// It is filled inside its place, and the entries are renamed: the folder itself cannot be.
    Inside,
}

/// A path that the output must not touch.
#[derive(Debug, Clone)]
pub(crate) struct Protected {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
}

impl Protected {
    /// A folder, and the targets of the links in it.
    pub(crate) fn folder(what: &'static str, path: &Path) -> Vec<Self> {
        let links = fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_symlink()));
        let paths = std::iter::once(path.to_owned()).chain(links.map(|entry| entry.path()));
        paths.map(|path| Self { what, path }).collect()
    }
}

/// Where an output folder goes.
#[derive(Debug, PartialEq)]
pub(super) struct OutputPlace {
    /// The folder, by a path without links. It may not exist yet.
    pub(super) target: PathBuf,
    /// The folder above it.
    pub(super) parent: PathBuf,
    /// The name of `target`.
    pub(super) name: String,
    pub(super) placement: Placement,
}

impl OutputPlace {
    /// The place that `given` names.
    ///
    /// # Errors
    /// It is not a folder, a link to nothing, has too long a name, or is, contains or lies in a
    /// protected path; this user can neither rename the folder that is there nor write into it.
    pub(super) fn find(given: &Path, protected: &[Protected]) -> Result<Self> {
        let target = real_path(given, given)?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else { bail!("--out {given:?}: not a folder name") };
        if name.len() > MAX_NAME_BYTES {
            bail!("--out: the folder's name is too long (got {} bytes, wanted at most {MAX_NAME_BYTES})", name.len());
        }
        refuse_overlap(given, &target, protected)?;
        let placement = match fs::metadata(&target) {
            Err(_) => Placement::Beside,
            Ok(there) if !there.is_dir() => bail!("--out {given:?}: exists and is not a folder"),
            Ok(there) => match fixed_by(&target, parent, &there)? {
                None => Placement::Beside,
                Some(_) if may_write(&target) => Placement::Inside,
                Some(why) => bail!("--out {given:?}: cannot be replaced, because {why}, and this user may not write into it"),
            },
        };
        Ok(Self { parent: parent.to_owned(), name: name.to_string_lossy().into_owned(), placement, target })
    }

    /// Refuses a folder whose entries this user may not rename, where they have to be.
    pub(super) fn check_entries(&self, given: &Path, names: &[OsString]) -> Result<()> {
        let there = fs::metadata(&self.target).with_context(|| format!("--out: cannot read {:?}", self.target))?;
        for path in names.iter().map(|name| self.target.join(name)) {
            let Ok(entry) = fs::symlink_metadata(&path) else { continue };
            let is_held = is_held_by_sticky_bit(&there, &entry);
            // A folder that gets another folder above it has an entry of its own rewritten.
            if is_held || (entry.is_dir() && !may_write(&path)) {
                bail!("--out {given:?}: {path:?} belongs to another user and cannot be replaced: choose another folder");
            }
        }
        Ok(())
    }

    /// Refuses a file system with less room than `need_bytes`.
    pub(super) fn check_space(&self, need_bytes: u64) -> Result<()> {
        let folder = self.target.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let Ok(system) = statvfs(folder) else { return Ok(()) };
        let free_bytes = system.f_bavail.saturating_mul(system.f_frsize);
        if free_bytes < need_bytes {
            bail!("--out {:?}: too little room on its file system (got {free_bytes} bytes, wanted about {need_bytes})", self.target);
        }
        // A file system without a fixed number of files reports 0 of 0.
        if system.f_files > 0 && system.f_favail == 0 {
            bail!("--out {:?}: no more files fit on its file system (got 0 free inodes)", self.target);
        }
        Ok(())
    }
}

/// The path without links, also of a folder that does not exist yet. `given` is for messages.
fn real_path(path: &Path, given: &Path) -> Result<PathBuf> {
    match path.canonicalize() {
        Ok(real) => return Ok(real),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("--out {given:?}: cannot follow {path:?}")),
    }
    if let Ok(nothing) = path.read_link() {
        bail!("--out {given:?}: {path:?} is a link to {nothing:?}, which does not exist: create that folder, or give its path");
    }
    let absolute = std::path::absolute(path).with_context(|| format!("--out {given:?}: not a folder name"))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else { bail!("--out {given:?}: not a folder name") };
    Ok(real_path(parent, given)?.join(name))
}

/// Why the folder at `target` cannot be renamed; `None` if it can.
fn fixed_by(target: &Path, parent: &Path, there: &Metadata) -> Result<Option<&'static str>> {
    let above = fs::metadata(parent).with_context(|| format!("--out: cannot read {parent:?}"))?;
    Ok(if is_mount_point(target, there, &above) {
        Some("it is a mount point")
    } else if std::env::current_dir().is_ok_and(|current| current.starts_with(target)) {
        Some("the program runs in it")
    } else if !may_write(parent) {
        Some("this user may not write into the folder above it")
    } else if is_held_by_sticky_bit(&above, there) {
        Some("it belongs to another user, and the folder above it has the sticky bit")
    } else {
        None
    })
}

/// Whether the sticky bit of `folder` keeps this user from renaming `entry`.
fn is_held_by_sticky_bit(folder: &Metadata, entry: &Metadata) -> bool {
    let user = rustix::process::geteuid().as_raw();
    folder.mode() & STICKY != 0 && ![ROOT, entry.uid(), folder.uid()].contains(&user)
}

/// Whether a file system is mounted at `folder`; `above` is the folder above it.
fn is_mount_point(folder: &Path, there: &Metadata, above: &Metadata) -> bool {
    let known = statx(CWD, folder, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).ok();
    match known.filter(|s| s.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)) {
        Some(stat) => stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        // Before Linux 5.8, which leaves a folder of the same file system mounted twice unseen.
        None => there.dev() != above.dev(),
    }
}

/// Whether this user may create and rename entries of `folder`.
fn may_write(folder: &Path) -> bool {
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Refuses an output that is, contains or lies in a protected path. Folders are compared by their
/// number on the file system, so that a second mount of the same folder is found too.
fn refuse_overlap(given: &Path, target: &Path, protected: &[Protected]) -> Result<()> {
    let own = fs::metadata(target).ok().map(|m| number(&m));
    let above_own = numbers(target);
    for Protected { what, path } in protected {
        let Ok(real) = path.canonicalize() else { continue };
        let Ok(metadata) = fs::metadata(&real) else { continue };
        let relation = if own == Some(number(&metadata)) {
            "is"
        } else if own.is_some_and(|own| numbers(&real).contains(&own)) {
            "contains"
        } else if above_own.contains(&number(&metadata)) {
            "lies in"
        } else {
            continue;
        };
        bail!("--out {given:?}: {relation} {what} {real:?}, which a drive must leave alone: choose another folder");
    }
    Ok(())
}

fn number(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The numbers of `path` and of the folders above it, as far as they exist.
fn numbers(path: &Path) -> Vec<(u64, u64)> {
    path.ancestors().filter_map(|folder| fs::metadata(folder).ok()).map(|m| number(&m)).collect()
}
