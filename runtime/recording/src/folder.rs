//! The documented input folder (`docs/input.md`).

use super::files::{MAX_HEADER_BYTES, bad, read_bounded, read_table};
use super::{CameraMount, Limits, PoseTrack, RecordedCamera, Recording, Store};
use drivewam_core::dims::{Command, Intrinsics};
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::path::{Component, Path, PathBuf};

/// The file that makes a folder an input folder.
pub(super) const HEADER: &str = "input.yaml";
const SCHEMA: u32 = 1;
/// Longest side of a picture, pixels.
const MAX_SIDE: usize = 1 << 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    schema: u32,
    camera: CameraHeader,
    frames: FramesHeader,
    /// Free; where the recording came from.
    #[serde(default)]
    source: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CameraHeader {
    width: usize,
    height: usize,
    fx_px: f64,
    fy_px: f64,
    cx_px: f64,
    cy_px: f64,
    ahead_m: Option<f64>,
    height_m: Option<f64>,
    pitch_rad: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FramesHeader {
    format: FrameFormat,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum FrameFormat {
    Files,
    Rgb8,
}

pub(super) fn open(dir: &Path, limits: Limits) -> Result<Recording> {
    let header = read_header(&dir.join(HEADER))?;
    let (camera, mount) = read_camera(&header.camera, limits).map_err(|e| e.at(format!("{:?}", dir.join(HEADER))))?;
    let (frames, store) = match header.frames.format {
        FrameFormat::Files => read_files(dir)?,
        FrameFormat::Rgb8 => read_raw(dir, camera)?,
    };
    let poses = read_table(&dir.join("poses.csv"), &["x_m", "y_m", "yaw_rad"], |row| {
        Ok(Pose2::new(row.number("x_m")?, row.number("y_m")?, row.number("yaw_rad")?))
    })?;
    let ego = read_table(&dir.join("ego.csv"), &["speed_mps", "acceleration_mps2", "curvature_1pm"], |row| {
        Ok(EgoState {
            speed_mps: row.number("speed_mps")?,
            acceleration_mps2: row.number("acceleration_mps2")?,
            curvature_1pm: row.number("curvature_1pm")?,
        })
    })?;
    let commands = read_table(&dir.join("commands.csv"), &["command"], |row| Command::parse(row.text("command")?))?;
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

fn read_header(path: &Path) -> Result<Header> {
    let bytes = read_bounded(path, MAX_HEADER_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|e| bad(path, "not UTF-8 text").caused_by(e))?;
    let header: Header = serde_saphyr::from_str(&text).map_err(|e| bad(path, "not the header of an input folder").caused_by(e))?;
    if header.schema != SCHEMA {
        return Err(Error::new(ErrorKind::Input, "another schema").at("schema").at(format!("{path:?}")).got(header.schema).wanted(SCHEMA));
    }
    Ok(header)
}

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
            return out(key, centre.to_string(), "a number of pixels near the picture");
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

fn read_files(dir: &Path) -> Result<(Vec<i64>, Store)> {
    let table = dir.join("frames.csv");
    let rows = read_table(&table, &["file"], |row| {
        let name = row.text("file")?;
        let inside = !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        if !inside {
            return Err(Error::new(ErrorKind::Input, "not a name below \"frames\"").at("column \"file\"").got(format!("{name:?}")));
        }
        let path = dir.join("frames").join(name);
        if path.is_file() { Ok(path) } else { Err(Error::new(ErrorKind::Input, "the picture is missing").got(format!("{path:?}"))) }
    })?;
    if rows.is_empty() {
        return Err(bad(&table, "no frame"));
    }
    let (stamps, paths): (Vec<i64>, Vec<PathBuf>) = rows.into_iter().unzip();
    Ok((stamps, Store::Files(paths)))
}

fn read_raw(dir: &Path, camera: RecordedCamera) -> Result<(Vec<i64>, Store)> {
    let (table, path) = (dir.join("frames.csv"), dir.join("frames.rgb"));
    let rows = read_table(&table, &["file"], |row| row.whole::<u64>("file"))?;
    let (stamps, indices): (Vec<i64>, Vec<u64>) = rows.into_iter().unzip();
    let Some(last) = indices.iter().max() else { return Err(bad(&table, "no frame")) };
    let frame = (camera.width * camera.height * 3) as u64;
    let found = std::fs::metadata(&path).map_err(|e| bad(&path, "the file cannot be read").caused_by(e))?.len();
    let needed = last.checked_add(1).and_then(|count| count.checked_mul(frame));
    if needed.is_none_or(|needed| found < needed) {
        return Err(bad(&path, "the file is too short for its frames")
            .got(format!("{found} bytes"))
            .wanted(format!("at least {} frames of {frame} bytes", u128::from(*last) + 1)));
    }
    Ok((stamps, Store::Raw { path, indices }))
}
