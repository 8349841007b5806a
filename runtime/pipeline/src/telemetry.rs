//! What a chunk came to: the trajectory, the guard's verdict, ages, latencies. Plain data that never blocks the ride.

use crate::guard::{Reason, Verdict};
use crate::guidance;
use drivewam_core::bindings::Graph;
use drivewam_core::dims::Command;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_device::KvCounts;
use drivewam_device::profiler::{self, ProfilerRange};
use std::time::Instant;

/// A part of a chunk's work, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Pictures fitted to the model; poses and stamps checked.
    Ingest,
    /// Frames to a latent.
    Encode,
    /// The pass that commits the observed chunk.
    Observe,
    /// Scores, selection, and the new tokens over the forgotten ones.
    Select,
    /// Ego state (and a new command) to keys and values.
    Context,
    /// Video passes.
    Video,
    /// Action passes.
    Action,
    /// Solver steps.
    Solver,
    /// Actions to a trajectory.
    Decode,
    /// The guard.
    Guard,
}

impl Stage {
    /// All stages.
    pub const ALL: [Self; 10] = [
        Self::Ingest,
        Self::Encode,
        Self::Observe,
        Self::Select,
        Self::Context,
        Self::Video,
        Self::Action,
        Self::Solver,
        Self::Decode,
        Self::Guard,
    ];

    /// Whether a run of it is a pass of the transformer.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Observe | Self::Video | Self::Action)
    }

    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Encode => "encode",
            Self::Observe => "observe",
            Self::Select => "select",
            Self::Context => "context",
            Self::Video => "video",
            Self::Action => "action",
            Self::Solver => "solver",
            Self::Decode => "decode",
            Self::Guard => "guard",
        }
    }
}

/// One run of a stage: for the passes of the transformer one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What ran.
    pub stage: Stage,
    /// When it began.
    pub from: Instant,
    /// How long it took, nanoseconds.
    pub ns: u64,
}

/// The whole of [`Ride::step`](crate::Ride::step) with a chunk to compute, as a profiler is told.
pub(crate) const CHUNK: &str = "chunk";
/// An answer of the language model, on its own thread.
pub(crate) const GUIDANCE: &str = "guidance";
/// The rehearsal.
pub(crate) const WARM: &str = "warm";

/// Makes known what a profiler will be told. Warm.
pub(crate) fn register_ranges() {
    let graphs = Graph::GUIDANCE.map(Graph::as_str);
    profiler::register(Stage::ALL.map(Stage::as_str).into_iter().chain([CHUNK, GUIDANCE, WARM]).chain(graphs));
}

/// A run of a stage under way. A profiler sees its end, by [`StageTimes::add`] or by an error; what an error ended counts nowhere else.
#[derive(Debug)]
pub struct Begun {
    stage: Stage,
    from: Instant,
    _range: ProfilerRange,
}

impl Begun {
    /// `stage` begins.
    pub fn now(stage: Stage) -> Self {
        Self::since(stage, Instant::now())
    }

    /// `stage` began at `from`, and only now is it known to be one.
    pub fn since(stage: Stage, from: Instant) -> Self {
        Self { stage, from, _range: ProfilerRange::open(stage.as_str()) }
    }
}

/// Nanoseconds and runs of each stage of one chunk, and its runs one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTimes {
    ns: [u64; Stage::ALL.len()],
    runs: [u32; Stage::ALL.len()],
    spans: [Option<Span>; Self::SPANS],
    count: usize,
}

impl Default for StageTimes {
    fn default() -> Self {
        Self { ns: [0; Stage::ALL.len()], runs: [0; Stage::ALL.len()], spans: [None; Self::SPANS], count: 0 }
    }
}

impl StageTimes {
    /// Runs that are kept one by one; those behind count in the sums alone. The paper's sampler has 16 passes.
    pub const SPANS: usize = 64;

    /// Adds a run of a stage, which ends here.
    pub fn add(&mut self, run: Begun) {
        let Begun { stage, from, .. } = run;
        let ns = u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.ns[stage as usize] += ns;
        self.runs[stage as usize] += 1;
        if let Some(span) = self.spans.get_mut(self.count) {
            *span = Some(Span { stage, from, ns });
            self.count += 1;
        }
    }

    /// The runs in order, the first [`StageTimes::SPANS`] of them.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().flatten()
    }

    /// Nanoseconds of `stage`, all its runs.
    pub fn ns(&self, stage: Stage) -> u64 {
        self.ns[stage as usize]
    }

    /// Runs of `stage`: for `observe`, `video` and `action` the passes of the transformer.
    pub fn runs(&self, stage: Stage) -> u32 {
        self.runs[stage as usize]
    }

    /// Passes of the transformer in this chunk.
    pub fn passes(&self) -> u32 {
        Stage::ALL.iter().filter(|stage| stage.is_pass()).map(|stage| self.runs(*stage)).sum()
    }

    /// All stages together: the chunk's latency.
    pub fn total_ns(&self) -> u64 {
        self.ns.iter().sum()
    }
}

