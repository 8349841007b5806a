//! The output folder: filled under a name of its own, and put in its place when the drive is over.

mod lock;
mod place;
mod swap;
#[cfg(test)]
mod tests;

pub(super) use place::Protected;
pub(super) use swap::SUMMARY;

use anyhow::{Context, Result, bail};
use lock::OutputLock;
use place::{OutputPlace, Placement};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Largest [`SUMMARY`] that is read.
const MAX_SUMMARY_BYTES: u64 = 16 << 20;
/// The lock file of a folder that is filled inside its place.
const INNER_LOCK: &str = ".drivewam.lock";
/// Begins the names of partial folders inside their place.
const INNER_PARTIAL: &str = "partial-";
/// Begins the names of what could not be removed inside its place.
const INNER_FORMER: &str = ".former-";
/// A folder of every ext4 file system; it is nobody's file.
const LOST_AND_FOUND: &str = "lost+found";

/// What [`OutputDir::begin`] is asked for.
pub(super) struct OutputRequest<'a> {
    /// `--out`.
    pub(super) target: &'a Path,
    /// Replace a folder whatever it contains.
    pub(super) force: bool,
    /// What the output must not touch.
    pub(super) protected: &'a [Protected],
    /// About as many bytes will be written.
    pub(super) need_bytes: u64,
}

/// An output folder being filled. Dropped before rows are in it, it leaves nothing behind; with
/// rows, it stays under its partial name.
#[derive(Debug)]
pub(super) struct OutputDir {
    place: OutputPlace,
    /// Where the files are until the drive is over.
    partial: PathBuf,
    /// Whether something lies in the place that will be replaced.
    is_taken: bool,
    /// Chunks of the drive that lies there.
    former_chunks: Option<u64>,
    /// Partial folders of drives that were killed.
    left_behind: Vec<PathBuf>,
    has_rows: bool,
    is_placed: bool,
    /// Held from before the contents are looked at until they are in their place. Dropped before
    /// `_created`: it lies in one of those folders.
    _lock: OutputLock,
    _created: Created,
}

/// Folders that were created above the output. Dropped, those that are empty are removed.
#[derive(Debug)]
struct Created(Vec<PathBuf>);

impl Created {
    fn parents(folder: &Path) -> Result<Self> {
        let missing: Vec<PathBuf> = folder.ancestors().take_while(|f| !f.exists()).map(Path::to_owned).collect();
        let mut created = Self(Vec::new());
        for folder in missing.into_iter().rev() {
            fs::create_dir(&folder).with_context(|| format!("--out: cannot create {folder:?}"))?;
            created.0.insert(0, folder);
        }
        Ok(created)
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Fails, as it should, where the output or something else lies in it.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// The chunks of the drive that wrote `folder`; `None` if no drive did.
fn chunks_of_drive(folder: &Path) -> Option<u64> {
    let path = folder.join(SUMMARY);
    // Not a pipe, which would be waited for.
    fs::symlink_metadata(&path).ok().filter(|m| m.is_file() && m.len() <= MAX_SUMMARY_BYTES)?;
    let summary: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    summary.get("schema").and(summary.get("rollouts"))?;
    Some(summary["chunks"].as_u64().unwrap_or(0))
}

/// Whether an entry inside a place is of this program's own making, or nobody's.
fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    [INNER_LOCK, LOST_AND_FOUND].contains(&name.as_ref()) || [INNER_PARTIAL, INNER_FORMER].iter().any(|begin| name.starts_with(begin))
}

impl OutputDir {
    /// Prepares to fill a folder, and decides whether it can be put in its place. A folder that is
    /// not empty is replaced only if a drive wrote it, or with `force`.
    ///
    /// # Errors
    /// The place cannot be taken: see [`OutputPlace::find`]; another drive writes to it; too little
    /// room. Nothing is left behind then.
    pub(super) fn begin(request: &OutputRequest<'_>) -> Result<Self> {
        let given = request.target;
        let place = OutputPlace::find(given, request.protected)?;
        place.check_space(request.need_bytes)?;
        let created = Created::parents(&place.parent)?;
        let inside = place.placement == Placement::Inside;
        let (folder, lock, prefix) = if inside {
            (&place.target, place.target.join(INNER_LOCK), INNER_PARTIAL.to_owned())
        } else {
            (&place.parent, place.parent.join(format!(".{}.lock", place.name)), format!("{}.partial-", place.name))
        };
        let lock = OutputLock::take(lock, &place.target)?;
        let names = if place.target.exists() { swap::names(&place.target)? } else { Vec::new() };
        let foreign: Vec<OsString> = names.into_iter().filter(|name| !inside || !is_ours(name)).collect();
        let is_taken = !foreign.is_empty();
        let former_chunks = chunks_of_drive(&place.target);
        if is_taken && former_chunks.is_none() && !request.force {
            bail!(
                "--out {given:?}: not empty, and not the output of a drive (got no {SUMMARY:?} of a drive, wanted one): give --force to replace it"
            );
        }
        if inside {
            place.check_entries(given, &foreign)?;
        }
        let left = swap::names(folder)?.into_iter().filter(|name| name.to_string_lossy().starts_with(&prefix));
        let left_behind = left.map(|name| folder.join(name)).collect();
        let partial = tempfile::Builder::new()
            .prefix(&prefix)
            // Readable as far as the umask lets it be, as any folder.
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(folder)
            .with_context(|| format!("--out {given:?}: cannot create a folder in {folder:?}"))?
            .keep();
        let (has_rows, is_placed) = (false, false);
        let mut out = Self { place, partial, is_taken, former_chunks, left_behind, has_rows, is_placed, _lock: lock, _created: created };
        out.folder("overlay")?;
        Ok(out)
    }

