//! The reader of the documented format (`docs/input.md`, [`crate::format`]).

use crate::camera::{CameraMount, RecordedCamera};
use crate::files::{MAX_HEADER_BYTES, bad, read_bounded};
use crate::format::{self, CameraHeader, FrameFormat, RecordingHeader};
use crate::frames::FrameStore;
use crate::recording::{Limits, Recording};
use crate::table::read_table;
use crate::track::PoseTrack;
use drivewam_core::dims::{Command, Intrinsics};
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_core::{Error, ErrorKind, Result};
use std::path::{Component, Path, PathBuf};

/// Longest side of an image, pixels.
const MAX_SIDE: usize = 1 << 16;

/// Reads the folder `dir`.
///
/// # Errors
/// As [`Recording::open`].
pub(crate) fn open(dir: &Path, limits: Limits) -> Result<Recording> {
    let path = dir.join(format::HEADER_FILE);
    let header = read_header(&path)?;
    let (camera, mount) = read_camera(&header.camera, limits).map_err(|e| e.at(format!("{path:?}")))?;
    let (frames, store) = match header.frames.format {
        FrameFormat::Files => read_files(dir)?,
        FrameFormat::Rgb8 => read_raw(dir, camera)?,
    };
    let poses = read_table(dir, &format::POSES, |row| Ok(Pose2::new(row.number("x_m")?, row.number("y_m")?, row.number("yaw_rad")?)))?;
    let ego = read_table(dir, &format::EGO, |row| {
        Ok(EgoState {
            speed_mps: row.number("speed_mps")?,
            acceleration_mps2: row.number("acceleration_mps2")?,
            curvature_1pm: row.number("curvature_1pm")?,
        })
    })?;
    let commands = read_table(dir, &format::COMMANDS, |row| Command::parse(row.text("command")?))?;
    let kind = header.source.get("kind").and_then(serde_json::Value::as_str).map(str::to_owned);
    let folder = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Recording {
        name: kind.map_or(folder.clone(), |kind| format!("{kind} {folder}")),
        format: "folder",
        camera,
        mount,
        frames,
        store,
        poses: PoseTrack::new(poses),
        ego,
        commands,
        max_image_pixels: limits.max_image_pixels,
    })
}

fn read_header(path: &Path) -> Result<RecordingHeader> {
    let bytes = read_bounded(path, MAX_HEADER_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|e| bad(path, "not UTF-8 text").caused_by(e))?;
    let header: RecordingHeader = serde_saphyr::from_str(&text).map_err(|e| bad(path, "not the header of an input folder").caused_by(e))?;
    if header.schema != format::SCHEMA {
        return Err(Error::new(ErrorKind::Input, "unsupported schema")
            .at("schema")
            .at(format!("{path:?}"))
            .got(header.schema)
            .wanted(format::SCHEMA));
    }
    Ok(header)
}

/// Checks the camera of the header. `camera.height_m` decides whether the mount counts as measured.
fn read_camera(header: &CameraHeader, limits: Limits) -> Result<(RecordedCamera, CameraMount)> {
    let out = |key: &str, got: String, wanted: &str| {
        Err(Error::new(ErrorKind::Input, "out of range").at(format!("camera.{key}")).got(got).wanted(wanted))
    };
    for (key, side) in [("width", header.width), ("height", header.height)] {
        if !(1..=MAX_SIDE).contains(&side) {
            return out(key, side.to_string(), "1 to 65536 pixels");
        }
    }
    if header.width as u64 * header.height as u64 > limits.max_image_pixels {
        let wanted = format!("at most {} pixels (`ingest.max_image_pixels`)", limits.max_image_pixels);
        return out("width", format!("{}x{}", header.width, header.height), &wanted);
    }
    for (key, focal) in [("fx_px", header.fx_px), ("fy_px", header.fy_px)] {
        if !(focal.is_finite() && focal > 0.0) {
            return out(key, focal.to_string(), "a positive number of pixels");
        }
    }
    let size = header.width.max(header.height) as f64;
    for (key, centre) in [("cx_px", header.cx_px), ("cy_px", header.cy_px)] {
        if !(centre.is_finite() && centre.abs() <= 10.0 * size) {
            return out(key, centre.to_string(), "at most 10 times the longer side, pixels");
        }
    }
    let guess = CameraMount::default().position_m;
    let (ahead, height, pitch) = (header.ahead_m.unwrap_or(guess[0]), header.height_m.unwrap_or(guess[2]), header.pitch_rad.unwrap_or(0.0));
    for (key, value, low, high, wanted) in [
        ("ahead_m", ahead, -20.0, 20.0, "-20 to 20 m"),
        ("height_m", height, 0.1, 10.0, "0.1 to 10 m"),
        ("pitch_rad", pitch, -1.5, 1.5, "-1.5 to 1.5 rad"),
    ] {
        if !(low..=high).contains(&value) {
            return out(key, value.to_string(), wanted);
        }
    }
    let mount = CameraMount { is_measured: header.height_m.is_some(), ..CameraMount::on_centre_line(ahead, height, pitch) };
    let intrinsics = Intrinsics { fx_px: header.fx_px, fy_px: header.fy_px, cx_px: header.cx_px, cy_px: header.cy_px };
    Ok((RecordedCamera { width: header.width, height: header.height, intrinsics }, mount))
}

/// Stamps and image files of [`FrameFormat::Files`].
fn read_files(dir: &Path) -> Result<(Vec<i64>, FrameStore)> {
    let rows = read_table(dir, &format::FRAMES, |row| {
        let name = row.text("file")?;
        let inside = !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        if !inside {
            return Err(Error::new(ErrorKind::Input, "not a file name below \"frames\"").at("column \"file\"").got(format!("{name:?}")));
        }
        let path = dir.join(format::FRAMES_DIR).join(name);
        if path.is_file() { Ok(path) } else { Err(Error::new(ErrorKind::Input, "the image is missing").got(format!("{path:?}"))) }
    })?;
    if rows.is_empty() {
        return Err(no_frame(dir));
    }
    let (stamps, paths): (Vec<i64>, Vec<PathBuf>) = rows.into_iter().unzip();
    Ok((stamps, FrameStore::Files(paths)))
}

fn no_frame(dir: &Path) -> Error {
    bad(&dir.join(format::FRAMES.file), "the table lists no frame")
}

/// Stamps and indices of [`FrameFormat::Rgb8`].
fn read_raw(dir: &Path, camera: RecordedCamera) -> Result<(Vec<i64>, FrameStore)> {
    let path = dir.join(format::RAW_FRAMES_FILE);
    let rows = read_table(dir, &format::FRAMES, |row| row.integer::<u64>("file"))?;
    let (stamps, indices): (Vec<i64>, Vec<u64>) = rows.into_iter().unzip();
    let Some(last) = indices.iter().max() else { return Err(no_frame(dir)) };
    let frame = (camera.width * camera.height * 3) as u64;
    let found = std::fs::metadata(&path).map_err(|e| bad(&path, "cannot read the file").caused_by(e))?.len();
    let needed = last.checked_add(1).and_then(|count| count.checked_mul(frame));
    if needed.is_none_or(|needed| found < needed) {
        return Err(bad(&path, "the file is too short for its frames")
            .got(format!("{found} bytes"))
            .wanted(format!("at least {} frames of {frame} bytes", u128::from(*last) + 1)));
    }
    Ok((stamps, FrameStore::Raw { path, indices }))
}
