//! The parts of a ride: models, inputs, the plan that is under way, and buffers.

use crate::camera_health::CameraHealth;
use crate::codec::{Decoder, Encoder};
use crate::context::Context;
use crate::ingest::{CallClock, Grid, Ingest};
use crate::memory::Memory;
use crate::monitors::Monitors;
use crate::outcome::Restart;
use crate::sampler::Sampler;
use crate::transformer::Transformer;
use drivewam_core::ErrorKind;
use drivewam_core::action::{ActionRows, Increment};
use drivewam_core::config::Config;
use drivewam_core::manifest::TrainedPictures;
use drivewam_core::pose::Pose2;
use drivewam_device::SourceCamera;
use drivewam_guidance::client::GuidanceClient;

/// The models, and what computes between them.
#[derive(Debug)]
pub(crate) struct Models {
    pub(crate) encoder: Encoder,
    pub(crate) context: Context,
    pub(crate) guidance: GuidanceClient,
    pub(crate) transformer: Transformer,
    pub(crate) memory: Memory,
    pub(crate) sampler: Sampler,
    pub(crate) monitors: Monitors,
    /// Only with [`RideOptions::decoder`](crate::RideOptions::decoder).
    pub(crate) decoder: Option<Decoder>,
}

/// The rollouts of a lane.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lane {
    /// Number of the newest chunk within its rollout.
    pub(super) chunk: u64,
    /// Number of the rollout, from 0.
    pub(super) rollout: u64,
    /// Whether the first rollout has begun.
    pub(super) has_begun: bool,
    /// Why the current rollout began, until an outcome reports it.
    pub(super) restarted: Option<Restart>,
    /// Set when a frame of the current chunk did not reach the device: its region holds an older
    /// image.
    pub(super) frame_fault: Option<ErrorKind>,
}

/// The inputs since the last restart.
#[derive(Debug)]
pub(super) struct Inputs {
    /// Poses, ego states and commands.
    pub(super) ingest: Ingest,
    /// The capture times that frames are expected at.
    pub(super) grid: Grid,
    /// The pictures of the current chunk.
    pub(super) camera: CameraHealth,
    /// The times of the calls.
    pub(super) clock: CallClock,
    /// How far ahead of the call the inputs were stamped that were dropped since the last outcome.
    pub(super) dropped_ns: Option<i64>,
    /// Inputs refused since the last outcome.
    pub(super) refused: u32,
}

impl Inputs {
    pub(super) fn new(config: &Config, camera: SourceCamera, trained: Option<TrainedPictures>) -> Self {
        Self {
            ingest: Ingest::new(config.ingest.clone(), &config.model),
            grid: Grid::new(config),
            camera: CameraHealth::new(camera, config.model.image.frames_per_latent, trained),
            clock: CallClock::default(),
            dropped_ns: None,
            refused: 0,
        }
    }

    /// Forgets all inputs; the count of refused ones stays.
    pub(super) fn clear(&mut self) {
        self.ingest.clear();
        self.grid.clear();
        self.camera.clear();
        self.clock = CallClock::default();
    }

    /// Drops the inputs stamped after `most_ns`. Returns whether that ended the rollouts.
    pub(super) fn drop_after(&mut self, most_ns: i64) -> bool {
        let frame = self.grid.drop_after(most_ns);
        if frame.is_some() {
            self.camera.clear();
        }
        let newest = frame.max(self.ingest.drop_after(most_ns));
        self.dropped_ns = newest.map(|newest| newest.saturating_sub(most_ns)).max(self.dropped_ns);
        frame.is_some()
    }
}

/// Host buffers, allocated in Warm.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Normalisation of actions, and their layout in token rows.
    pub(super) rows: ActionRows,
    /// Poses of the observed chunk, its first pose included.
    pub(super) poses: Vec<Pose2>,
    /// Increments between poses.
    pub(super) increments: Vec<Increment>,
    /// Video token rows `[Nv, W]`.
    pub(super) video: Vec<f32>,
    /// Action token rows `[Na, W]`.
    pub(super) action: Vec<f32>,
    /// A latent `[Cz, Hz, Wz]`.
    pub(super) latent: Vec<f32>,
}

impl Buffers {
    pub(super) fn new(config: &Config, rows: ActionRows) -> Self {
        let model = &config.model;
        Self {
            poses: vec![Pose2::default(); model.poses() + 1],
            increments: vec![Increment::default(); model.poses()],
            video: vec![0.0; model.video_tokens() * model.token_width()],
            action: vec![0.0; rows.rows_len()],
            latent: vec![0.0; model.latent_len()],
            rows,
        }
    }
}
