//! The reader of one sequence of PandaSet, as its development kit stores it: front camera, ego
//! poses, GPS.
//!
//! The files hold poses of the ego sensor (x right, y forward, z up) in a fixed world. They become
//! planar poses with x forward; their reference point stays the sensor, not the rear axle. The ego
//! states come from the poses ([`crate::ego_from_poses`]), the speed at the first pose from the
//! GPS. PandaSet has no route: the command is `unknown` throughout.

use crate::camera::{CameraMount, RecordedCamera};
use crate::checks::{InputCheck, ReadRecording, add_read};
use crate::ego_from_poses::ego_states;
use crate::files::{KIND, StampColumn, bad, check_increasing, read_json};
use crate::frames::{FrameStore, image_size};
use crate::recording::{Limits, Recording};
use crate::track::PoseTrack;
use drivewam_core::dims::{Command, Intrinsics};
use drivewam_core::pose::Pose2;
use drivewam_core::stamp::check_stamp;
use drivewam_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The folder by which a sequence is recognised.
pub(crate) const CAMERA_DIR: &str = "camera/front_camera";
/// Height of the ego sensor's origin above the road, metres: its height minus that of the lane
/// markings around the car.
const ORIGIN_ABOVE_ROAD_M: f64 = 0.3;

#[derive(Deserialize)]
struct Position {
    x: f64,
    y: f64,
    z: f64,
}

#[derive(Deserialize)]
struct Quaternion {
    w: f64,
    x: f64,
    y: f64,
    z: f64,
}

#[derive(Deserialize)]
struct SensorPose {
    position: Position,
    heading: Quaternion,
}

#[derive(Deserialize)]
struct Pinhole {
    fx: f64,
    fy: f64,
    cx: f64,
    cy: f64,
}

#[derive(Deserialize)]
struct Gps {
    xvel: f64,
    yvel: f64,
}

type Vec3 = [f64; 3];

impl SensorPose {
    fn position(&self) -> Vec3 {
        [self.position.x, self.position.y, self.position.z]
    }

    /// The sensor's x, y and z axes in the world frame.
    fn axes(&self) -> [Vec3; 3] {
        let Quaternion { w, x, y, z } = self.heading;
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y)],
            [2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x)],
            [2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    }

    /// Whether the numbers are finite and the quaternion has unit norm.
    fn is_valid(&self) -> bool {
        let Quaternion { w, x, y, z } = self.heading;
        let norm = w * w + x * x + y * y + z * z;
        self.position().iter().all(|v| v.is_finite()) && (norm - 1.0).abs() < 1e-3
    }

    /// The pose in the plane, x forward.
    fn planar(&self) -> Pose2 {
        let [_, forward, _] = self.axes();
        Pose2::new(self.position.x, self.position.y, libm::atan2(forward[1], forward[0]))
    }
}

/// Reads the files of the sequence `dir` and adds a row for them to `checks`; `None` where one of
/// them was refused.
pub(crate) fn read(dir: &Path, limits: Limits, checks: &mut Vec<InputCheck>) -> Option<ReadRecording> {
    add_read(checks, "files", CAMERA_DIR, "those of the development kit", read_sequence(dir, limits), |read| {
        format!("{} frames, {} poses", read.frames.stamps.len(), read.poses.stamps.len())
    })
}

