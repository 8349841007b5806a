//! The parts of a ride: models, inputs, the plan that is under way, and buffers.

use crate::codec::{Decoder, Encoder};
use crate::context::Context;
use crate::guard::Guard;
use crate::ingest::{Grid, Ingest};
use crate::memory::Memory;
use crate::sampler::Sampler;
use crate::transformer::Transformer;
use drivewam_core::ErrorKind;
use drivewam_core::action::{ActionRows, Increment};
use drivewam_core::config::Config;
use drivewam_core::pose::Pose2;
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
    /// Only with [`RideOptions::decoder`](crate::RideOptions::decoder).
    pub(crate) decoder: Option<Decoder>,
}

/// The inputs since the last restart.
#[derive(Debug)]
pub(super) struct Inputs {
    /// Poses, ego states and commands.
    pub(super) ingest: Ingest,
    /// The capture times that frames are expected at.
    pub(super) grid: Grid,
    /// Inputs refused since the last outcome.
    pub(super) refused: u32,
    /// Set when a frame of the current chunk did not reach the device: its region holds an older
    /// image.
    pub(super) frame_fault: Option<ErrorKind>,
}

impl Inputs {
    pub(super) fn new(config: &Config) -> Self {
        Self { ingest: Ingest::new(config.ingest.clone(), &config.model), grid: Self::new_grid(config), refused: 0, frame_fault: None }
    }

    /// Forgets all inputs; the count of refused ones stays.
    pub(super) fn clear(&mut self, config: &Config) {
        self.ingest.clear();
        self.grid = Self::new_grid(config);
    }

    fn new_grid(config: &Config) -> Grid {
        Grid::new(&config.model, config.ingest.frame_tolerance_ms)
    }
}

/// The plan that was published last, and the guard that remembers it.
#[derive(Debug)]
pub(super) struct PlanState {
    pub(super) guard: Guard,
    /// Its last pose, in the frame of the pushed poses.
    pub(super) end: Option<Pose2>,
    /// Time of its last pose.
    pub(super) end_ns: Option<i64>,
}

impl PlanState {
    pub(super) fn new(config: &Config) -> Self {
        let step_s = config.model.pose_period_ns() as f64 * 1e-9;
        Self { guard: Guard::new(config.guard.clone(), config.vehicle.clone(), step_s), end: None, end_ns: None }
    }

    /// Forgets the published plan.
    pub(super) fn clear(&mut self) {
        self.guard.forget();
        (self.end, self.end_ns) = (None, None);
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
