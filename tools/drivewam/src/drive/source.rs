//! What a drive is fed with: events in order of stamp, from a recording or from a world that is drawn as the drive goes.

use anyhow::Result;
use drivewam::outcome::Outcome;
use drivewam::{PixelFormat, SourceCamera};
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_recording::{CameraMount, Event, Events, RecordedCamera, Recording};
use drivewam_world::Violations;

/// Something that came in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Input {
    Command(Command),
    Ego(EgoState),
    Pose(Pose2),
    /// Its pixels are [`Source::picture`] after [`Source::load`].
    Frame,
}

/// A picture to draw a trajectory on, and the camera that sees it.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) rgb: Vec<u8>,
    pub(super) camera: SourceCamera,
}

/// See the module's doc.
pub(super) trait Source {
    /// What the drive is called in reports.
    fn name(&self) -> String;
    /// Where the camera sits.
    fn mount(&self) -> CameraMount;
    /// Stamps of the first and the last frame.
    fn span_ns(&self) -> (i64, i64);
    /// The next event.
    fn next(&mut self) -> Result<Option<(i64, Input)>>;
    /// Makes the pixels of the newest frame.
    fn load(&mut self) -> Result<()>;
    /// The newest frame that was loaded, packed RGB.
    fn picture(&self) -> &[u8];
    /// The newest frame at a size that a person can look at.
    fn large_picture(&mut self) -> Picture;
    /// Whether what is driven is the truth that a plan is measured against.
    fn is_truth(&self) -> bool;
    /// What was published for the newest frame.
    fn steer(&mut self, outcome: &Outcome);
    /// What went wrong, where the source can tell.
    fn violations(&self) -> Option<Violations>;
}

/// A recording's camera as the ride takes it.
pub(super) fn source_camera(camera: RecordedCamera) -> SourceCamera {
    let RecordedCamera { width, height, intrinsics } = camera;
    SourceCamera { width, height, intrinsics, format: PixelFormat::Rgb8 }
}

/// A recording from one frame on.
pub(super) struct Recorded<'a> {
    recording: &'a Recording,
    events: Events<'a>,
    first_frame: usize,
    newest: usize,
    rgb: Vec<u8>,
}

impl<'a> Recorded<'a> {
    /// A rollout that begins at `first_frame`.
    pub(super) fn new(recording: &'a Recording, first_frame: usize) -> Self {
        Self { recording, events: recording.events(first_frame), first_frame, newest: first_frame, rgb: Vec::new() }
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
        Ok(self.recording.decode(self.newest, &mut self.rgb)?)
    }

    fn picture(&self) -> &[u8] {
        &self.rgb
    }

    fn large_picture(&mut self) -> Picture {
        Picture { rgb: self.rgb.clone(), camera: source_camera(self.recording.camera()) }
    }

    fn is_truth(&self) -> bool {
        true
    }

    fn steer(&mut self, _outcome: &Outcome) {}

    fn violations(&self) -> Option<Violations> {
        None
    }
}
