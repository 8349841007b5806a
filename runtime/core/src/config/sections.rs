//! The sections of the configuration below `model:`, with their defaults and ranges.

use crate::dims::Model;
use crate::error::{Error, ErrorKind, Result};
use crate::flow::schedule::VideoEnd;
use crate::selection::Scoring;
use serde::{Deserialize, Serialize};

/// `target:` the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// For people.
    pub name: String,
    /// Capacity of the one allocation, bytes; the plan must fit.
    pub arena_bytes: usize,
    /// Threads of the memory's selection, 1 to 64.
    pub threads: usize,
    /// CPUs, where the system is not to choose.
    #[serde(default, skip_serializing_if = "CoresConfig::is_any")]
    pub cores: CoresConfig,
}

/// `target.cores:` CPUs, by the system's numbers; empty: any that the process may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoresConfig {
    /// Of the thread that warms the ride, which is to drive it too, and of the threads that it needs.
    pub ride: Vec<usize>,
    /// Of the language model's thread, and of those that it needs.
    pub guidance: Vec<usize>,
}

impl CoresConfig {
    fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// `vehicle:` limits that a trajectory must keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehicleConfig {
    /// For people.
    pub name: String,
    /// m/s.
    pub max_speed_mps: f64,
    /// Forward, m/s².
    pub max_acceleration_mps2: f64,
    /// Braking, m/s², a positive number.
    pub max_deceleration_mps2: f64,
    /// 1/m, either side.
    pub max_curvature_1pm: f64,
    /// m/s², either side.
    pub max_lateral_acceleration_mps2: f64,
    /// Public ed25519 keys, 64 hexadecimal digits each. Where there are any, a folder of engines whose manifest none of them signed is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_keys: Vec<String>,
    /// Keys that are no longer trusted, wherever else they are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<String>,
}

/// `camera:` how the vehicle's picture becomes the model's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraConfig {
    /// Default `resize`, as the paper.
    pub fit: CameraFit,
    /// A field of view that differs by a larger share than this is a published degradation. Default 0.05, 0 to 1.
    pub fov_tolerance: f64,
}

/// How a picture is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraFit {
    /// Stretched to the model's size; no crop.
    Resize,
    /// Each model pixel looks where the model's own camera would; outside of the picture is black.
    Reproject,
}

/// `ingest:` what is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// A frame further off the grid is missing. Default 50, 0 to 500.
    pub frame_tolerance_ms: u32,
    /// A longer hole between poses is refused. Default 150, 1 to 10000.
    pub max_pose_gap_ms: u32,
    /// A larger picture is refused before it is decoded. Default 2^25.
    pub max_image_pixels: u64,
}

/// `flow:` the sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowConfig {
    /// Seed of the noise.
    pub seed: u64,
    /// How a step is taken.
    pub solver: SolverKind,
    /// The video stream.
    pub video: VideoFlow,
    /// The action stream.
    pub action: ActionFlow,
    /// What of the partly denoised video the actions see.
    #[serde(default)]
    pub video_commit: VideoCommit,
    /// Whether passes share a forward. Default `packed`.
    #[serde(default)]
    pub passes: PassPacking,
}

/// Who integrates the velocity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SolverKind {
    /// First order, the paper's.
    Euler,
    /// Second order, multistep.
    Unipc,
}

/// `flow.video:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoFlow {
    /// 1 to 1000; the paper's 3.
    pub steps: usize,
    /// s of sigma = s·u / (1 + (s − 1)·u).
    pub shift: f64,
    /// Where the video stops, in one of three readings of the paper.
    pub end: VideoEnd,
}

/// `flow.action:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionFlow {
    /// 1 to 1000; the paper's 10.
    pub steps: usize,
    /// s of sigma = s·u / (1 + (s − 1)·u).
    pub shift: f64,
    /// What the action denoising starts from.
    #[serde(default)]
    pub start: ActionStart,
}

/// What the action denoising starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionStart {
    /// One sample of noise, as the paper.
    #[default]
    Noise,
    /// The mean of the noise: removes the sampling noise of a single sample.
    Zero,
    /// The mean of n samples, each denoised on its own.
    Mean(usize),
}

/// What of the partly denoised video is committed for the actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCommit {
    /// The latent at the end noise, told so by its flow time: as training noises the history.
    #[default]
    EndTime,
    /// The same latent, told flow time 0.
    ZeroTime,
    /// The keys and values of the last noisy step, before its update.
    LastStep,
}

/// Whether passes share a forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassPacking {
    /// The commit of the predicted video rides with the first action step; both observed commits share a pass.
    #[default]
    Packed,
    /// One forward for each: the published loop's structure, kept to prove that packing changes nothing.
    Unpacked,
}

/// `memory:` the KV memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// Who decides what is forgotten.
    pub policy: MemoryPolicy,
    /// Slots of the video pool under `fifo` and `selective`; the paper's 448.
    pub video_slots: usize,
    /// Slots of the action pool under `fifo` and `selective`; the paper's 160.
    pub action_slots: usize,
    /// Chunks that `full` has room for; one more is an error.
    #[serde(default = "default_max_chunks")]
    pub max_chunks: usize,
    /// How `selective` scores.
    #[serde(default)]
    pub scoring: Scoring,
}

