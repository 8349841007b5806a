//! The flow-matching sampler: it drives the transformer passes of a chunk; the device computes the
//! solver's steps.
//!
//! For chunk c it commits the observed chunk c−1 at flow time 0, then denoises the video of chunk c
//! part of the way, then its actions all the way; the actions see the imagined video.
//!
//! `packed` needs 14 passes for the paper's 3 + 10 steps: both observed commits share one pass, and
//! the commit of the predicted video shares the first action step. `unpacked` is the published
//! loop, with a pass for each commit; its seventeenth, which writes the predicted actions' keys and
//! values, is left out, since nothing reads them.

use crate::memory::Memory;
use crate::probe::{Probe, show};
use crate::regions::{PassTokens, Regions};
use crate::stages::{Stage, StageRun, StageTimes};
use crate::transformer::Transformer;
use drivewam_core::arena::Region;
use drivewam_core::bindings;
use drivewam_core::config::{ActionStart, Config, FlowConfig, PassPacking, VideoCommit};
use drivewam_core::flow::schedule::{Step, action_steps, video_steps};
use drivewam_core::flow::solver::{SolverStep, history_len, plan};
use drivewam_core::noise::{Stream, standard_normal};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use ndarray::ArrayView2;

/// The denoising of one stream: its steps and its sample.
#[derive(Debug)]
struct Denoiser {
    steps: Vec<(Step, SolverStep)>,
    history: Vec<Region>,
    channels: Vec<usize>,
    /// The sample `[n, W]`, denoised in place.
    sample: Region,
}

impl Denoiser {
    fn new(config: &Config, steps: Vec<Step>, history: &[Region], channels: Vec<usize>, sample: Region) -> Result<Self> {
        let constants = plan(config.flow.solver, &steps)?;
        // The self-test's solver needs no history, whatever the ride's needs.
        let history = history.iter().copied().take(history_len(config.flow.solver)).collect();
        Ok(Self { steps: steps.into_iter().zip(constants).collect(), history, channels, sample })
    }
}

/// What the passes of a chunk use, borrowed from the ride for one call.
pub(crate) struct Work<'a> {
    pub(crate) lane: usize,
    pub(crate) device: &'a mut dyn Device,
    pub(crate) transformer: &'a mut Transformer,
    pub(crate) memory: &'a mut Memory,
    pub(crate) times: &'a mut StageTimes,
    pub(crate) probe: &'a mut Option<Box<dyn Probe>>,
}

impl Work<'_> {
    fn pass(&mut self, stage: Stage, rows: PassTokens, video_time: f64, action_time: f64) -> Result<()> {
        let run = StageRun::start(stage);
        self.transformer.run(self.device, self.lane, rows, [video_time, action_time])?;
        self.times.add(run);
        Ok(())
    }

    fn solve(&mut self, path: &Denoiser, step: &SolverStep, velocity: Region, width: usize) -> Result<()> {
        let run = StageRun::start(Stage::Solver);
        self.device.solve(step, path.sample, velocity, &path.history, width, &path.channels)?;
        self.times.add(run);
        Ok(())
    }
}

/// The sampler of one ride.
#[derive(Debug)]
pub(crate) struct Sampler {
    flow: FlowConfig,
    width: usize,
    n_video: usize,
    video: Denoiser,
    action: Denoiser,
    /// Attention heads of a key or value, for the probe.
    heads: usize,
    /// Host copy of one stream's noise.
    noise: Vec<f32>,
    given: Option<GivenNoise>,
    video_rows: Vec<f32>,
    /// The velocity of the video where its denoising ends, then the video without noise; empty
    /// where nobody asks for it.
    clean_rows: Vec<f32>,
    action_rows: Vec<f32>,
}

/// The noise of the next chunk, given by the caller.
#[derive(Debug)]
struct GivenNoise {
    video: Vec<f32>,
    action: Vec<f32>,
}

impl Sampler {
    /// Plans every step. `imagines`: whether [`Sampler::imagined`] is asked for. Called in Warm.
    pub(crate) fn new(config: &Config, regions: &Regions, imagines: bool) -> Result<Self> {
        let (model, flow) = (&config.model, &config.flow);
        let tokens = regions.get(bindings::TOKENS)?;
        let (video, action) = (regions.rows_of(tokens, PassTokens::Video)?, regions.rows_of(tokens, PassTokens::Action)?);
        let video_path = video_steps(flow.video.steps, flow.video.shift, flow.video.end);
        let action_path = action_steps(flow.action.steps, flow.action.shift);
        Ok(Self {
            flow: flow.clone(),
            width: model.token_width(),
            n_video: regions.n_video,
            heads: model.heads,
            video: Denoiser::new(config, video_path, &regions.video_history, (0..model.video_channels()).collect(), video)?,
            action: Denoiser::new(config, action_path, &regions.action_history, model.action.used_channels.clone(), action)?,
            noise: vec![0.0; tokens.len()],
            given: None,
            video_rows: vec![0.0; video.len()],
            clean_rows: vec![0.0; if imagines { video.len() } else { 0 }],
            action_rows: vec![0.0; action.len()],
        })
    }

