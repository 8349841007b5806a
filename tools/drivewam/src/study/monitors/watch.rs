//! What the ride says of each chunk while the expert drives, or of a route that the policy drives.

use super::super::judgement::Judgement;
use super::super::parallel::Parallel;
use super::cameras::Case;
use anyhow::Result;
use drivewam::Ride;
use drivewam_simulation::{CameraFault, FaultKind, SimulationDriver};
use drivewam_world::{Options, TICK_S};
use std::sync::atomic::Ordering;

/// Length of an expert's drive, seconds.
pub(super) const SECONDS: u64 = 60;
/// A drive has turned when its heading differs this much from that at its start, radians.
const TURNED_RAD: f64 = 0.35;

/// A chunk of an expert's drive.
pub(super) struct Chunk {
    /// Distance that the car moved during it, metres, and whether it had turned before its end.
    pub(super) moved_m: f64,
    pub(super) turned: bool,
    pub(super) judgement: Judgement,
}

/// Drives the world of `seed` by its expert, and notes what the ride says of each chunk.
pub(super) fn watch(ride: &mut Ride, case: &Case, seed: u64, parallel: &Parallel<'_>) -> Result<Option<Vec<Chunk>>> {
    let mut simulation = SimulationDriver::new(ride.config(), seed, Options::default())?;
    let pictures = match case.kind {
        Some(FaultKind::Shuffled) => CameraFault::pictures_of(ride.config(), &simulation.world, SECONDS),
        _ => case.pictures.clone(),
    };
    simulation.fault = case.kind.map(|kind| CameraFault::new(kind, 0, pictures));
    simulation.begin(ride);
    ride.release();
    let (span, start) = (ride.config().model.poses(), simulation.world.ego().pose);
    let (mut path, mut turned, mut chunks) = (vec![0.0; span], false, Vec::new());
    while simulation.tick() <= SECONDS * 10 {
        if parallel.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let ego = simulation.world.ego();
        turned |= ego.pose.relative_to(&start).yaw_rad.abs() > TURNED_RAD;
        if simulation.is_frame() {
            simulation.draw();
        }
        if let Some(judgement) = simulation.push(ride)?.and_then(Judgement::of) {
            chunks.push(Chunk { moved_m: path.iter().rev().take(span).sum(), turned, judgement });
        }
        path.push(ego.speed_mps * TICK_S);
        simulation.step(simulation.world.expert());
    }
    Ok(Some(chunks))
}
