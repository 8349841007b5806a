//! The format of a recording folder (`docs/input.md`): its file names, the columns of its tables
//! and the header `input.yaml`. The reader of this crate and every writer share this definition.

use crate::camera::Distortion;
use drivewam_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The version of the format. A key that is optional, and whose absence means what it meant before,
/// does not change it; any other change does.
pub const SCHEMA: u32 = 1;
/// The header. A folder with this file is a recording folder.
pub const HEADER_FILE: &str = "input.yaml";
/// Folder of the image files of [`FrameFormat::Files`].
pub const FRAMES_DIR: &str = "frames";
/// The images of [`FrameFormat::Rgb8`]: RGB bytes row by row, frame after frame.
pub const RAW_FRAMES_FILE: &str = "frames.rgb";
/// The first column of every table: nanoseconds, strictly increasing.
pub const STAMP_COLUMN: &str = "stamp_ns";

/// Capture stamps of the frames, and where each frame is stored.
pub const FRAMES: CsvTable = CsvTable { file: "frames.csv", columns: &["file"] };
/// Poses of the car in one continuous frame of reference.
pub const POSES: CsvTable = CsvTable { file: "poses.csv", columns: &["x_m", "y_m", "yaw_rad"] };
/// Ego states.
pub const EGO: CsvTable = CsvTable { file: "ego.csv", columns: &["speed_mps", "acceleration_mps2", "curvature_1pm"] };
/// Route commands; each holds until the next row.
pub const COMMANDS: CsvTable = CsvTable { file: "commands.csv", columns: &["command"] };

/// A CSV table of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvTable {
    /// File name within the folder.
    pub file: &'static str,
    /// Columns beside [`STAMP_COLUMN`].
    pub columns: &'static [&'static str],
}

impl CsvTable {
    /// The first line of the file, with its line break.
    pub fn header_line(&self) -> String {
        format!("{STAMP_COLUMN},{}\n", self.columns.join(","))
    }
}

/// The content of [`HEADER_FILE`]. `S` is the type of `source`, which the format leaves free.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingHeader<S = serde_json::Value> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The camera.
    pub camera: CameraHeader,
    /// Storage of the frames.
    pub frames: FramesHeader,
    /// Where the recording comes from. A reader uses only the key `kind`, if there is one.
    #[serde(default)]
    pub source: S,
}

impl<S: Serialize> RecordingHeader<S> {
    /// The header as YAML.
    ///
    /// # Errors
    /// `Io` if `source` has no representation in YAML.
    pub fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|e| Error::new(ErrorKind::Io, "cannot format the header").caused_by(e))
    }
}

/// The camera of a header. Angles that are left out are 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraHeader {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Focal length, pixels.
    pub fx_px: f64,
    /// Focal length, pixels.
    pub fy_px: f64,
    /// Principal point, pixels.
    pub cx_px: f64,
    /// Principal point, pixels.
    pub cy_px: f64,
    /// Optical centre ahead of the car's reference point, metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead_m: Option<f64>,
    /// Optical centre above the road, metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_m: Option<f64>,
    /// Pitch, radians, down positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pitch_rad: Option<f64>,
    /// Yaw, radians, left positive; applied before the pitch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yaw_rad: Option<f64>,
    /// Roll, radians, positive where the camera's right side is down; applied after the pitch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_rad: Option<f64>,
    /// The distortion of the lens; left out, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distortion: Option<Distortion>,
}

/// The storage of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FramesHeader {
    /// Files, or one raw file.
    pub format: FrameFormat,
}

/// How frames are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameFormat {
    /// One PNG or JPEG file per frame below [`FRAMES_DIR`].
    Files,
    /// All frames in [`RAW_FRAMES_FILE`].
    Rgb8,
}
