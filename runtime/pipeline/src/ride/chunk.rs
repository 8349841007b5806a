//! The computation of a chunk: from its frames to a trajectory.

use super::Ride;
use crate::codec::patchify;
use crate::ingest::Ready;
use crate::monitors::MonitorReadings;
use crate::outcome::{Ages, ms};
use crate::sampler::Work;
use crate::stages::{Stage, StageRun};
use drivewam_core::action::increments;
use drivewam_core::ego::EgoState;
use drivewam_core::trajectory::Point;
use drivewam_core::{Error, Result};
use drivewam_device::KvCounts;
use drivewam_guidance::bev::PathSample;
use drivewam_guidance::model::{PATH_NS, PATH_STEP_NS};

/// A point of a trajectory that does not exist.
pub(super) const NO_POINT: Point = Point { x_m: f64::NAN, y_m: f64::NAN, yaw_rad: f64::NAN, v_mps: f64::NAN };

impl Ride {
    /// Writes into the outcome what is known of a chunk before its computation can fail.
    pub(super) fn begin_outcome(&mut self, ready: Ready) {
        let begins = ready.from_ns.is_none();
        let (outcome, lane) = (&mut self.outcome, &mut self.lanes[ready.lane]);
        lane.rollout += u64::from(begins && lane.has_begun);
        lane.chunk = if begins { 1 } else { lane.chunk + 1 };
        lane.has_begun = true;
        (outcome.lane, outcome.rollout, outcome.chunk) = (ready.lane, lane.rollout, lane.chunk);
        outcome.policy_t0_ns = Some(ready.t0_ns);
        outcome.degraded = self.camera_fit;
        outcome.ages = Ages::default();
        outcome.continuity_error_m = None;
        outcome.memory = KvCounts::default();
        outcome.monitors = MonitorReadings::default();
        outcome.restarted = lane.restarted.take();
        outcome.trajectory.points_mut().fill(NO_POINT);
    }

    /// Computes the trajectory of a chunk. Returns the ego state that conditioned it.
    pub(super) fn compute(&mut self, ready: Ready) -> Result<EgoState> {
        let Self { models, buffers, inputs, outcome, .. } = self;
        let (chunk, begins, device) = (outcome.chunk, ready.from_ns.is_none(), self.device.as_mut());
        let lane = ready.lane;
        if let Some(kind) = self.lanes[lane].frame_fault {
            return Err(Error::new(kind, "a frame of this chunk did not reach the device").at("frames"));
        }
        device.kv_use_lane(lane)?;
        if begins {
            device.kv_clear()?;
        }
        let ingest = &inputs.ingest;
        let (ego, ego_age_ns) = ingest.ego(ready.t0_ns)?;
        let (command, command_age_ns) = ingest.command(ready.t0_ns);
        outcome.command = command;
        ingest.pose(ready.t0_ns)?;
        let pose_age_ns = ingest.newest_pose(ready.t0_ns).map_or(0, |(_, age)| age);
        outcome.ages = Ages { ego_ms: ms(ego_age_ns), pose_ms: ms(pose_age_ns), command_ms: ms(command_age_ns) };

        // Times without a pose are left out of the path.
        let path = ingest.past(ready.t0_ns, PATH_NS, PATH_STEP_NS).map(|(pose, speed_mps)| PathSample { pose, speed_mps });
        if models.guidance.is_per_lane() || inputs.grid.first_lane() == Some(lane) {
            models.guidance.submit(lane, ready.t0_ns, command, path);
        }

        let run = StageRun::start(Stage::Encode);
        let latent = if begins { models.encoder.encode_first(device, lane)? } else { models.encoder.encode(device, lane)? };
        patchify(&self.config.model, latent, &mut buffers.video);
        self.stages.add(run);
        match ready.from_ns {
            None => buffers.rows.physical_zero(&mut buffers.action)?,
            Some(from_ns) => {
                ingest.poses(from_ns, &mut buffers.poses)?;
                if let Some((start, rest)) = buffers.poses.split_first() {
                    increments(start, rest, &mut buffers.increments)?;
                }
                buffers.rows.observe(&buffers.increments, &mut buffers.action)?;
            }
        }
        let run = StageRun::start(Stage::Monitor);
        let motion = (!begins).then_some(buffers.increments.as_slice());
        outcome.monitors = models.monitors.observe(device, lane, &buffers.video, motion)?;
        self.stages.add(run);
        if begins {
            // Nothing precedes chunk 0, so it is committed under the text that chunk 1 reads.
            let run = StageRun::start(Stage::Context);
            let text = models.guidance.poll(lane, ready.t0_ns, &mut outcome.guidance);
            models.context.set(device, lane, command, text, ego)?;
            self.stages.add(run);
        }
        let (memory, transformer) = (&mut models.memory, &mut models.transformer);
        let mut work = Work { lane, device, transformer, memory, times: &mut self.stages, probe: &mut self.probe };
        models.sampler.observe(&mut work, chunk - 1, &buffers.video, &buffers.action)?;
        outcome.memory = work.device.kv_counts();
        if !begins {
            // The observed chunk was committed under the text that it was predicted under.
            let run = StageRun::start(Stage::Context);
            let text = models.guidance.poll(lane, ready.t0_ns, &mut outcome.guidance);
            models.context.set(work.device, lane, command, text, ego)?;
            work.times.add(run);
        }
        let rows = models.sampler.predict(&mut work, chunk)?;
        let run = StageRun::start(Stage::Decode);
        buffers.rows.decode(rows, &mut buffers.increments)?;
        models.monitors.imagine(lane, models.sampler.imagined());
        outcome.trajectory.set_increments(&buffers.increments)?;
        self.stages.add(run);
        Ok(ego)
    }
}
