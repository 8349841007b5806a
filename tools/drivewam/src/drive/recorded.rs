//! A drive through a recording: once, or from every frame of its first chunk.

use super::args::Args;
use super::pictures::Pictures;
use super::run::{Drive, length_ms};
use super::source::{Recorded, Source};
use anyhow::Result;
use drivewam::Ride;
use drivewam_recording::Recording;

/// The last stamp after which the recording has a whole chunk of poses.
fn last_window_ns(recording: &Recording, chunk_ns: i64) -> i64 {
    recording.poses().last_ns().unwrap_or(0).saturating_sub(chunk_ns)
}

/// How many windows `--phases` evaluates: frames after which a whole chunk was driven.
///
/// # Errors
/// No frame has a pose and an ego state.
pub(super) fn windows(recording: &Recording, chunk_ns: i64) -> Result<usize> {
    let (first, last_ns) = (recording.first_frame()?, last_window_ns(recording, chunk_ns));
    Ok(recording.frames().iter().skip(first).filter(|stamp| **stamp <= last_ns).count())
}

/// Drives a recording once, or with --phases from every frame of its first chunk.
///
/// # Errors
/// Those of [`Drive::run`].
pub(super) fn drive_recording(
    args: &Args,
    drive: &mut Drive<'_>,
    recording: &Recording,
    ride: &mut Ride,
    pictures: Pictures,
) -> Result<()> {
    let first = recording.first_frame()?;
    if !args.phases {
        let mut source = Recorded::new(recording, first, pictures);
        drive.bar.set_length(length_ms(source.span_ns()));
        return drive.run(&mut source, ride, recording.poses().last_ns().unwrap_or(i64::MAX));
    }
    let chunk_ns = ride.config().model.chunk_ns();
    let last_t0_ns = last_window_ns(recording, chunk_ns);
    let start_ns = recording.frames().get(first).copied().unwrap_or(0);
    let starts = recording.frames().iter().enumerate().skip(first);
    for (frame, _) in starts.filter(|(_, stamp)| **stamp < start_ns + chunk_ns && **stamp <= last_t0_ns) {
        if drive.is_interrupted() {
            break;
        }
        if frame != first {
            ride.restart();
        }
        let mut source = Recorded::new(recording, frame, pictures);
        drive.bar.set_length(length_ms(source.span_ns()));
        drive.run(&mut source, ride, last_t0_ns)?;
    }
    Ok(())
}
