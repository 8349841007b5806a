//! The lock of an output folder: held while a drive fills it.

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How often the lock file may vanish between opening and locking it, because other drives end.
const ATTEMPTS: usize = 100;

/// A locked file beside or inside the output folder, removed when the lock is dropped.
///
/// The file lies where the output lies, so that every process that can reach the output meets it:
/// other users, other temporary folders, other containers. The system releases the lock when the
/// process ends, however it ends; a file that remains is in nobody's way.
#[derive(Debug)]
pub(super) struct OutputLock {
    path: PathBuf,
    /// Locked.
    _file: File,
    /// The output folder itself, locked too where it exists and its file system can: processes that
    /// see it by another path or mount may use another lock file.
    _folder: Option<File>,
}

impl OutputLock {
    /// Locks the file at `path` and the folder `target`, if that exists.
    ///
    /// # Errors
    /// Another process holds a lock, or the file cannot be written.
    pub(super) fn take(path: PathBuf, target: &Path) -> Result<Self> {
        let file = lock_file(&path, target)?;
        let folder = File::open(target).ok();
        if let Some(Err(TryLockError::WouldBlock)) = folder.as_ref().map(File::try_lock) {
            let _ = fs::remove_file(&path);
            return Err(busy(target));
        }
        Ok(Self { path, _file: file, _folder: folder })
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // Still locked: whoever opened it meanwhile finds that it has no name any more. In a folder
        // with the sticky bit another user's file stays, unlocked.
        let _ = fs::remove_file(&self.path);
    }
}

fn busy(target: &Path) -> anyhow::Error {
    anyhow::anyhow!("--out {target:?}: another drive is writing to it")
}

fn lock_file(path: &Path, target: &Path) -> Result<File> {
    for _ in 0..ATTEMPTS {
        let file = open(path).with_context(|| format!("--out {target:?}: cannot open its lock {path:?}"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy(target)),
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("--out {target:?}: cannot lock {path:?}")),
        }
        // Another drive may have removed the file before it was locked here.
        let locked = file.metadata().with_context(|| format!("cannot read {path:?}"))?;
        if fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino())) {
            return Ok(file);
        }
    }
    bail!("--out {target:?}: its lock {path:?} is removed again and again")
}

/// Opens the lock file, and creates it if it is missing. The file of another user is opened to
/// read, which is enough to lock it. A link or a pipe in its place is not followed and not waited
/// for.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let existing = |write: bool| File::options().read(true).write(write).custom_flags(flags).open(path);
    let opened = existing(true).or_else(|error| if error.kind() == ErrorKind::PermissionDenied { existing(false) } else { Err(error) });
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match File::options().read(true).write(true).create_new(true).custom_flags(flags).open(path) {
                Ok(file) => {
                    // Whatever the umask: another user must be able to open it.
                    file.set_permissions(Permissions::from_mode(0o644))?;
                    Ok(file)
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => existing(false),
                Err(error) => Err(error),
            }
        }
        Ok(file) if !file.metadata()?.is_file() => Err(io::Error::other("not a plain file")),
        opened => opened,
    }
}
