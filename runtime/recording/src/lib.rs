//! A recorded drive as events in the order of their stamps: pictures, poses, ego states, route commands.
//!
//! [`Recording::open`] reads the documented folder (`docs/input.md`) and PandaSet's. Everything but the pictures is read and checked there:
//! stamps that do not rise, missing columns, numbers that are none and holes in the poses are refused before a ride begins. Pictures are
//! decoded one at a time by [`Recording::decode`], and only after their size was read and found right. Never: a stamp or a pose that no
//! file holds.

#![forbid(unsafe_code)]

mod derive;
mod files;
mod folder;
mod mount;
mod pandaset;
mod picture;
#[cfg(test)]
mod tests;
mod track;

pub use mount::CameraMount;
pub use track::PoseTrack;

use drivewam_core::config::Ingest;
use drivewam_core::dims::{Command, Intrinsics};
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_core::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Poses and ego states this long before the first frame are part of a ride that starts there.
const LEAD_IN_NS: i64 = 1_000_000_000;

/// What a recording must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of a picture; a larger one is refused before it is decoded.
    pub max_image_pixels: u64,
    /// Longest time between two poses, nanoseconds.
    pub pose_hole_ns: i64,
}

impl Limits {
    /// The limits of `ingest:`.
    pub fn of(ingest: &Ingest) -> Self {
        Self { max_image_pixels: ingest.max_image_pixels, pose_hole_ns: i64::from(ingest.pose_hole_ms) * 1_000_000 }
    }
}

/// Something that came in at a stamp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// The route command from here on.
    Command(Command),
    /// The car's own state.
    Ego(EgoState),
    /// Where the car is, in one continuous frame.
    Pose(Pose2),
    /// The index of a picture for [`Recording::decode`].
    Frame(usize),
}

/// The camera of a recording: pinhole, no distortion. Its pictures are packed RGB bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordedCamera {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// In pixels of a picture of this size.
    pub intrinsics: Intrinsics,
}

/// Where the pictures lie.
#[derive(Debug, Clone, PartialEq)]
enum Store {
    /// One file each.
    Files(Vec<PathBuf>),
    /// One raw file; the index of each frame in it.
    Raw { path: PathBuf, indices: Vec<u64> },
}

/// A drive that was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    name: String,
    format: &'static str,
    camera: RecordedCamera,
    mount: CameraMount,
    frames: Vec<i64>,
    store: Store,
    poses: PoseTrack,
    ego: Vec<(i64, EgoState)>,
    commands: Vec<(i64, Command)>,
    max_image_pixels: u64,
}

