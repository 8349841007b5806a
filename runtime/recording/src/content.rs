//! The parsers of a recording's files, on contents in memory: for tests that give them any bytes.
//!
//! Each makes the checks of [`Recording::open`](crate::Recording::open) that concern one file
//! alone.

use crate::camera::RecordedCamera;
use crate::camera_header::read_camera;
use crate::files::{KIND, bad};
use crate::format::{self, CsvTable};
use crate::recording::Limits;
use crate::table::parse_table;
use crate::{folder, image_file};
use drivewam_core::{Error, Result};
use std::path::Path;

/// The camera of the header `input.yaml`.
///
/// # Errors
/// `Input`.
pub fn camera(bytes: &[u8], limits: Limits) -> Result<RecordedCamera> {
    let path = Path::new(format::HEADER_FILE);
    let text = std::str::from_utf8(bytes).map_err(|e| bad(path, "not UTF-8 text").caused_by(e))?;
    folder::parse_header(path, text).and_then(|header| read_camera(&header.camera, limits)).map(|(camera, _)| camera)
}

/// The stamps of one of the tables of [`mod@format`].
///
/// # Errors
/// `Input`; also for a table that the format does not have.
pub fn stamps(table: &CsvTable, bytes: &[u8]) -> Result<Vec<i64>> {
    let path = Path::new(table.file);
    let column = match table.file {
        file if file == format::POSES.file => parse_table(path, bytes, table, folder::pose)?.column,
        file if file == format::EGO.file => parse_table(path, bytes, table, folder::ego_state)?.column,
        file if file == format::COMMANDS.file => parse_table(path, bytes, table, folder::command)?.column,
        file if file == format::FRAMES.file => parse_table(path, bytes, table, |row| folder::file_name(row).map(drop))?.column,
        other => return Err(Error::new(KIND, "not a table of a recording").got(other)),
    };
    Ok(column.stamps)
}

/// Width and height of an image file.
///
/// # Errors
/// `Input`.
pub fn image_size(bytes: &[u8], max_pixels: u64) -> Result<(usize, usize)> {
    image_file::size(Path::new("image"), bytes, max_pixels)
}

/// The pixels of an image file: packed rows of RGB.
///
/// # Errors
/// `Input`.
pub fn pixels(bytes: &[u8], size: (usize, usize), max_pixels: u64) -> Result<Vec<u8>> {
    image_file::decode(Path::new("image"), bytes, size, max_pixels)
}
