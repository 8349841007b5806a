//! The reader of the documented format (`docs/input.md`, [`crate::format`]).

use crate::camera::RecordedCamera;
use crate::camera_header::read_camera;
use crate::checks::{InputCheck, ReadRecording, add_read};
use crate::files::{KIND, MAX_HEADER_BYTES, StampColumn, bad};
use crate::format::{self, CsvTable, FrameFormat, RecordingHeader};
use crate::frames::FrameStore;
use crate::recording::{Limits, Recording};
use crate::table::{CsvRow, Table, read_table};
use crate::track::PoseTrack;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::excerpt::{one_line, quoted};
use drivewam_core::pose::Pose2;
use drivewam_core::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// Reads every file of the folder `dir` and adds the row of each to `checks`; `None` where one of
/// them was refused.
pub(crate) fn read(dir: &Path, limits: Limits, checks: &mut Vec<InputCheck>) -> Option<ReadRecording> {
    let path = dir.join(format::HEADER_FILE);
    let header = read_header(&path).and_then(|header| {
        let (camera, mount) = read_camera(&header.camera, limits).map_err(|e| e.at(format!("{path:?}")))?;
        Ok((header, camera, mount))
    });
    let limit = format!("at most {} pixels", limits.max_image_pixels);
    let header = add_read(checks, "camera", format::HEADER_FILE, &limit, header, |(_, camera, _)| {
        format!("{} x {} pixels", camera.width, camera.height)
    });
    let frames = header.as_ref().map(|(header, camera, _)| match header.frames.format {
        FrameFormat::Files => read_files(dir),
        FrameFormat::Rgb8 => read_raw(dir, camera),
    });
    let frames = frames.and_then(|read| add_rows(checks, &format::FRAMES, "at least 1", read));
    let poses = read_table(dir, &format::POSES, pose);
    let poses = add_rows(checks, &format::POSES, "at least 1", poses.map(split));
    let ego = read_table(dir, &format::EGO, ego_state);
    let ego = add_rows(checks, &format::EGO, "at least 1", ego.map(split));
    let commands = read_table(dir, &format::COMMANDS, command);
    let commands = add_rows(checks, &format::COMMANDS, "-", commands.map(split));
    let (header, camera, mount) = header?;
    let ((frames, store), (poses, pose_rows), (ego, ego_rows), (commands, command_rows)) = (frames?, poses?, ego?, commands?);
    let kind = header.source.get("kind").and_then(serde_json::Value::as_str).map(str::to_owned);
    let folder = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let recording = Recording {
        name: kind.map_or(folder.clone(), |kind| format!("{kind} {folder}")),
        format: "folder",
        camera,
        mount,
        frames: frames.stamps.clone(),
        store,
        poses: PoseTrack::new(stamped(&poses, pose_rows)),
        ego: stamped(&ego, ego_rows),
        commands: stamped(&commands, command_rows),
        max_image_pixels: limits.max_image_pixels,
    };
    Some(ReadRecording { recording, frames, poses, ego, commands })
}

pub(crate) fn pose(row: &CsvRow<'_>) -> Result<Pose2> {
    let pose = Pose2::new(row.number("x_m")?, row.number("y_m")?, row.number("yaw_rad")?);
    pose.check_range().map(|()| pose)
}

pub(crate) fn ego_state(row: &CsvRow<'_>) -> Result<EgoState> {
    let state = EgoState {
        speed_mps: row.number("speed_mps")?,
        acceleration_mps2: row.number("acceleration_mps2")?,
        curvature_1pm: row.number("curvature_1pm")?,
    };
    state.check_range().map(|()| state)
}

pub(crate) fn command(row: &CsvRow<'_>) -> Result<Command> {
    Command::parse(row.text("command")?)
}

/// The name of an image below the folder of images.
pub(crate) fn file_name<'a>(row: &'a CsvRow<'_>) -> Result<&'a str> {
    let name = row.text("file")?;
    match !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_))) {
        true => Ok(name),
        false => Err(Error::new(KIND, "not a file name below \"frames\"").at("column \"file\"").got(quoted(name))),
    }
}

fn split<T>(table: Table<T>) -> (StampColumn, Vec<T>) {
    (table.column, table.rows)
}

fn stamped<T>(column: &StampColumn, rows: Vec<T>) -> Vec<(i64, T)> {
    column.stamps.iter().copied().zip(rows).collect()
}

/// Adds the row of a table.
fn add_rows<T>(checks: &mut Vec<InputCheck>, table: &CsvTable, limit: &str, read: Result<(StampColumn, T)>) -> Option<(StampColumn, T)> {
    add_read(checks, "rows", table.file, limit, read, |(column, _)| column.stamps.len().to_string())
}

fn read_header(path: &Path) -> Result<RecordingHeader> {
    parse_header(path, &drivewam_files::read_text(path, MAX_HEADER_BYTES, KIND)?)
}

/// Parses the text of the header `path`.
pub(crate) fn parse_header(path: &Path, text: &str) -> Result<RecordingHeader> {
    let header: RecordingHeader =
        serde_saphyr::from_str(text).map_err(|e| bad(path, "not the header of an input folder").caused_by(one_line(e)))?;
    if header.schema != format::SCHEMA {
        return Err(Error::new(KIND, "unsupported schema").at("schema").at(format!("{path:?}")).got(header.schema).wanted(format::SCHEMA));
    }
    Ok(header)
}

/// Stamps and image files of [`FrameFormat::Files`].
fn read_files(dir: &Path) -> Result<(StampColumn, FrameStore)> {
    let table = read_table(dir, &format::FRAMES, |row| {
        let path = dir.join(format::FRAMES_DIR).join(file_name(row)?);
        drivewam_files::expect_plain(&path, KIND)?;
        Ok(path)
    })?;
    let (column, paths): (StampColumn, Vec<PathBuf>) = (table.column, table.rows);
    if paths.is_empty() { Err(no_frame(dir)) } else { Ok((column, FrameStore::Files(paths))) }
}

fn no_frame(dir: &Path) -> Error {
    bad(&dir.join(format::FRAMES.file), "the table lists no frame")
}

/// Stamps and indices of [`FrameFormat::Rgb8`].
fn read_raw(dir: &Path, camera: &RecordedCamera) -> Result<(StampColumn, FrameStore)> {
    let path = dir.join(format::RAW_FRAMES_FILE);
    let Table { column, rows: indices } = read_table(dir, &format::FRAMES, |row| row.integer::<u64>("file"))?;
    let Some(last) = indices.iter().max() else { return Err(no_frame(dir)) };
    let frame = (camera.width * camera.height * 3) as u64;
    let found = drivewam_files::expect_plain(&path, KIND)?.len();
    let needed = last.checked_add(1).and_then(|count| count.checked_mul(frame));
    if needed.is_none_or(|needed| found < needed) {
        return Err(bad(&path, "the file is too short for its frames")
            .got(format!("{found} bytes"))
            .wanted(format!("at least {} frames of {frame} bytes", u128::from(*last) + 1)));
    }
    Ok((column, FrameStore::Raw { path, indices }))
}
