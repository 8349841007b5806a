//! Inputs of a drive in order of stamp, from a recording or a simulated world.

use super::pictures::Pictures;
use super::route_trace::RouteTrace;
use anyhow::Result;
use drivewam::outcome::Outcome;
use drivewam::{SourceCamera, SourceMount};
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_recording::{CameraMount, Distortion, Event, Events, RecordedCamera, Recording};
use drivewam_world::Violations;

/// One input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Input {
    Command(Command),
    Ego(EgoState),
    Pose(Pose2),
    /// Its pixels are [`Source::frame`], after [`Source::load`].
    Frame,
}

/// An image to draw a trajectory on, and the camera that took it.
#[derive(Debug, Clone)]
pub(super) struct CameraImage {
    pub(super) rgb: Vec<u8>,
    pub(super) camera: SourceCamera,
    /// What the lens does beside the pinhole.
    pub(super) distortion: Option<Distortion>,
}

/// Who moves the car.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    /// The world's expert. The policy is asked, and its plans move nothing.
    Expert,
    /// The policy: the published trajectory.
    Policy,
    /// Whoever drove when the recording was made.
    Recorded,
}

impl Driver {
    /// The name in `summary.json`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Expert => "expert",
            Self::Policy => "policy",
            Self::Recorded => "recorded",
        }
    }

    /// Who drives, and what the policy's plans do.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Expert => "the world's expert; the policy is only asked, and its plans move nothing",
            Self::Policy => "the policy: its published plans move the car",
            Self::Recorded => "whoever drove the recording; the policy is only asked, and its plans move nothing",
        }
    }
}

/// A source of inputs.
pub(super) trait Source {
    /// The name of the drive in reports.
    fn name(&self) -> String;
    /// The pose of the camera on the car.
    fn mount(&self) -> CameraMount;
    /// Stamps of the first and the last frame.
    fn span_ns(&self) -> (i64, i64);
    /// The stamp of the next input, and the input; `None` at the end.
    fn next(&mut self) -> Result<Option<(i64, Input)>>;
    /// Decodes or renders the newest frame.
    fn load(&mut self) -> Result<()>;
    /// The frame loaded last, packed RGB.
    fn frame(&self) -> &[u8];
    /// The width of a frame, pixels.
    fn width(&self) -> usize;
    /// The newest frame, large enough for a human reader.
    fn large_image(&mut self) -> CameraImage;
    /// Whether the driven path is independent of the plans, so that their errors can be measured.
    fn is_truth(&self) -> bool;
    /// Receives the outcome of the newest frame. Only a closed loop uses it.
    fn steer(&mut self, outcome: &Outcome);
    /// The car's distance from its lane, metres, once the drive is lost; `None` before, and where
    /// the plans do not move the car.
    fn lost_m(&self) -> Option<f64>;
    /// Violations so far; `None` where the source does not count them.
    fn violations(&self) -> Option<Violations>;
    /// What the drive passed so far; `None` where the source does not know the road.
    fn trace(&self) -> Option<RouteTrace>;
}

/// A recording's camera as the ride takes it.
pub(super) fn source_camera(camera: RecordedCamera, mount: &CameraMount) -> SourceCamera {
    let pinhole = SourceCamera::rgb8(camera.width, camera.height, camera.intrinsics);
    SourceCamera { mount: source_mount(mount), distortion_share: camera.distortion_share(), ..pinhole }
}

/// A mount as the ride takes it; `None` where it is a guess.
pub(super) fn source_mount(mount: &CameraMount) -> Option<SourceMount> {
    let [yaw_rad, pitch_rad, roll_rad] = mount.angles_rad();
    mount.is_measured.then_some(SourceMount { yaw_rad, pitch_rad, roll_rad, height_m: mount.position_m[2] })
}

/// A recording, from one frame on.
pub(super) struct Recorded<'a> {
    recording: &'a Recording,
    pictures: Pictures,
    events: Events<'a>,
    first_frame: usize,
    newest: usize,
    rgb: Vec<u8>,
}

impl<'a> Recorded<'a> {
    /// The recording from `first_frame` on, with `pictures` in place of its own.
    pub(super) fn new(recording: &'a Recording, first_frame: usize, pictures: Pictures) -> Self {
        Self { recording, pictures, events: recording.events(first_frame), first_frame, newest: first_frame, rgb: Vec::new() }
    }
}

impl Source for Recorded<'_> {
    fn name(&self) -> String {
        self.recording.name().to_owned()
    }

    fn mount(&self) -> CameraMount {
        *self.recording.mount()
    }

    fn span_ns(&self) -> (i64, i64) {
        let stamps = self.recording.frames();
        let first = stamps.get(self.first_frame).copied().unwrap_or(0);
        (first, stamps.last().copied().unwrap_or(first))
    }

    fn next(&mut self) -> Result<Option<(i64, Input)>> {
        let Some((stamp_ns, event)) = self.events.next() else { return Ok(None) };
        let input = match event {
            Event::Command(command) => Input::Command(command),
            Event::Ego(ego) => Input::Ego(ego),
            Event::Pose(pose) => Input::Pose(pose),
            Event::Frame(index) => {
                self.newest = index;
                Input::Frame
            }
        };
        Ok(Some((stamp_ns, input)))
    }

    fn load(&mut self) -> Result<()> {
        self.recording.decode(self.newest, &mut self.rgb)?;
        self.pictures.alter(&mut self.rgb, self.recording.camera().width);
        Ok(())
    }

    fn frame(&self) -> &[u8] {
        &self.rgb
    }

    fn width(&self) -> usize {
        self.recording.camera().width
    }

    fn large_image(&mut self) -> CameraImage {
        let camera = self.recording.camera();
        CameraImage { rgb: self.rgb.clone(), camera: source_camera(camera, self.recording.mount()), distortion: camera.distortion }
    }

    fn is_truth(&self) -> bool {
        true
    }

    fn steer(&mut self, _outcome: &Outcome) {}

    fn lost_m(&self) -> Option<f64> {
        None
    }

    fn violations(&self) -> Option<Violations> {
        None
    }

    fn trace(&self) -> Option<RouteTrace> {
        None
    }
}
