//! Warm: allocates all memory of a ride, and rehearses every graph and stage.

use super::Ride;
use super::options::RideOptions;
use super::state::{Buffers, Inputs, Lane, Models};
use crate::guard::{Causes, Guard, Verdict};
use crate::monitors::MonitorReadings;
use crate::outcome::{Ages, Outcome};
use crate::stages::{StageTimes, WARM, register_ranges};
use drivewam_core::Result;
use drivewam_core::action::ActionRows;
use drivewam_core::config::Config;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::manifest::Manifest;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_device::profiler::ProfilerRange;
use drivewam_device::{Device, KvCounts, SourceCamera};
use drivewam_engine::time_limit;
use drivewam_guidance::model::MAX_TEXT_BYTES;
use drivewam_guidance::status::GuidanceStatus;

impl Ride {
    /// Allocates everything else, and runs two chunks of a grey image through every graph and
    /// stage, so that the first real chunk runs nothing for the first time.
    pub(crate) fn warm(
        config: Config,
        options: RideOptions,
        (camera, camera_fit): (SourceCamera, Causes),
        device: Box<dyn Device>,
        models: Models,
        manifest: &Manifest,
    ) -> Result<Self> {
        let model = &config.model;
        let trajectory = Trajectory::new(model.poses(), model.pose_period_ns())?;
        let outcome = Outcome {
            lane: 0,
            chunk: 0,
            rollout: 0,
            t0_ns: None,
            anchor_ns: 0,
            published_ns: 0,
            valid_until_ns: 0,
            uncovered_ms: 0.0,
            pose: None,
            policy_t0_ns: None,
            trajectory: trajectory.clone(),
            published: trajectory.clone(),
            verdict: Verdict::MinimalRisk,
            cause: None,
            continuity_error_m: None,
            command: Command::Unknown,
            guidance: GuidanceStatus { text: String::with_capacity(MAX_TEXT_BYTES), ..GuidanceStatus::default() },
            ages: Ages::default(),
            monitors: MonitorReadings::default(),
            degraded: Causes::NONE,
            restarted: None,
            memory: KvCounts::default(),
            stages: StageTimes::default(),
        };
        let plan = Guard::new(config.guard.clone(), config.vehicle.clone(), &trajectory, model.chunk_ns(), options.closed_loop);
        let lanes = vec![Lane::default(); config.lanes.count];
        let mut ride = Self {
            inputs: Inputs::new(&config, camera, manifest.trained_ranges.map(|ranges| ranges.picture)),
            plan,
            buffers: Buffers::new(&config, ActionRows::new(model, manifest.normalisation.action)),
            config,
            options,
            camera,
            camera_fit,
            trained: manifest.trained_ranges,
            models,
            device,
            probe: None,
            outcome,
            has_outcome: false,
            was_refused: false,
            answered_ns: None,
            lanes,
            accepted_lane: None,
            stages: StageTimes::default(),
            lost: None,
        };
        register_ranges();
        let limit = ride.config.engine.warm_time_limit();
        time_limit::within("warm", "the rehearsal", limit, || ride.rehearse()).flatten()?;
        Ok(ride)
    }

    /// Computes two chunks of a grey image and a standing ego in every lane, then resets the ride.
    fn rehearse(&mut self) -> Result<()> {
        let _range = ProfilerRange::open(WARM);
        let model = &self.config.model;
        let (frame_ns, stagger_ns, pose_ns) = (model.frame_period_ns(), self.config.stagger_ns(), model.pose_period_ns());
        let last_ns = model.chunk_ns() + (self.lanes.len() as i64 - 1) * stagger_ns;
        let grey = vec![128u8; self.camera.width * self.camera.height * 3];
        let command = model.text.commands.first().copied().unwrap_or(Command::Unknown);
        self.push_command(0, command)?;
        let mut posed_ns = 0;
        // Every time at which a lane expects a frame.
        let is_frame = |ns: &i64| (0..self.lanes.len() as i64).any(|lane| (ns - lane * stagger_ns) % frame_ns == 0);
        let frames: Vec<i64> = (0..=last_ns / 1_000_000).map(|ms| ms * 1_000_000).filter(is_frame).collect();
        for frame_ns in frames {
            while posed_ns < frame_ns + pose_ns {
                self.push_pose(posed_ns, Pose2::default())?;
                self.push_ego(posed_ns, EgoState::default())?;
                posed_ns += pose_ns;
            }
            self.push_frame(frame_ns, &grey)?;
            self.step(frame_ns.max(posed_ns - pose_ns)).map_err(|e| e.at("warm"))?;
        }
        if self.models.decoder.is_some() {
            self.future()?;
        }
        self.restart();
        self.release();
        self.inputs.refused = 0;
        self.lanes.fill(Lane::default());
        self.has_outcome = false;
        self.stages = StageTimes::default();
        Ok(())
    }
}
