//! `--controls`: the same recording with pictures that show nothing, or the wrong thing. What the
//! policy does no better with the true ones, it does not take from them.

use super::args::Args;
use super::pictures::Pictures;
use super::recorded::drive_recording;
use super::report;
use super::run::Drive;
use anyhow::{Context, Result};
use drivewam::Ride;
use drivewam_recording::Recording;
use indicatif::ProgressBar;
use serde_json::{Map, Value};
use std::sync::atomic::AtomicBool;

/// The errors of the policy with each of [`Pictures::CONTROLS`], by name, as in `errors_m.policy`;
/// over the windows that a drive with the true pictures has. `None` if a signal stopped it.
///
/// # Errors
/// Those of a drive.
pub(super) fn errors(
    args: &Args,
    recording: &Recording,
    ride: &mut Ride,
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<Option<Map<String, Value>>> {
    let mut errors = Map::new();
    for pictures in Pictures::CONTROLS {
        ride.restart();
        let name = pictures.as_str();
        bar.set_prefix(format!("{name} pictures, "));
        let mut drive = Drive::unwritten(args, bar.clone(), stop);
        drive_recording(args, &mut drive, recording, ride, pictures).with_context(|| format!("with {name} pictures"))?;
        if drive.is_interrupted() {
            return Ok(None);
        }
        errors.insert(name.to_owned(), report::errors(&drive.rows)?["policy"].take());
    }
    Ok(Some(errors))
}
