//! The sections of the configuration beside `model:`, with their defaults and ranges.

use crate::dims::Model;
use crate::error::{Error, ErrorKind, Result};
use crate::flow::schedule::VideoEnd;
use crate::selection::Scoring;
use serde::{Deserialize, Serialize};

/// `target:` the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// Human-readable name.
    pub name: String,
    /// Capacity of the arena, bytes; the plan must fit.
    pub arena_bytes: usize,
    /// Threads of the memory's token selection, 1 to 64.
    pub threads: usize,
    /// CPUs to run on. Default: the system chooses.
    #[serde(default, skip_serializing_if = "CoresConfig::is_any")]
    pub cores: CoresConfig,
}

/// `target.cores:` CPUs, by the system's numbers. Empty: all that the process may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoresConfig {
    /// For the thread that warms and drives the ride, and for the threads that it starts.
    pub ride: Vec<usize>,
    /// For the language model's thread, and for the threads that it starts.
    pub guidance: Vec<usize>,
}

impl CoresConfig {
    fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// `vehicle:` the limits of a trajectory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehicleConfig {
    /// Human-readable name.
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
    /// Public ed25519 keys, 64 hexadecimal digits each. If there are any, an engine bundle is
    /// refused unless one of them signed its manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_keys: Vec<String>,
    /// Keys that are not trusted any more, even if `trusted_keys` lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<String>,
}

/// `camera:` how the vehicle's image is mapped to the model's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraConfig {
    /// Default `resize`, as in the paper.
    pub fit: CameraFit,
    /// Largest relative difference of the fields of view; a larger one is reported as a
    /// degradation. Default 0.05, 0 to 1.
    pub fov_tolerance: f64,
}

/// How an image is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraFit {
    /// Stretched to the model's size, without cropping.
    Resize,
    /// Each pixel is sampled where the model's camera would see it; black outside of the image.
    Reproject,
}

/// `ingest:` accepted inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// A frame that is further from the frame grid counts as missing. Default 50, 0 to 500.
    pub frame_tolerance_ms: u32,
    /// A longer gap between poses is refused. Default 150, 1 to 10000.
    pub max_pose_gap_ms: u32,
    /// An image with more pixels is refused before it is decoded. Default 2^25.
    pub max_image_pixels: u64,
}

/// `flow:` the sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowConfig {
    /// Seed of the noise.
    pub seed: u64,
    /// The integrator.
    pub solver: SolverKind,
    /// The video stream.
    pub video: VideoFlow,
    /// The action stream.
    pub action: ActionFlow,
    /// What the actions see of the partly denoised video.
    #[serde(default)]
    pub video_commit: VideoCommit,
    /// Whether passes are packed into one forward. Default `packed`.
    #[serde(default)]
    pub passes: PassPacking,
}

/// The integrator of the velocity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SolverKind {
    /// First order, as in the paper.
    Euler,
    /// UniPC, second order, multistep.
    Unipc,
}

/// `flow.video:` denoising of the video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoFlow {
    /// Number of steps, 1 to 1000; 3 in the paper.
    pub steps: usize,
    /// s of sigma = s·u / (1 + (s − 1)·u).
    pub shift: f64,
    /// Where the denoising stops, in one of three readings of the paper.
    pub end: VideoEnd,
}

/// `flow.action:` denoising of the actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionFlow {
    /// Number of steps, 1 to 1000; 10 in the paper.
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
    /// One sample of noise, as in the paper.
    #[default]
    Noise,
    /// The mean of the noise, which removes the randomness of a single sample.
    Zero,
    /// The mean of n samples that are denoised separately.
    Mean(usize),
}

/// What is committed of the partly denoised video for the actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCommit {
    /// The latent with its noise, at its own flow time, as the history in training.
    #[default]
    EndTime,
    /// The same latent, at flow time 0.
    ZeroTime,
    /// The keys and values of the last noisy step, before its update.
    LastStep,
}

/// Whether passes are packed into one forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassPacking {
    /// The commit of the predicted video shares a pass with the first action step, and both
    /// observed commits share one.
    #[default]
    Packed,
    /// One forward each, as the published loop. It proves that packing changes nothing.
    Unpacked,
}

/// `memory:` the KV memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// Which tokens are evicted.
    pub policy: MemoryPolicy,
    /// Slots of the video pool under `fifo` and `selective`; 448 in the paper.
    pub video_slots: usize,
    /// Slots of the action pool under `fifo` and `selective`; 160 in the paper.
    pub action_slots: usize,
    /// Chunks that fit under `full`; one more is an error.
    #[serde(default = "default_max_chunks")]
    pub max_chunks: usize,
    /// Scoring under `selective`.
    #[serde(default)]
    pub scoring: Scoring,
}

fn default_max_chunks() -> usize {
    76
}

/// Which tokens are evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryPolicy {
    /// None: there are slots for `max_chunks` chunks, then an error.
    Full,
    /// The oldest tokens.
    Fifo,
    /// The least relevant and most redundant tokens.
    Selective,
}

/// `guard:` the checks before a trajectory is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// Longest time from the newest frame's capture to the published trajectory, ms; checked only
    /// in real time. Default 1000.
    pub deadline_ms: u32,
    /// Largest distance, m, of the vehicle from the end of the previous plan; checked only if it
    /// follows the plans. Default 3.
    pub max_continuity_error_m: f64,
    /// Chunks for which a previous plan may be held before the minimal-risk manoeuvre is requested.
    /// Default 1.
    pub max_hold_chunks: u32,
    /// What is published when a plan has ended or is refused and there is no other. Default
    /// `hold_curvature`.
    pub gap_policy: GapPolicy,
}

/// What is published when a plan has ended or is refused and there is no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapPolicy {
    /// Continue with the last curvature and speed.
    HoldCurvature,
    /// Request the minimal-risk manoeuvre at once.
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
