//! Warm: all memory of a ride, and a rehearsal of every graph and stage.

use super::Ride;
use crate::codec::{Decoder, Encoder};
use crate::context::Context;
use crate::guard::{Guard, Verdict};
use crate::guidance::{Guidance, MOST_TEXT};
use crate::ingest::{EgoState, Grid, Ingest};
use crate::memory::Memory;
use crate::plan::RideOptions;
use crate::sampler::Sampler;
use crate::telemetry::{Ages, Degraded, Outcome, StageTimes, Told, WARM, register_ranges};
use crate::transformer::Transformer;
use drivewam_core::Result;
use drivewam_core::action::{ActionRows, Increment};
use drivewam_core::config::Config;
use drivewam_core::dims::Command;
use drivewam_core::manifest::Manifest;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_device::profiler::ProfilerRange;
use drivewam_device::{Device, KvCounts, SourceCamera};

/// What a ride is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) options: RideOptions,
    pub(crate) camera: SourceCamera,
    pub(crate) fitted: Degraded,
    pub(crate) device: Box<dyn Device>,
    pub(crate) encoder: Encoder,
    pub(crate) context: Context,
    pub(crate) guidance: Guidance,
    pub(crate) transformer: Transformer,
    pub(crate) memory: Memory,
    pub(crate) sampler: Sampler,
    pub(crate) decoder: Option<Decoder>,
}

impl Ride {
    /// Makes all memory and runs two chunks of a grey picture through every graph and stage, so that the first real chunk meets no first time.
    pub(crate) fn warm(parts: Parts, manifest: &Manifest) -> Result<Self> {
        let Parts { config, options, camera, fitted, device, encoder, context, guidance, transformer, memory, sampler, decoder } = parts;
        let model = &config.model;
        let rows = ActionRows::new(model, manifest.normalisation.action);
        let trajectory = Trajectory::new(model.poses(), model.pose_period_ns())?;
        let outcome = Outcome {
            chunk: 0,
            rollout: 0,
            t0_ns: 0,
            published_ns: 0,
            valid_until_ns: 0,
            uncovered_ms: 0.0,
            pose: None,
            trajectory: trajectory.clone(),
            published: trajectory,
            verdict: Verdict::MinimalRisk,
            reason: None,
            continuity_m: None,
            command: Command::Unknown,
            guidance: Told { text: String::with_capacity(MOST_TEXT), ..Told::default() },
            ages: Ages::default(),
            degraded: Degraded::default(),
            restarted: None,
            memory: KvCounts::default(),
            stages: StageTimes::default(),
        };
        let mut ride = Self {
            ingest: Ingest::new(config.ingest.clone(), model),
            grid: Grid::new(model, config.ingest.frame_tolerance_ms),
            guard: Guard::new(config.guard.clone(), config.vehicle.clone(), model.pose_period_ns() as f64 * 1e-9),
            poses: vec![Pose2::default(); model.poses() + 1],
            increments: vec![Increment::default(); model.poses()],
            video: vec![0.0; model.video_tokens() * model.token_width()],
            action: vec![0.0; rows.rows_len()],
            latent: vec![0.0; model.latent_len()],
            config,
            options,
            camera,
            fitted,
            device,
            encoder,
            context,
            guidance,
            transformer,
            memory,
            sampler,
            decoder,
            probe: None,
            rows,
            outcome,
            has_outcome: false,
            restarted: None,
            spoilt: None,
            stages: StageTimes::default(),
            refused: 0,
            plan_end: None,
            plan_end_ns: None,
        };
        register_ranges();
        ride.rehearse()?;
        Ok(ride)
    }

    /// Two chunks of a grey picture and a standing car, then as if nothing had been.
    fn rehearse(&mut self) -> Result<()> {
        let _shown = ProfilerRange::open(WARM);
        let model = &self.config.model;
        let (period, frames, pose_ns) = (model.frame_period_ns(), model.image.frames_per_latent as i64, model.pose_period_ns());
        let grey = vec![128u8; self.camera.width * self.camera.height * 3];
        let command = model.text.commands.first().copied().unwrap_or(Command::Unknown);
        for i in 0..=frames * period / pose_ns {
            self.push_pose(i * pose_ns, Pose2::default())?;
            self.push_ego(i * pose_ns, EgoState::default())?;
        }
        self.push_command(0, command)?;
        for i in 0..=frames {
            self.push_frame(i * period, &grey)?;
            self.step(i * period).map_err(|e| e.at("warm"))?;
        }
        if self.decoder.is_some() {
            self.future()?;
        }
        self.restart();
        (self.restarted, self.has_outcome, self.outcome.rollout) = (None, false, 0);
        self.stages = StageTimes::default();
        Ok(())
    }
}