fn default_max_chunks() -> usize {
    76
}

/// Who decides what is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryPolicy {
    /// Nobody: slots for `max_chunks`, and then an error.
    Full,
    /// The oldest tokens go.
    Fifo,
    /// The least relevant and most redundant tokens go.
    Selective,
}

/// `guard:` what a trajectory must be before it is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// From the newest frame's capture to the published trajectory; judged only in real time. Default 1000.
    pub deadline_ms: u32,
    /// Farthest, m, that the car may be from where the previous plan ended; judged where it follows the plans. Default 3.
    pub max_continuity_error_m: f64,
    /// Chunks that a previous plan may be held before minimal risk is asked for. Default 1.
    pub max_hold_chunks: u32,
    /// What goes out when a plan has ended, or is refused, and no other came. Default `hold_curvature`.
    pub gap_policy: GapPolicy,
}

/// What goes out when a plan has ended, or is refused, and no other came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapPolicy {
    /// Go on with the last curvature and speed.
    HoldCurvature,
    /// Ask for the minimal-risk manoeuvre at once.
    MinimalRisk,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self { fit: CameraFit::Resize, fov_tolerance: 0.05 }
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self { frame_tolerance_ms: 50, max_pose_gap_ms: 150, max_image_pixels: 1 << 25 }
    }
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { deadline_ms: 1000, max_continuity_error_m: 3.0, max_hold_chunks: 1, gap_policy: GapPolicy::HoldCurvature }
    }
}

fn bad(key: &str, got: impl std::fmt::Display, wanted: &str) -> Error {
    Error::new(ErrorKind::Config, "out of range").at(key).got(got).wanted(wanted)
}

pub(super) fn within(key: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(bad(key, value, &format!("{low} to {high}")))
}

fn positive(key: &str, value: f64, high: f64) -> Result<()> {
    if value > 0.0 && value <= high {
        return Ok(());
    }
    Err(bad(key, value, &format!("a number above 0, at most {high}")))
}

impl TargetConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("target.threads", self.threads, 1, 64)?;
        within("target.arena_bytes", self.arena_bytes, 1, isize::MAX as usize)
    }
}

impl VehicleConfig {
    pub(super) fn check(&self) -> Result<()> {
        positive("vehicle.max_speed_mps", self.max_speed_mps, 150.0)?;
        positive("vehicle.max_acceleration_mps2", self.max_acceleration_mps2, 50.0)?;
        positive("vehicle.max_deceleration_mps2", self.max_deceleration_mps2, 50.0)?;
        positive("vehicle.max_curvature_1pm", self.max_curvature_1pm, 2.0)?;
        positive("vehicle.max_lateral_acceleration_mps2", self.max_lateral_acceleration_mps2, 50.0)?;
        for (key, list) in [("vehicle.trusted_keys", &self.trusted_keys), ("vehicle.revoked_keys", &self.revoked_keys)] {
            if let Some(odd) = list.iter().find(|k| k.len() != 64 || k.bytes().any(|b| !b.is_ascii_hexdigit())) {
                return Err(bad(key, format!("{odd:?}"), "ed25519 public keys of 64 hexadecimal digits"));
            }
        }
        Ok(())
    }
}

impl CameraConfig {
    pub(super) fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.fov_tolerance) {
            return Ok(());
        }
        Err(bad("camera.fov_tolerance", self.fov_tolerance, "0 to 1"))
    }
}

impl IngestConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("ingest.frame_tolerance_ms", self.frame_tolerance_ms as usize, 0, 500)?;
        within("ingest.max_pose_gap_ms", self.max_pose_gap_ms as usize, 1, 10_000)
    }
}

impl FlowConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("flow.video.steps", self.video.steps, 1, 1000)?;
        within("flow.action.steps", self.action.steps, 1, 1000)?;
        positive("flow.video.shift", self.video.shift, 1000.0)?;
        positive("flow.action.shift", self.action.shift, 1000.0)?;
        if let ActionStart::Mean(samples) = self.action.start {
            within("flow.action.start.mean", samples, 1, 64)?;
        }
        self.video.end.check(self.video.steps).map_err(|e| e.at("flow.video.end"))
    }
}

impl GuardConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("guard.deadline_ms", self.deadline_ms as usize, 1, 60_000)?;
        within("guard.max_hold_chunks", self.max_hold_chunks as usize, 0, 100)?;
        positive("guard.max_continuity_error_m", self.max_continuity_error_m, 1000.0)
    }
}

impl MemoryConfig {
    pub(super) fn check(&self, model: &Model) -> Result<()> {
        within("memory.max_chunks", self.max_chunks, 1, 1 << 20)?;
        within("memory.video_slots", self.video_slots, model.video_tokens(), 1 << 24)?;
        within("memory.action_slots", self.action_slots, model.action_tokens(), 1 << 24)?;
        self.scoring.check().map_err(|e| e.at("memory.scoring"))
    }
}
