//! Writes worlds as input folders, which training and `drive` read (`docs/input.md`).
//!
//! One folder per seed. It is written under a name of its own and renamed when it is complete, so a
//! cancelled run leaves only complete folders, and several runs may write side by side.

use crate::drive_files::{WriteOptions, write_files};
use crate::driver::Driver;
use crate::existing::{check_existing, folder_name};
use crate::output::write_error;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_recording::format;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// The extent of what was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Written {
    /// Complete drives.
    pub drives: u64,
    /// Frames.
    pub frames: u64,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// Writes the worlds of `seeds` below `out`, one folder each, named by the seed with six digits.
/// Seeds whose folder holds the same drive are skipped.
///
/// Each thread drives its worlds with a driver of its own from `make_driver`. Calls `progress`
/// after each drive with the number of finished drives, from any of the threads. When `cancel`
/// turns true, the drives in progress are dropped.
///
/// # Errors
/// `Config` if the camera rate does not divide ten, or a folder of one of the seeds holds something
/// else than this drive: nothing is written then. `Io` if a file cannot be written or a thread
/// cannot be spawned; `Usage` if a thread panicked; errors of the drivers.
pub fn write_seeds(
    seeds: Range<u64>,
    options: &WriteOptions,
    out: &Path,
    make_driver: &(dyn Fn() -> Result<Box<dyn Driver>> + Sync),
    progress: &(dyn Fn(u64) + Sync),
    cancel: &AtomicBool,
) -> Result<Written> {
    if options.camera_hz == 0 || !10u32.is_multiple_of(options.camera_hz) {
        return Err(Error::new(ErrorKind::Config, "the camera rate does not divide the world's ten ticks per second")
            .at("camera_hz")
            .got(options.camera_hz)
            .wanted("1, 2, 5 or 10"));
    }
    fs::create_dir_all(out).map_err(|e| write_error(e, out))?;
    check_existing(&seeds, options, out)?;
    let start = Instant::now();
    let (next, drives, frames) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let worker = || -> Result<()> {
        let mut driver = make_driver()?;
        while !cancel.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            frames.fetch_add(write_drive(seed, options, out, driver.as_mut(), cancel)?, Ordering::Relaxed);
            progress(drives.fetch_add(1, Ordering::Relaxed) + 1);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for i in 0..options.threads.max(1) {
            let thread = std::thread::Builder::new().name(format!("world-{i}"));
            let handle = thread.spawn_scoped(scope, worker);
            handles.push(handle.map_err(|e| Error::new(ErrorKind::Io, "cannot spawn a thread").caused_by(e))?);
        }
        for handle in handles {
            handle.join().map_err(|_panic| Error::new(ErrorKind::Usage, "a writing thread panicked"))??;
        }
        Ok(())
    })?;
    Ok(Written { drives: drives.into_inner(), frames: frames.into_inner(), seconds: start.elapsed().as_secs_f64() })
}

/// Writes one drive; returns its frames, 0 if its folder exists or the drive was cancelled.
fn write_drive(seed: u64, options: &WriteOptions, out: &Path, driver: &mut dyn Driver, cancel: &AtomicBool) -> Result<u64> {
    let folder = out.join(folder_name(seed));
    let exists = || folder.join(format::HEADER_FILE).exists();
    if exists() {
        return Ok(0);
    }
    // Removed when it is dropped.
    let mut partial = tempfile::Builder::new()
        .prefix(&format!(".{}.partial-", folder_name(seed)))
        // Readable as far as the umask lets it be, as any folder.
        .permissions(fs::Permissions::from_mode(0o777))
        .tempdir_in(out)
        .map_err(|e| write_error(e, out))?;
    let frames = write_files(seed, options, partial.path(), driver, cancel)?;
    if cancel.load(Ordering::Relaxed) {
        return Ok(0);
    }
    match fs::rename(partial.path(), &folder) {
        Ok(()) => {
            partial.disable_cleanup(true);
            Ok(frames)
        }
        // Another run was faster.
        Err(_) if exists() => Ok(0),
        Err(error) => Err(write_error(error, &folder)),
    }
}