    /// What the user should know before the drive.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(chunks) = self.former_chunks {
            remarks.push(format!("{:?} holds a drive of {chunks} chunks: this one will take its place", self.place.target));
        }
        for path in &self.left_behind {
            remarks.push(format!("{path:?} holds what a drive wrote that did not end; remove it when you no longer need it"));
        }
        remarks
    }

    /// Chunks of the former drive that this one replaces.
    pub(super) fn former_chunks(&self) -> Option<u64> {
        self.former_chunks
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

    /// From now on the folder holds rows, and is not removed when the drive fails.
    pub(super) fn keep(&mut self) {
        self.has_rows = true;
    }

    /// Puts the folder in its place. Returns what the user should know.
    ///
    /// # Errors
    /// It cannot be renamed. What was in its place still is, and the folder stays where it was
    /// filled, which the message says.
    pub(super) fn finish(mut self) -> Result<Option<String>> {
        // Whatever happens now, the drive is not lost.
        self.keep();
        let OutputPlace { target, parent, name, placement } = &self.place;
        let unique = self.partial.file_name().and_then(OsStr::to_str).and_then(|name| name.rsplit('-').next()).unwrap_or_default();
        let placed = match placement {
            Placement::Beside => swap::beside(&self.partial, target, &parent.join(format!(".{name}.former-{unique}")), self.is_taken),
            Placement::Inside => {
                swap::inside(&self.partial, target, &target.join(format!("{INNER_FORMER}{unique}")), self.is_taken, is_ours)
            }
        };
        let leftover = placed.with_context(|| format!("the drive is whole in {:?}", self.partial))?;
        self.is_placed = true;
        Ok(leftover.map(|left| format!("what {target:?} held could not be removed: {}: it is in {:?}", left.why, left.path)))
    }

    /// Ends a drive that failed after some rows: the folder takes its place if nothing is there.
    /// Where something is, that stays, and the folder keeps its partial name. Returns its path.
    ///
    /// # Errors
    /// As [`OutputDir::finish`].
    pub(super) fn finish_failed(mut self) -> Result<PathBuf> {
        self.keep();
        if self.is_taken {
            return Ok(self.partial.clone());
        }
        let target = self.place.target.clone();
        self.finish().map(|_nothing_was_there| target)
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        if !self.is_placed && !self.has_rows {
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}