/// Why a rollout ended and a new one began: memory and codec cache were cleared, and the frame at hand became chunk 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Restart {
    /// No frame came within the tolerance of a place on the grid.
    MissingFrame {
        /// The place on the grid, capture time.
        expected_ns: i64,
        /// The frame that came instead, capture time.
        got_ns: i64,
    },
    /// An error of this kind ended the previous chunk; it was returned by the step that met it.
    Fault(drivewam_core::ErrorKind),
    /// [`Ride::restart`](crate::Ride::restart) was called.
    Asked,
}

/// How old, at t0, what the chunk rests on is. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ages {
    /// The ego state.
    pub ego_ms: f64,
    /// The last pose at or before t0.
    pub pose_ms: f64,
    /// The route command, since its stamp.
    pub command_ms: f64,
}

/// What was not as it should be, and was accepted all the same.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Degraded {
    /// Share by which the camera's field of view, the worse of both axes, differs from the model's, where it exceeds the tolerance.
    pub fov: Option<f64>,
    /// Share of the model's picture that the camera does not cover (`fit: reproject`), where it is not zero.
    pub uncovered_picture: Option<f64>,
    /// Largest distance of a frame of this chunk from its place on the grid, ms.
    pub frame_jitter_ms: f64,
    /// Inputs (frames, poses, ego states) refused since the previous outcome.
    pub refused_inputs: u32,
    /// The plan came later than the deadline (judged in real time alone), ms late.
    pub late_ms: Option<f64>,
}

/// Who told a chunk what the scene is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Voice {
    /// Nobody: the embedding of the route command.
    #[default]
    Command,
    /// `guidance.text`.
    Fixed,
    /// The language model.
    Vlm,
}

impl Voice {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Fixed => "fixed",
            Self::Vlm => "vlm",
        }
    }
}

/// Why an answer of the language model is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has not the form that was asked for.
    Form(guidance::answer::Reason),
    /// It had not ended by the cap on tokens or on time.
    Endless,
    /// More tokens than the text encoder reads.
    TooLong,
    /// An error of this kind.
    Fault(drivewam_core::ErrorKind),
    /// The model's thread died; nothing will come any more.
    Dead,
}

impl Refusal {
    /// The word that reports count by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form(reason) => reason.as_str(),
            Self::Endless => "endless",
            Self::TooLong => "too_long",
            Self::Fault(kind) => kind.as_str(),
            Self::Dead => "dead",
        }
    }
}

/// What a chunk was told, by whom, and how old that is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// By whom.
    pub voice: Voice,
    /// The words; none from the route command.
    pub text: String,
    /// At t0, since the frame that the language model looked at, ms.
    pub age_ms: Option<f64>,
    /// How long the language model took to say it, ms.
    pub took_ms: Option<f64>,
    /// Why the newest answer is not used, where it is not.
    pub refused: Option<Refusal>,
    /// Answers that were not used since the ride began.
    pub refusals: u32,
}

/// What a chunk came to. Frame of reference of the trajectories: ego at t0, x forward, y left.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Chunk of its rollout; the first with a trajectory is 1.
    pub chunk: u64,
    /// Rollout of the ride, from 0.
    pub rollout: u64,
    /// Capture time of the newest frame: the trajectory's zero.
    pub t0_ns: i64,
    /// When the trajectory was handed out, on the clock of `step`'s `now_ns`.
    pub published_ns: i64,
    /// The trajectory's last pose.
    pub valid_until_ns: i64,
    /// Time between the previous plan's end and this one's publication, where the gap policy had to hold.
    pub uncovered_ms: f64,
    /// The ego's pose at t0, in the frame of the poses that came in; none where the poses failed.
    pub pose: Option<Pose2>,
    /// What the policy said; not a number where it said nothing.
    pub trajectory: Trajectory,
    /// What the guard lets through: the same when accepted.
    pub published: Trajectory,
    /// The guard's verdict.
    pub verdict: Verdict,
    /// Why it is not `accepted`.
    pub reason: Option<Reason>,
    /// Distance from the previous plan's end to where the car is now, m, where there was a previous plan.
    pub continuity_m: Option<f64>,
    /// The route command that was read.
    pub command: Command,
    /// What the chunk's passes read of the scene.
    pub guidance: Told,
    /// Ages at t0.
    pub ages: Ages,
    /// What was degraded.
    pub degraded: Degraded,
    /// Set in the first outcome of a rollout that follows another.
    pub restarted: Option<Restart>,
    /// Filled slots after the observed commit; none after a fault before it.
    pub memory: KvCounts,
    /// Latency by stage.
    pub stages: StageTimes,
}