    /// Sets the noise of the next chunk, in place of the seed's: token rows `[Nv, W]` and `[Na,
    /// W]`. The second is not read where actions start from zero.
    ///
    /// # Errors
    /// `Usage` for other shapes, and under `start: mean`, whose samples would all be equal.
    pub(crate) fn set_noise(&mut self, video: ArrayView2<'_, f32>, action: ArrayView2<'_, f32>) -> Result<()> {
        let wanted = [&self.video_rows, &self.action_rows].map(|rows| [rows.len() / self.width, self.width]);
        let got = [video, action].map(|rows| <[usize; 2]>::from(rows.dim()));
        if got != wanted {
            return Err(Error::new(ErrorKind::Usage, "the noise has another shape").got(format!("{got:?}")).wanted(format!("{wanted:?}")));
        }
        if matches!(self.flow.action.start, ActionStart::Mean(_)) {
            return Err(Error::new(ErrorKind::Usage, "the mean of several samples needs a noise for each")
                .at("flow.action.start")
                .got("mean"));
        }
        self.given = Some(GivenNoise { video: video.iter().copied().collect(), action: action.iter().copied().collect() });
        Ok(())
    }

    /// Drops the given noise: its chunk will not be computed.
    pub(crate) fn clear_noise(&mut self) {
        self.given = None;
    }

    /// Commits the observed chunk, its clean tokens `[Nv, W]` and `[Na, W]` at flow time 0, in
    /// place of the predicted one.
    pub(crate) fn observe(&mut self, work: &mut Work<'_>, chunk: u64, video: &[f32], action: &[f32]) -> Result<()> {
        work.device.kv_drop_predicted()?;
        work.transformer.at_chunk(work.device, chunk)?;
        work.device.upload(self.video.sample, video)?;
        work.device.upload(self.action.sample, action)?;
        let (n_video, all) = (self.n_video, work.transformer.tokens(PassTokens::Both));
        let (video_rows, action_rows) = match self.flow.passes {
            PassPacking::Packed => {
                work.pass(Stage::Observe, PassTokens::Both, 0.0, 0.0)?;
                ((PassTokens::Both, 0..n_video), (PassTokens::Both, n_video..all))
            }
            PassPacking::Unpacked => {
                work.pass(Stage::Observe, PassTokens::Video, 0.0, 0.0)?;
                // The action pass sees the old pools and the new video, as in the packed pass; the
                // video stands in the slots of predicted tokens for that time.
                work.device.kv_commit_predicted(index(chunk), work.transformer.kv(PassTokens::Video), 0..n_video)?;
                work.pass(Stage::Observe, PassTokens::Action, 0.0, 0.0)?;
                work.device.kv_drop_predicted()?;
                ((PassTokens::Video, 0..n_video), (PassTokens::Action, 0..all - n_video))
            }
        };
        let run = StageRun::start(Stage::Select);
        let of_pass = |(pass, rows)| (work.transformer.kv(pass), rows);
        work.memory.commit(work.device, index(chunk), of_pass(video_rows), of_pass(action_rows))?;
        work.times.add(run);
        let shown: &[PassTokens] =
            if self.flow.passes == PassPacking::Packed { &[PassTokens::Both] } else { &[PassTokens::Video, PassTokens::Action] };
        for &rows in shown {
            let kv = work.transformer.kv(rows);
            let shape = [self.heads, kv.tokens, kv.k.first().map_or(0, |k| k.len() / (self.heads * kv.tokens))];
            show(work.probe, work.device, chunk, "observed.k", &kv.k, &shape)?;
            show(work.probe, work.device, chunk, "observed.v", &kv.v, &shape)?;
        }
        Ok(())
    }

