//! What the ride said of a chunk's pictures.

use drivewam::guard::{Cause, CauseKind, Verdict};
use drivewam::outcome::Outcome;
use drivewam_core::manifest::Monitor;

/// What the ride said of one chunk.
#[derive(Debug, Clone)]
pub(super) struct Judgement {
    /// The monitors' numbers.
    pub(super) readings: [Option<f64>; Monitor::ALL.len()],
    /// Whether each monitor is raised, and then whether a check of the inputs named a cause.
    pub(super) raised: [bool; Monitor::ALL.len() + 1],
    /// Whether a monitor is the reason why the car is stopped.
    pub(super) stops: bool,
}

impl Judgement {
    /// `None` of the first chunk of a rollout, which shows one frame and no motion.
    pub(super) fn of(outcome: &Outcome) -> Option<Self> {
        let readings = Monitor::ALL.map(|monitor| outcome.monitors.get(monitor));
        let mut raised = [false; Monitor::ALL.len() + 1];
        for (raised, reading) in raised.iter_mut().zip(readings) {
            *raised = reading.is_some_and(|reading| reading.is_raised());
        }
        raised[Monitor::ALL.len()] = outcome.cause.iter().copied().chain(outcome.degraded.iter()).any(|cause| is_of_inputs(&cause));
        let readings = readings.map(|reading| Some(reading?.value));
        let is_monitor = outcome.cause.is_some_and(|cause| matches!(cause.kind, CauseKind::Monitor(_)));
        let stops = is_monitor && outcome.verdict == Verdict::MinimalRisk;
        (outcome.chunk > 1).then_some(Self { readings, raised, stops })
    }

    pub(super) fn is_noticed(&self) -> bool {
        self.raised.contains(&true)
    }
}

/// Whether a check of the inputs says: not as in training.
fn is_of_inputs(cause: &Cause) -> bool {
    matches!(
        cause.kind,
        CauseKind::CameraFrozen
            | CauseKind::CameraBlank
            | CauseKind::CameraNoise
            | CauseKind::CameraReversed
            | CauseKind::CameraJump
            | CauseKind::CameraMirrored
            | CauseKind::FieldOfView
            | CauseKind::Untrained(_)
    )
}
