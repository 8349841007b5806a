//! What the ride says of each chunk while the expert drives, or of a route that the policy drives.

use super::super::parallel::Parallel;
use super::cameras::Case;
use anyhow::Result;
use drivewam::Ride;
use drivewam::guard::{Cause, CauseKind, Verdict};
use drivewam::outcome::Outcome;
use drivewam_core::manifest::Monitor;
use drivewam_simulation::{CameraFault, CameraSource, FaultKind, SimulationDriver};
use drivewam_world::{Options, TICK_S};
use std::sync::atomic::Ordering;

/// Length of an expert's drive, seconds.
pub(super) const SECONDS: u64 = 60;
/// A drive has turned when its heading differs this much from that at its start, radians.
const TURNED_RAD: f64 = 0.35;

/// What the ride said of one chunk.
#[derive(Debug, Clone)]
pub(in crate::study) struct Judgement {
    /// The monitors' numbers.
    pub(super) readings: [Option<f64>; Monitor::ALL.len()],
    /// Whether each monitor is raised, and then whether a check of the inputs named a cause.
    pub(super) raised: [bool; Monitor::ALL.len() + 1],
    /// Whether a monitor is the reason why the car is stopped.
    pub(super) stops: bool,
}

impl Judgement {
    /// `None` of the first chunk of a rollout, which shows one frame and no motion.
    pub(in crate::study) fn of(outcome: &Outcome) -> Option<Self> {
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
            | CauseKind::FieldOfView
            | CauseKind::Untrained(_)
    )
}

/// A chunk of an expert's drive.
pub(super) struct Chunk {
    /// Distance that the car moved during it, metres, and whether it had turned before its end.
    pub(super) moved_m: f64,
    pub(super) turned: bool,
    pub(super) judgement: Judgement,
}

/// Drives the world of `seed` by its expert, and notes what the ride says of each chunk.
pub(super) fn watch(ride: &mut Ride, case: &Case, seed: u64, parallel: &Parallel<'_>) -> Result<Option<Vec<Chunk>>> {
    let mut feed = SimulationDriver::new(ride.config(), seed, Options::default(), CameraSource::Own)?;
    let pictures = match case.kind {
        Some(FaultKind::Shuffled) => CameraFault::pictures_of(ride.config(), &feed.world, SECONDS),
        _ => case.pictures.clone(),
    };
    feed.fault = case.kind.map(|kind| CameraFault::new(kind, 0, pictures));
    feed.begin(ride);
    ride.release();
    let (span, start) = (ride.config().model.poses(), feed.world.ego().pose);
    let (mut path, mut turned, mut chunks) = (vec![0.0; span], false, Vec::new());
    while feed.tick() <= SECONDS * 10 {
        if parallel.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let ego = feed.world.ego();
        turned |= ego.pose.relative_to(&start).yaw_rad.abs() > TURNED_RAD;
        if feed.is_frame() {
            feed.draw();
        }
        if let Some(judgement) = feed.push(ride)?.and_then(Judgement::of) {
            chunks.push(Chunk { moved_m: path.iter().rev().take(span).sum(), turned, judgement });
        }
        path.push(ego.speed_mps * TICK_S);
        feed.step(feed.world.expert());
    }
    Ok(Some(chunks))
}
