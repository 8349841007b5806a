//! The stages of a chunk and their latencies, which a profiler sees as ranges.

use drivewam_core::bindings::Graph;
use drivewam_device::profiler::{self, ProfilerRange};
use drivewam_guidance::mailbox;
use std::time::Instant;

/// A part of a chunk's work, in order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Resampling of camera images to the model's size; checks of inputs.
    Ingest,
    /// Video encoder: frames to a latent.
    Encode,
    /// The monitors of the frames and the motion.
    Monitor,
    /// The transformer pass that commits the observed chunk.
    Observe,
    /// Memory: scores, selection, and the write of the new tokens over the evicted ones.
    Select,
    /// Ego state, and a new text, to keys and values.
    Context,
    /// Transformer passes that denoise the video.
    Video,
    /// Transformer passes that denoise the actions.
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
    pub const ALL: [Self; 11] = [
        Self::Ingest,
        Self::Encode,
        Self::Monitor,
        Self::Observe,
        Self::Select,
        Self::Context,
        Self::Video,
        Self::Action,
        Self::Solver,
        Self::Decode,
        Self::Guard,
    ];

    /// Whether a run of this stage is a pass of the transformer.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Observe | Self::Video | Self::Action)
    }

    /// The name that reports and profiler ranges use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Encode => "encode",
            Self::Monitor => "monitor",
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

/// One run of a stage. A run of a transformer stage is one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The stage.
    pub stage: Stage,
    /// When it began.
    pub from: Instant,
    /// Its duration, ns.
    pub ns: u64,
}

/// Name of the profiler range that covers a [`Ride::step`](crate::Ride::step) with a chunk.
pub(crate) const CHUNK: &str = "chunk";
/// Name of the profiler range that covers the rehearsal.
pub(crate) const WARM: &str = "warm";

/// Registers the names of all profiler ranges. Called in Warm.
pub(crate) fn register_ranges() {
    let graphs = Graph::GUIDANCE.map(Graph::as_str);
    profiler::register(Stage::ALL.map(Stage::as_str).into_iter().chain([CHUNK, mailbox::RANGE, WARM]).chain(graphs));
}

/// A run of a stage that is under way. [`StageTimes::add`] ends and counts it; dropping it on an
/// error ends its profiler range and counts nothing.
#[derive(Debug)]
pub struct StageRun {
    stage: Stage,
    from: Instant,
    _range: ProfilerRange,
}

impl StageRun {
    /// Starts a run of `stage`.
    pub fn start(stage: Stage) -> Self {
        Self::start_at(stage, Instant::now())
    }

    /// A run of `stage` that started at `from`; its profiler range begins now.
    pub fn start_at(stage: Stage, from: Instant) -> Self {
        Self { stage, from, _range: ProfilerRange::open(stage.as_str()) }
    }
}

/// Times of one chunk: the sum and the number of runs per stage, and the single runs.
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
    /// Capacity for single runs; runs beyond it count in the sums alone. The paper's sampler has 16
    /// passes.
    pub const SPANS: usize = 64;

    /// Ends a run of a stage and counts it.
    pub fn add(&mut self, run: StageRun) {
        let StageRun { stage, from, .. } = run;
        let ns = u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.ns[stage as usize] += ns;
        self.runs[stage as usize] += 1;
        if let Some(span) = self.spans.get_mut(self.count) {
            *span = Some(Span { stage, from, ns });
            self.count += 1;
        }
    }

    /// The first [`StageTimes::SPANS`] runs, in order.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().flatten()
    }

    /// Time of all runs of `stage`, ns.
    pub fn ns(&self, stage: Stage) -> u64 {
        self.ns[stage as usize]
    }

    /// Number of runs of `stage`.
    pub fn runs(&self, stage: Stage) -> u32 {
        self.runs[stage as usize]
    }

    /// Number of transformer passes.
    pub fn passes(&self) -> u32 {
        Stage::ALL.iter().filter(|stage| stage.is_pass()).map(|stage| self.runs(*stage)).sum()
    }

    /// Time of all stages, ns: the latency of the chunk.
    pub fn total_ns(&self) -> u64 {
        self.ns.iter().sum()
    }
}
