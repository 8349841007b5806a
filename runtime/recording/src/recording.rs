//! A recorded drive, and its events in order of stamp.

use crate::camera::{CameraMount, RecordedCamera};
use crate::frames::FrameStore;
use crate::track::PoseTrack;
use drivewam_core::config::Config;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_core::{Error, ErrorKind, Result};

/// The events of a ride include poses and ego states from this long before its first frame.
const LEAD_IN_NS: i64 = 1_000_000_000;

/// Limits that a recording must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of an image. A larger image is refused before it is decoded.
    pub max_image_pixels: u64,
    /// Longest time between two poses, and between two ego states, milliseconds.
    pub max_pose_gap_ms: u32,
    /// Shortest drive, nanoseconds: a chunk.
    pub min_drive_ns: i64,
}

impl Limits {
    /// The limits of the configuration's section `ingest`, and the length of the model's chunk.
    pub fn of(config: &Config) -> Self {
        let ingest = &config.ingest;
        Self { max_image_pixels: ingest.max_image_pixels, max_pose_gap_ms: ingest.max_pose_gap_ms, min_drive_ns: config.model.chunk_ns() }
    }
}

/// One input of a ride.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// The route command from this stamp on.
    Command(Command),
    /// The ego state.
    Ego(EgoState),
    /// The pose in one continuous frame of reference.
    Pose(Pose2),
    /// The index of a frame for [`Recording::decode`].
    Frame(usize),
}

/// A recorded drive. All of it is read and checked except the images.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    pub(crate) name: String,
    pub(crate) format: &'static str,
    pub(crate) camera: RecordedCamera,
    pub(crate) mount: CameraMount,
    pub(crate) frames: Vec<i64>,
    pub(crate) store: FrameStore,
    pub(crate) poses: PoseTrack,
    pub(crate) ego: Vec<(i64, EgoState)>,
    pub(crate) commands: Vec<(i64, Command)>,
    pub(crate) max_image_pixels: u64,
}

impl Recording {
    /// The folder's name, after the kind of source where the header names one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `folder` or `pandaset`.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// Size and intrinsics of the images.
    pub fn camera(&self) -> RecordedCamera {
        self.camera
    }

    /// Where the camera is mounted on the car.
    pub fn mount(&self) -> &CameraMount {
        &self.mount
    }

    /// Capture stamps of the frames.
    pub fn frames(&self) -> &[i64] {
        &self.frames
    }

    /// All poses.
    pub fn poses(&self) -> &PoseTrack {
        &self.poses
    }

    /// All ego states with their stamps.
    pub fn ego(&self) -> &[(i64, EgoState)] {
        &self.ego
    }

    /// The first frame at whose stamp a pose and an ego state are known. A ride can start there.
    ///
    /// # Errors
    /// `Input` when there is none.
    pub fn first_frame(&self) -> Result<usize> {
        let known = self.poses.first_ns().zip(self.ego.first().map(|e| e.0)).map(|(pose, ego)| pose.max(ego));
        let last = self.poses.last_ns();
        known.and_then(|from| self.frames.iter().position(|&stamp| stamp >= from && last.is_some_and(|last| stamp <= last))).ok_or_else(
            || {
                let span = |what: &str, count: usize, span: Option<(i64, i64)>| match span {
                    Some((from, to)) => format!("{count} {what} from {from} to {to} ns"),
                    None => format!("no {what}"),
                };
                let ego = self.ego.first().zip(self.ego.last()).map(|(a, b)| (a.0, b.0));
                Error::new(ErrorKind::Input, "no frame has a pose and an ego state at its stamp")
                    .at(format!("{:?}", self.name))
                    .got(
                        [
                            span("frames", self.frames.len(), self.frames.first().copied().zip(self.frames.last().copied())),
                            span("poses", self.poses.len(), self.poses.first_ns().zip(self.poses.last_ns())),
                            span("ego states", self.ego.len(), ego),
                        ]
                        .join(", "),
                    )
                    .wanted("one clock")
            },
        )
    }

    /// The events of a ride that starts at `first_frame`, in order of stamp: the command in force
    /// there, poses and ego states from one second before, and everything after. At equal stamps:
    /// command, ego state, pose, frame.
    pub fn events(&self, first_frame: usize) -> Events<'_> {
        let start_ns = self.frames.get(first_frame).copied().unwrap_or(i64::MAX);
        let lead_ns = start_ns.saturating_sub(LEAD_IN_NS);
        let command = self.commands.partition_point(|c| c.0 <= start_ns).saturating_sub(1);
        let ego = self.ego.partition_point(|e| e.0 < lead_ns).saturating_sub(1);
        let pose = self.poses.as_slice().partition_point(|p| p.0 < lead_ns).saturating_sub(1);
        Events { recording: self, next: [command, ego, pose, first_frame] }
    }

    /// Decodes frame `index` into `rgb`: packed rows, `width * height * 3` bytes.
    ///
    /// # Errors
    /// `Input`, naming the file: it is missing, too large, of another size than the camera's
    /// images, corrupt or cut short. Also if there is no such frame.
    pub fn decode(&self, index: usize, rgb: &mut Vec<u8>) -> Result<()> {
        self.store.decode(index, &self.camera, self.max_image_pixels, rgb)
    }
}

/// Iterator of [`Recording::events`].
#[derive(Debug, Clone)]
pub struct Events<'a> {
    recording: &'a Recording,
    /// Indices of the next command, ego state, pose and frame.
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
