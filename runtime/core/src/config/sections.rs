//! The sections of the configuration that need no module of their own, with their defaults and
//! ranges.

use crate::dims::Model;
use crate::error::Result;
use crate::flow::schedule::VideoEnd;
use crate::ranges::{between, positive, within};
use crate::selection::Scoring;
use serde::{Deserialize, Serialize};

/// `target:` the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// The name of the target. Reports show it, and `build_engines` names the folder of its engines
    /// after it.
    pub name: String,
    /// The capacity of the arena, the one allocation of the ride. A plan that does not fit is
    /// refused.
    pub arena_bytes: usize,
    /// The threads that select which memory tokens to keep. Not used when the engines run on a GPU.
    pub threads: usize,
    /// Which CPUs the threads run on, where the system is not to choose.
    #[serde(default, skip_serializing_if = "CoresConfig::is_any")]
    pub cores: CoresConfig,
}

/// `target.cores:` CPUs by the system's numbers. Empty: any CPU that the process may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoresConfig {
    /// The CPUs of the ride, by the system's numbers: of the thread that runs Warm, which must then
    /// drive the ride too, and of the threads that the ride starts. When it is left out or empty:
    /// any CPU that the process may use.
    pub ride: Vec<usize>,
    /// The CPUs of the guidance, by the system's numbers: of the language model's thread and of the
    /// threads that it starts. When it is left out or empty: any CPU that the process may use.
    pub guidance: Vec<usize>,
}

impl CoresConfig {
    fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// `camera:` how a camera image becomes an image of the model's size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraConfig {
    /// How a camera image becomes an image of the model's size. The paper resizes.
    pub fit: CameraFit,
    /// The largest relative difference, 0 to 1, between the fields of view of the camera and of the
    /// model's camera, in either axis, under `fit: resize`. A larger one is published with every
    /// outcome as a degradation.
    pub fov_tolerance: f64,
}

/// How an image is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraFit {
    /// Stretch the image to the model's size, without a crop.
    Resize,
    /// Sample the image where the model's own camera would look; pixels outside of the image are
    /// black.
    Reproject,
}

/// `ingest:` which inputs are accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// How far the time of a frame may be from its place in the model's frame grid. A frame farther
    /// off is not used; when none is near enough, the frame is missing and the rollout restarts.
    pub frame_tolerance_ms: u32,
    /// How far the time of a used frame may be from its place in the grid before the outcome names
    /// it as a degradation (`frame_jitter_ms`).
    pub max_frame_jitter_ms: u32,
    /// The longest time between two neighbouring poses, and the greatest age of the ego state, both
    /// rounded to milliseconds. Inputs that exceed it are refused.
    pub max_pose_gap_ms: u32,
    /// The longest time by which a stamp may lie after the time of the call of `step`. Inputs
    /// stamped later are dropped. Judged in real time only.
    pub max_ahead_ms: u32,
    /// The most pixels (width times height) of an image. A larger image is refused before it is
    /// decoded. The default is 2^25.
    pub max_image_pixels: u64,
}

/// `flow:` the sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowConfig {
    /// The seed of the noise.
    pub seed: u64,
    /// The solver that integrates the velocity.
    pub solver: SolverKind,
    /// The denoising of the video.
    pub video: VideoFlow,
    /// The denoising of the actions.
    pub action: ActionFlow,
    /// Which state of the partly denoised video the actions attend to.
    #[serde(default)]
    pub video_commit: VideoCommit,
    /// Whether passes share a forward of the transformer.
    #[serde(default)]
    pub passes: PassPacking,
}

/// The solver that integrates the velocity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SolverKind {
    /// Euler's method, of first order; the paper's solver.
    Euler,
    /// UniPC, a multistep method of second order.
    Unipc,
}

/// `flow.video:` the denoising of the video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoFlow {
    /// The number of denoising steps. The paper takes 3.
    pub steps: usize,
    /// The shift s of the noise levels σ(u) = s·u / (1 + (s − 1)·u), where u falls from 1 in even
    /// steps.
    pub shift: f64,
    /// Where the denoising of the video stops, in one of three readings of the paper.
    pub end: VideoEnd,
}

/// `flow.action:` the denoising of the actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionFlow {
    /// The number of denoising steps. The paper takes 10.
    pub steps: usize,
    /// The shift s of the noise levels σ(u) = s·u / (1 + (s − 1)·u), where u falls from 1 in even
    /// steps.
    pub shift: f64,
    /// What the denoising of the actions starts from.
    #[serde(default)]
    pub start: ActionStart,
}

/// What the denoising of the actions starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionStart {
    /// One sample of noise, as in the paper.
    #[default]
    Noise,
    /// The mean of the noise, which removes the sampling noise of a single sample.
    Zero,
    /// `{mean: n}`: the mean of the results of n samples, each denoised on its own; n is 1 to 64.
    Mean(usize),
}

