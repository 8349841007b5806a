//! The self-test up to metres: a short rollout through all engines, the memory, the sampler and the
//! normalisation, whose trajectory must be the reference's.
//!
//! `export/drivewam_export/onnx_graphs/trajectory.py` does the same in PyTorch. Number and shift of
//! the steps are those of the self-test and of the manifest, not the configuration's.

use crate::codec::patchify;
use crate::regions::Regions;
use crate::ride::state::Models;
use crate::sampler::{Sampler, Work};
use crate::stages::StageTimes;
use drivewam_core::action::{ActionRows, Increment};
use drivewam_core::config::{ActionFlow, ActionStart, Config, FlowConfig, PassPacking, SolverKind, VideoCommit, VideoFlow};
use drivewam_core::dims::{Command, Model};
use drivewam_core::ego::EgoState;
use drivewam_core::flow::schedule::VideoEnd;
use drivewam_core::manifest::Manifest;
use drivewam_core::trajectory::Trajectory;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_engine::TrajectoryTest;
use ndarray::ArrayView2;

/// Steps of the video and of the actions.
const STEPS: usize = 2;
/// Where the denoising of the video ends.
const VIDEO_END: VideoEnd = VideoEnd::Tau(0.6);
/// The ego state of the rollout.
const EGO: EgoState = EgoState { speed_mps: 5.0, acceleration_mps2: 0.5, curvature_1pm: 0.01 };

/// The lane that the rollout uses.
const LANE: usize = 0;

/// Predicts the trajectory of `test`, and compares it. Empties the lane's memory. Called in Warm.
///
/// # Errors
/// `Manifest` for another trajectory than the reference's; errors of the engines and the device.
pub(crate) fn check(
    test: &TrajectoryTest,
    config: &Config,
    manifest: &Manifest,
    regions: &Regions,
    models: &mut Models,
    device: &mut dyn Device,
) -> Result<()> {
    let mut config = config.clone();
    let (video_shift, action_shift) = (manifest.schedule.video.shift, manifest.schedule.action.shift);
    config.flow = FlowConfig {
        seed: 0,
        solver: SolverKind::Euler,
        video: VideoFlow { steps: STEPS, shift: video_shift, end: VIDEO_END },
        action: ActionFlow { steps: STEPS, shift: action_shift, start: ActionStart::Zero },
        video_commit: VideoCommit::EndTime,
        passes: PassPacking::Packed,
    };
    let mut sampler = Sampler::new(&config, regions, false)?;
    let model = &config.model;
    let rows = ActionRows::new(model, manifest.normalisation.action);
    let mut video = vec![0.0; model.video_tokens() * model.token_width()];
    let mut action = vec![0.0; rows.rows_len()];
    patchify(model, &test.latent, &mut video);
    rows.physical_zero(&mut action)?;
    let command = model.text.commands.first().copied().unwrap_or(Command::Unknown);
    device.kv_use_lane(LANE)?;
    device.kv_clear()?;
    models.context.set(device, LANE, command, None, EGO)?;
    let (times, probe) = (&mut StageTimes::default(), &mut None);
    let work = &mut Work { lane: LANE, device, transformer: &mut models.transformer, memory: &mut models.memory, times, probe };
    sampler.observe(work, 0, &video, &action)?;
    // Actions start from zero, so their noise is not read.
    sampler.set_noise(token_rows(&test.noise, model)?, token_rows(&action, model)?)?;
    let mut increments = vec![Increment::default(); rows.increments_len()];
    rows.decode(sampler.predict(work, 1)?, &mut increments)?;
    work.device.kv_clear()?;
    let mut trajectory = Trajectory::new(model.poses(), model.pose_period_ns())?;
    trajectory.set_increments(&increments)?;
    test.check(trajectory.points())
}

/// Numbers as token rows.
fn token_rows<'a>(numbers: &'a [f32], model: &Model) -> Result<ArrayView2<'a, f32>> {
    let width = model.token_width();
    ArrayView2::from_shape((numbers.len() / width, width), numbers)
        .map_err(|e| Error::new(ErrorKind::Usage, "not whole token rows").at("self-test").caused_by(e))
}