    /// Predicts chunk `chunk`. Returns the normalised action rows `[Na, W]`;
    /// [`Sampler::imagined`] then returns the video.
    pub(crate) fn predict(&mut self, work: &mut Work<'_>, chunk: u64) -> Result<&[f32]> {
        let given = self.given.take();
        work.transformer.at_chunk(work.device, chunk)?;
        self.start(work.device, chunk, Stream::Video, given.as_ref().map(|g| g.video.as_slice()))?;
        let last = self.video.steps.len().saturating_sub(1);
        // The pass of the commit sees the video where its denoising ends, if at its flow time.
        let commits_at_end = self.flow.video_commit == VideoCommit::EndTime;
        for (i, (step, constants)) in self.video.steps.iter().enumerate() {
            work.pass(Stage::Video, PassTokens::Video, step.tau, 0.0)?;
            if i == last && self.flow.video_commit == VideoCommit::LastStep {
                work.device.kv_commit_predicted(index(chunk), work.transformer.kv(PassTokens::Video), 0..self.n_video)?;
            }
            let velocity = work.transformer.velocity(PassTokens::Video);
            work.solve(&self.video, constants, velocity, self.width).map_err(|e| e.at(format!("chunk {chunk}: video step {i}")))?;
            show(work.probe, work.device, chunk, "video.velocity", &[velocity], &[velocity.len() / self.width, self.width])?;
            if i == last && !commits_at_end {
                keep_velocity(work.device, &mut self.clean_rows, velocity)?;
            }
        }
        work.device.download(self.video.sample, &mut self.video_rows)?;
        let end = self.video.steps.last().map_or(1.0, |(step, _)| step.tau_next);
        let commit_time = if self.flow.video_commit == VideoCommit::ZeroTime { 0.0 } else { end };
        let mut pending = self.flow.video_commit != VideoCommit::LastStep;
        if pending && self.flow.passes == PassPacking::Unpacked {
            work.pass(Stage::Video, PassTokens::Video, commit_time, 0.0)?;
            work.device.kv_commit_predicted(index(chunk), work.transformer.kv(PassTokens::Video), 0..self.n_video)?;
            pending = false;
            if commits_at_end {
                keep_velocity(work.device, &mut self.clean_rows, work.transformer.velocity(PassTokens::Video))?;
            }
        }
        let samples = if let ActionStart::Mean(n) = self.flow.action.start { n } else { 1 };
        self.action_rows.fill(0.0);
        for sample in 0..samples {
            let stream = Stream::Action { sample: u16::try_from(sample).unwrap_or(u16::MAX) };
            self.start(work.device, chunk, stream, given.as_ref().map(|g| g.action.as_slice()))?;
            for (i, (step, constants)) in self.action.steps.iter().enumerate() {
                let rows = if pending { PassTokens::Both } else { PassTokens::Action };
                work.pass(Stage::Action, rows, commit_time, step.tau)?;
                if pending {
                    work.device.kv_commit_predicted(index(chunk), work.transformer.kv(PassTokens::Both), 0..self.n_video)?;
                    pending = false;
                    if commits_at_end {
                        keep_velocity(work.device, &mut self.clean_rows, work.transformer.velocity(PassTokens::Both))?;
                    }
                }
                let velocity = self.action_rows_of(work.transformer.velocity(rows))?;
                work.solve(&self.action, constants, velocity, self.width).map_err(|e| e.at(format!("chunk {chunk}: action step {i}")))?;
                show(work.probe, work.device, chunk, "action.velocity", &[velocity], &[velocity.len() / self.width, self.width])?;
            }
            let noise = &mut self.noise[..self.action_rows.len()];
            work.device.download(self.action.sample, noise)?;
            for (sum, x) in self.action_rows.iter_mut().zip(noise) {
                *sum += *x / samples as f32;
            }
        }
        // x(0) = x(τ) − τ·v on the straight path, since v is noise minus data.
        for (clean, row) in self.clean_rows.iter_mut().zip(&self.video_rows) {
            *clean = row - end as f32 * *clean;
        }
        Ok(&self.action_rows)
    }

    /// Token rows `[Nv, W]` of the last predicted video without noise: the denoising ends at
    /// `flow.video.end`, and from there the velocity of the commit's pass (or of the last step) is
    /// followed to flow time 0. Empty where nobody asked for it. No pass reads them.
    pub(crate) fn imagined(&self) -> &[f32] {
        &self.clean_rows
    }

    /// The action rows of a pass's velocities, which come last.
    fn action_rows_of(&self, velocity: Region) -> Result<Region> {
        let len = self.action.sample.len();
        velocity.part(velocity.len() - len, len)
    }

    /// Writes the start of a stream into its sample: noise in the used channels, zero elsewhere.
    fn start(&mut self, device: &mut dyn Device, chunk: u64, stream: Stream, given: Option<&[f32]>) -> Result<()> {
        let path = if stream == Stream::Video { &self.video } else { &self.action };
        if stream != Stream::Video && self.flow.action.start == ActionStart::Zero {
            return device.fill(path.sample, 0.0);
        }
        let noise = &mut self.noise[..path.sample.len()];
        match given {
            Some(given) => noise.copy_from_slice(given),
            None => standard_normal(self.flow.seed, chunk, stream, noise),
        }
        for row in noise.chunks_exact_mut(self.width) {
            let mut used = path.channels.iter().copied().peekable();
            for (channel, value) in row.iter_mut().enumerate() {
                if used.next_if_eq(&channel).is_none() {
                    *value = 0.0;
                }
            }
        }
        device.upload(path.sample, noise)
    }
}

/// Keeps the velocity of the video rows, which come first, for [`Sampler::imagined`], where that is
/// asked for.
fn keep_velocity(device: &mut dyn Device, rows: &mut [f32], velocity: Region) -> Result<()> {
    if rows.is_empty() { Ok(()) } else { device.download(velocity.part(0, rows.len())?, rows) }
}

/// A chunk's number in the slot tables. 32 bits last for 500 years of chunks.
fn index(chunk: u64) -> u32 {
    u32::try_from(chunk).unwrap_or(u32::MAX)
}