/// Which state of the partly denoised video the actions attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCommit {
    /// The latent at the final noise level, with the flow time of that level, as training noises
    /// the history.
    #[default]
    EndTime,
    /// The latent at the final noise level, with flow time 0.
    ZeroTime,
    /// The keys and values of the last denoising step, before the update of the latent.
    LastStep,
}

/// Whether passes share a forward of the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassPacking {
    /// The commit of the predicted video shares a forward with the first action step, and the
    /// commits of the observed video and of the observed actions share another.
    #[default]
    Packed,
    /// Each of them has its own forward, as in the published loop. Kept to prove that packing
    /// changes no result.
    Unpacked,
}

/// `memory:` the KV memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// Which tokens are forgotten when a pool is full.
    pub policy: MemoryPolicy,
    /// The slots of the video pool under `fifo` and `selective`. The paper has 448.
    pub video_slots: usize,
    /// The slots of the action pool under `fifo` and `selective`. The paper has 160.
    pub action_slots: usize,
    /// The number of chunks that fit into the memory under `full`. One more is an error.
    #[serde(default = "default_max_chunks")]
    pub max_chunks: usize,
    /// How `selective` scores tokens.
    #[serde(default)]
    pub scoring: Scoring,
}

fn default_max_chunks() -> usize {
    76
}

/// Which tokens are forgotten when a pool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryPolicy {
    /// None: there are slots for `max_chunks` chunks, and one more chunk is an error.
    Full,
    /// The oldest tokens.
    Fifo,
    /// The least relevant and most redundant tokens.
    Selective,
}

/// `guard:` when a trajectory is refused, and what is published instead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// The longest time from the capture of the newest frame to the published trajectory; a later
    /// one is refused. When a plan has ended for longer than this and no new one came, the guard
    /// acts as for a refused plan. Judged in real time only.
    pub deadline_ms: u32,
    /// The longest time without a camera frame. After it the guard asks for minimal risk. Judged in
    /// real time only. It must be longer than the time between two frames of the model.
    pub max_frame_silence_ms: u32,
    /// The same for poses and for ego states.
    pub max_pose_silence_ms: u32,
    /// The largest distance between the car and the place where the previous plan ended. A new plan
    /// beyond it is refused. Judged only where the car follows the published plans.
    pub max_continuity_error_m: f64,
    /// For how many chunks in a row the previous plan may be held, before the guard asks for the
    /// minimal-risk manoeuvre.
    pub max_hold_chunks: u32,
    /// What is published when a plan is refused, or when a plan has ended and no new one came.
    pub gap_policy: GapPolicy,
    /// What a monitor of the manifest (`monitors`) does above its threshold.
    pub monitors: MonitorMode,
}

/// What a monitor does above its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorMode {
    /// It is named, and the third time in a row asks for the minimal-risk manoeuvre.
    Judge,
    /// Its number is published, and nothing follows from it.
    Report,
}

/// What is published when a plan is refused, or when a plan has ended and no new one came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapPolicy {
    /// A trajectory with the last curvature and speed, if the vehicle's limits allow it, for at
    /// most `max_hold_chunks` chunks; then the minimal-risk manoeuvre.
    HoldCurvature,
    /// The minimal-risk manoeuvre at once.
    MinimalRisk,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self { fit: CameraFit::Resize, fov_tolerance: 0.05 }
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self { frame_tolerance_ms: 50, max_frame_jitter_ms: 10, max_pose_gap_ms: 150, max_ahead_ms: 1000, max_image_pixels: 1 << 25 }
    }
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            deadline_ms: 1000,
            max_frame_silence_ms: 2000,
            max_pose_silence_ms: 1000,
            max_continuity_error_m: 3.0,
            max_hold_chunks: 1,
            gap_policy: GapPolicy::HoldCurvature,
            monitors: MonitorMode::Judge,
        }
    }
}

impl TargetConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("target.threads", self.threads, 1, 64)?;
        within("target.arena_bytes", self.arena_bytes, 1, isize::MAX as usize)
    }
}

impl CameraConfig {
    pub(super) fn check(&self) -> Result<()> {
        between("camera.fov_tolerance", self.fov_tolerance, 0.0, 1.0)
    }
}

impl IngestConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("ingest.frame_tolerance_ms", self.frame_tolerance_ms as usize, 0, 500)?;
        within("ingest.max_frame_jitter_ms", self.max_frame_jitter_ms as usize, 0, 500)?;
        within("ingest.max_ahead_ms", self.max_ahead_ms as usize, 10, 60_000)?;
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
    pub(super) fn check(&self, model: &Model) -> Result<()> {
        let period_ms = 1000 / model.image.frame_hz.max(1) as usize;
        within("guard.deadline_ms", self.deadline_ms as usize, 1, 60_000)?;
        within("guard.max_frame_silence_ms", self.max_frame_silence_ms as usize, period_ms + 100, 10_000)?;
        within("guard.max_pose_silence_ms", self.max_pose_silence_ms as usize, 100, 10_000)?;
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