fn read_sequence(dir: &Path, limits: Limits) -> Result<ReadRecording> {
    let camera_dir = dir.join(CAMERA_DIR);
    let frames = read_stamps(&camera_dir.join("timestamps.json"))?;
    let paths: Vec<PathBuf> = (0..frames.stamps.len()).map(|i| camera_dir.join(format!("{i:02}.jpg"))).collect();
    for path in &paths {
        drivewam_files::expect_plain(path, KIND).map_err(|e| e.wanted(format!("an image for each of {} stamps", paths.len())))?;
    }
    let first = paths.first().ok_or_else(|| bad(&camera_dir, "there is no frame"))?;
    let (width, height) = image_size(first, limits.max_image_pixels)?;
    let pinhole: Pinhole = read_json(&camera_dir.join("intrinsics.json"))?;
    let intrinsics = Intrinsics { fx_px: pinhole.fx, fy_px: pinhole.fy, cx_px: pinhole.cx, cy_px: pinhole.cy };
    let place = |e: Error| e.at(format!("{:?}", camera_dir.join("intrinsics.json")));
    intrinsics.check([width, height], KIND, "camera").map_err(place)?;
    let (poses, sensor) = (read_stamps(&dir.join("lidar/timestamps.json"))?, read_poses(&dir.join("lidar/poses.json"))?);
    same_length(&dir.join("lidar/poses.json"), sensor.len(), poses.stamps.len())?;
    let track = PoseTrack::new(poses.stamps.iter().copied().zip(sensor.iter().map(SensorPose::planar)).collect());
    let gps: Vec<Gps> = read_json(&dir.join("meta/gps.json"))?;
    let speed = gps.first().map(|g| libm::hypot(g.xvel, g.yvel)).filter(|v| v.is_finite());
    let speed = speed.ok_or_else(|| bad(&dir.join("meta/gps.json"), "the first speed is missing").wanted("finite xvel and yvel"))?;
    let cameras = read_poses(&camera_dir.join("poses.json"))?;
    same_length(&camera_dir.join("poses.json"), cameras.len(), frames.stamps.len())?;
    let mount = mount(&frames.stamps, &cameras, &poses.stamps, &sensor).unwrap_or_default();
    let ego = ego_states(&track, speed);
    for (i, ((_, pose), (_, state))) in track.as_slice().iter().zip(&ego).enumerate() {
        let place = |e: Error| e.at(format!("entry {i}")).at(format!("{:?}", dir.join("lidar/poses.json")));
        pose.check_range().and_then(|()| state.check_range()).map_err(place)?;
    }
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let begin = frames.stamps.first().copied().min(poses.stamps.first().copied());
    let commands = StampColumn { stamps: begin.into_iter().collect(), ..poses.clone() };
    let recording = Recording {
        name,
        format: "pandaset",
        camera: RecordedCamera { width, height, intrinsics, distortion: None },
        mount,
        commands: commands.stamps.iter().map(|stamp| (*stamp, Command::Unknown)).collect(),
        frames: frames.stamps.clone(),
        store: FrameStore::Files(paths),
        ego,
        poses: track,
        max_image_pixels: limits.max_image_pixels,
    };
    Ok(ReadRecording { recording, frames, ego: poses.clone(), poses, commands })
}

fn same_length(path: &Path, got: usize, wanted: usize) -> Result<()> {
    if got == wanted { Ok(()) } else { Err(bad(path, "the number of entries differs from the number of stamps").got(got).wanted(wanted)) }
}

/// Reads stamps in Unix seconds and converts them to nanoseconds.
fn read_stamps(path: &Path) -> Result<StampColumn> {
    let seconds: Vec<f64> = read_json(path)?;
    let mut stamps: Vec<i64> = Vec::with_capacity(seconds.len());
    for (i, second) in seconds.into_iter().enumerate() {
        let place = |e: Error| e.at(format!("entry {i}")).at(format!("{path:?}"));
        if !(0.0..4e9).contains(&second) {
            return Err(place(Error::new(ErrorKind::Input, "the stamp is out of range").got(second).wanted("Unix seconds")));
        }
        let stamp_ns = (second * 1e9).round() as i64;
        check_stamp(stamp_ns).map_err(place)?;
        check_increasing(stamps.last().copied(), stamp_ns).map_err(place)?;
        stamps.push(stamp_ns);
    }
    Ok(StampColumn { path: path.to_owned(), stamps, lines: Vec::new() })
}

fn read_poses(path: &Path) -> Result<Vec<SensorPose>> {
    let poses: Vec<SensorPose> = read_json(path)?;
    match poses.iter().position(|p| !p.is_valid()) {
        Some(i) => Err(Error::new(ErrorKind::Input, "not a pose")
            .at(format!("entry {i}"))
            .at(format!("{path:?}"))
            .wanted("finite numbers, a unit quaternion")),
        None => Ok(poses),
    }
}

/// The camera's mount on the car, from the first frame between two of the sensor's poses.
fn mount(frames: &[i64], cameras: &[SensorPose], stamps: &[i64], sensor: &[SensorPose]) -> Option<CameraMount> {
    let frame = frames.iter().position(|f| stamps.first().is_some_and(|s| f >= s))?;
    let (&frame_ns, camera) = (frames.get(frame)?, cameras.get(frame)?);
    let after = stamps.partition_point(|&s| s <= frame_ns);
    let (later, earlier) = (sensor.get(after)?, sensor.get(after.checked_sub(1)?)?);
    let (later_ns, earlier_ns) = (*stamps.get(after)?, *stamps.get(after.checked_sub(1)?)?);
    let share = (frame_ns - earlier_ns) as f64 / (later_ns - earlier_ns) as f64;
    let (a, b, at) = (earlier.position(), later.position(), camera.position());
    let from: Vec3 = std::array::from_fn(|i| at[i] - a[i] - share * (b[i] - a[i]));
    let [right, forward, up] = earlier.axes();
    let dot = |u: &Vec3, v: &Vec3| u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
    let in_car = |v: &Vec3| [dot(v, &forward), -dot(v, &right), dot(v, &up)];
    let [x, y, z] = in_car(&from);
    Some(CameraMount { position_m: [x, y, z + ORIGIN_ABOVE_ROAD_M], axes: camera.axes().map(|axis| in_car(&axis)), is_measured: true })
}