impl Recording {
    /// Reads and checks the folder `dir`, whichever of the two formats it has.
    ///
    /// # Errors
    /// `Input`, naming file and line: a folder of neither format, a missing file or column, a stamp that does not rise, a number that is none,
    /// an unknown command, a hole in the poses, a picture that is not there or a camera above the limit of pixels.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self> {
        let recording = if dir.join(folder::HEADER).is_file() {
            folder::open(dir, limits)?
        } else if dir.join(pandaset::CAMERA).is_dir() {
            pandaset::open(dir, limits)?
        } else {
            return Err(Error::new(ErrorKind::Input, "not an input folder").at(format!("{dir:?}")).wanted(format!(
                "a folder with {:?}, or PandaSet's with {:?}",
                folder::HEADER,
                pandaset::CAMERA
            )));
        };
        recording.poses.check_holes(limits.pose_hole_ns).map_err(|e| e.at(format!("{dir:?}")))?;
        recording.first_frame()?;
        Ok(recording)
    }

    /// The folder's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `folder` or `pandaset`.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// Size and intrinsics of the pictures.
    pub fn camera(&self) -> RecordedCamera {
        self.camera
    }

    /// Where the camera sits on the car.
    pub fn mount(&self) -> &CameraMount {
        &self.mount
    }

    /// Capture stamps of the pictures.
    pub fn frames(&self) -> &[i64] {
        &self.frames
    }

    /// All poses.
    pub fn poses(&self) -> &PoseTrack {
        &self.poses
    }

    /// All ego states.
    pub fn ego(&self) -> &[(i64, EgoState)] {
        &self.ego
    }

    /// The first frame at whose stamp a pose and an ego state are known: where a ride can start.
    ///
    /// # Errors
    /// `Input` when there is none.
    pub fn first_frame(&self) -> Result<usize> {
        let known = self.poses.first_ns().zip(self.ego.first().map(|e| e.0)).map(|(pose, ego)| pose.max(ego));
        let last = self.poses.last_ns();
        known.and_then(|from| self.frames.iter().position(|&stamp| stamp >= from && last.is_some_and(|last| stamp <= last))).ok_or_else(
            || {
                Error::new(ErrorKind::Input, "no frame at whose stamp a pose and an ego state are known")
                    .at(format!("{:?}", self.name))
                    .got(format!("{} frames, {} poses, {} ego states", self.frames.len(), self.poses.len(), self.ego.len()))
            },
        )
    }

    /// What came in, in order of stamp, for a ride whose first picture is `first_frame`: the command in force there, poses and ego states
    /// from a second before, and everything after. At equal stamps: command, ego, pose, frame.
    pub fn events(&self, first_frame: usize) -> Events<'_> {
        let start_ns = self.frames.get(first_frame).copied().unwrap_or(i64::MAX);
        let lead_ns = start_ns.saturating_sub(LEAD_IN_NS);
        let command = self.commands.partition_point(|c| c.0 <= start_ns).saturating_sub(1);
        let ego = self.ego.partition_point(|e| e.0 < lead_ns).saturating_sub(1);
        let pose = self.poses.as_slice().partition_point(|p| p.0 < lead_ns).saturating_sub(1);
        Events { recording: self, next: [command, ego, pose, first_frame] }
    }

    /// Decodes picture `index` into `rgb`: packed rows, `width * height * 3` bytes.
    ///
    /// # Errors
    /// `Input`, naming the file: missing, larger than it may be, of another size than the camera's, corrupt or cut short; no such index.
    pub fn decode(&self, index: usize, rgb: &mut Vec<u8>) -> Result<()> {
        let missing = || Error::new(ErrorKind::Input, "no such frame").got(index).wanted(format!("below {}", self.frames.len()));
        match &self.store {
            Store::Files(paths) => picture::decode(paths.get(index).ok_or_else(missing)?, self.camera, self.max_image_pixels, rgb),
            Store::Raw { path, indices } => picture::read_raw(path, *indices.get(index).ok_or_else(missing)?, self.camera, rgb),
        }
    }
}

/// See [`Recording::events`].
#[derive(Debug, Clone)]
pub struct Events<'a> {
    recording: &'a Recording,
    next: [usize; 4],
}

impl Iterator for Events<'_> {
    type Item = (i64, Event);

    fn next(&mut self) -> Option<Self::Item> {
        let [command, ego, pose, frame] = self.next;
        let r = self.recording;
        let heads = [
            r.commands.get(command).map(|&(stamp, command)| (stamp, Event::Command(command))),
            r.ego.get(ego).map(|&(stamp, ego)| (stamp, Event::Ego(ego))),
            r.poses.as_slice().get(pose).map(|&(stamp, pose)| (stamp, Event::Pose(pose))),
            r.frames.get(frame).map(|&stamp| (stamp, Event::Frame(frame))),
        ];
        let mut earliest: Option<(usize, (i64, Event))> = None;
        for (kind, head) in heads.into_iter().enumerate() {
            if let Some(head) = head
                && earliest.is_none_or(|(_, (stamp, _))| head.0 < stamp)
            {
                earliest = Some((kind, head));
            }
        }
        let (kind, head) = earliest?;
        if let Some(next) = self.next.get_mut(kind) {
            *next += 1;
        }
        Some(head)
    }
}
