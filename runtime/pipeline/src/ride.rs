//! The ride: frames, poses, ego states and commands go in; an outcome per chunk comes out.
//!
//! One thread owns a ride. Nothing here reads a clock but to measure how long a stage took: time comes in with every call. After
//! [`Plan::warm`](crate::Plan::warm) a ride neither allocates nor compiles nor rebinds, until an error is made.

mod access;
mod warm;

pub(crate) use warm::Parts;

use crate::codec::{Decoder, Encoder, patchify};
use crate::context::Context;
use crate::guard::{Guard, Reason};
use crate::guidance::bev::Sample;
use crate::guidance::{Guidance, PAST_NS, STEP_NS};
use crate::ingest::{EgoState, Grid, Ingest, Place, Ready, check_stamp};
use crate::memory::Memory;
use crate::plan::RideOptions;
use crate::probe::Probe;
use crate::sampler::{Sampler, Work};
use crate::telemetry::{Ages, Begun, CHUNK, Degraded, Outcome, Restart, Stage, StageTimes};
use crate::transformer::Transformer;
use drivewam_core::action::{ActionRows, Increment, increments};
use drivewam_core::config::Config;
use drivewam_core::dims::Command;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Point;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::profiler::ProfilerRange;
use drivewam_device::{Device, KvCounts, SourceCamera};
use std::time::Instant;

/// What [`Ride::step`] came to.
#[derive(Debug)]
pub enum Progress<'a> {
    /// No chunk is complete: frames, or poses and ego states up to the newest frame, are still to come.
    Waiting,
    /// A chunk was computed.
    Outcome(&'a Outcome),
}

/// A ride under way. See the module's doc.
#[derive(Debug)]
pub struct Ride {
    config: Config,
    options: RideOptions,
    camera: SourceCamera,
    /// What of the camera's fit is published with every outcome.
    fitted: Degraded,
    device: Box<dyn Device>,
    encoder: Encoder,
    context: Context,
    guidance: Guidance,
    transformer: Transformer,
    memory: Memory,
    sampler: Sampler,
    decoder: Option<Decoder>,
    probe: Option<Box<dyn Probe>>,
    ingest: Ingest,
    grid: Grid,
    guard: Guard,
    rows: ActionRows,
    outcome: Outcome,
    has_outcome: bool,
    restarted: Option<Restart>,
    /// A picture of the chunk under way did not reach the device: its place holds another one.
    spoilt: Option<ErrorKind>,
    stages: StageTimes,
    refused: u32,
    /// Where the previous plan ended, in the frame of the poses.
    plan_end: Option<Pose2>,
    plan_end_ns: Option<i64>,
    poses: Vec<Pose2>,
    increments: Vec<Increment>,
    video: Vec<f32>,
    action: Vec<f32>,
    latent: Vec<f32>,
}

impl Ride {
    /// A picture of the vehicle's camera, packed as [`SourceCamera::format`] says, captured at `stamp_ns`. Frames off the model's grid are left out.
    ///
    /// # Errors
    /// `Input`: another size than the camera's; a stamp that does not come after the newest; a frame for a chunk whose predecessor still waits for
    /// poses. The frame is then refused and counted, and nothing else changes. `Device` when the picture does not reach the device: the chunk that it
    /// belongs to ends in that fault at its [`Ride::step`], where the guard answers.
    pub fn push_frame(&mut self, stamp_ns: i64, picture: &[u8]) -> Result<()> {
        let from = Instant::now();
        let wanted = self.camera.pictures().bytes()?;
        if picture.len() != wanted {
            self.refused += 1;
            let SourceCamera { width, height, format, .. } = self.camera;
            return Err(Error::new(ErrorKind::Input, "a picture of another size than the camera's")
                .at(format!("frame at {stamp_ns} ns"))
                .got(format!("{} bytes", picture.len()))
                .wanted(format!("{wanted} of {width} x {height} {format:?}")));
        }
        let place = check_stamp(stamp_ns).and_then(|()| self.grid.place(stamp_ns)).inspect_err(|_| self.refused += 1)?;
        let slot = match place {
            Place::Between => return Ok(()),
            Place::Slot(slot) => Some(slot),
            Place::First { missed_ns } => {
                // What did not arrive belonged to a chunk that will not be computed.
                self.spoilt = None;
                if let Some(expected_ns) = missed_ns {
                    self.restarted = Some(Restart::MissingFrame { expected_ns, got_ns: stamp_ns });
                }
                None
            }
        };
        let run = Begun::since(Stage::Ingest, from);
        let fitted = self.encoder.frame(slot).and_then(|to| self.device.resample(picture, to));
        fitted.inspect_err(|e| self.spoilt = Some(e.kind()))?;
        self.guidance.frame(picture);
        self.stages.add(run);
        Ok(())
    }

    /// The ego's pose: x and y in metres, yaw in radians, in one continuous frame of the caller's.
    ///
    /// # Errors
    /// `Input`: not finite, or a stamp that does not come after the newest. It is then refused and counted.
    pub fn push_pose(&mut self, stamp_ns: i64, pose: Pose2) -> Result<()> {
        self.ingest.push_pose(stamp_ns, pose).inspect_err(|_| self.refused += 1)
    }

    /// The ego's motion.
    ///
    /// # Errors
    /// As [`Ride::push_pose`].
    pub fn push_ego(&mut self, stamp_ns: i64, ego: EgoState) -> Result<()> {
        self.ingest.push_ego(stamp_ns, ego).inspect_err(|_| self.refused += 1)
    }

    /// A route command; it holds until the next.
    ///
    /// # Errors
    /// `Input` for a stamp that does not come after the newest. It is then refused and counted.
    pub fn push_command(&mut self, stamp_ns: i64, command: Command) -> Result<()> {
        self.ingest.push_command(stamp_ns, command).inspect_err(|_| self.refused += 1)
    }

    /// Computes the chunk whose frames are complete, if there is one and the poses and ego states reach it. `now_ns` is the time of the call, on
    /// the clock of the stamps. In real time, an outcome of reason `expired` comes instead when the previous plan has ended for longer than the
    /// deadline and there is nothing to compute; call `step` at least as often as that must be known.
    ///
    /// # Errors
    /// `Input` for a hole in poses or ego states, or a time out of range; `Output` for numbers that are not finite, `Engine` and `Device` for their
    /// faults. The rollout then ends, [`Ride::outcome`] holds the guard's answer, and the next frame begins a new rollout.
    pub fn step(&mut self, now_ns: i64) -> Result<Progress<'_>> {
        check_stamp(now_ns).map_err(|e| e.at("step"))?;
        let Some(ready) = self.grid.ready().filter(|ready| self.ingest.covers(ready.from_ns, ready.t0_ns)) else {
            return Ok(if self.expire(now_ns) { Progress::Outcome(&self.outcome) } else { Progress::Waiting });
        };
        self.grid.taken();
        let _shown = ProfilerRange::open(CHUNK);
        let begun = Instant::now();
        self.enter(ready);
        let done = self.chunk(ready);
        let latency_ns = i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX);
        self.outcome.published_ns = if self.options.realtime { now_ns.saturating_add(latency_ns) } else { now_ns };
        let run = Begun::now(Stage::Guard);
        match done {
            Ok(ego) => {
                self.judge(ready, ego.speed_mps);
                self.settle(ready.jitter_ns, run);
                Ok(Progress::Outcome(&self.outcome))
            }
            Err(error) => {
                let speed_mps = self.ingest.newest_ego(ready.t0_ns).map(|(ego, _)| ego.speed_mps);
                self.refuse(Reason::Fault(error.kind()), speed_mps);
                self.settle(ready.jitter_ns, run);
                self.end_rollout(Restart::Fault(error.kind()));
                Err(error)
            }
        }
    }

    /// Begins anew, as after a jump of the vehicle's clock: forgets stamps, poses, ego states, commands, the rollout, and what went out last.
    pub fn restart(&mut self) {
        self.ingest.clear();
        self.guard.forget();
        self.grid = Grid::new(&self.config.model, self.config.ingest.frame_tolerance_ms);
        (self.plan_end, self.plan_end_ns) = (None, None);
        self.guidance.forget();
        self.end_rollout(Restart::Asked);
    }

    /// The last outcome; after an error of [`Ride::step`] the guard's answer to it.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.has_outcome.then_some(&self.outcome)
    }

    /// What is known of a chunk before anything of it can fail.
    fn enter(&mut self, ready: Ready) {
        let begins = ready.from_ns.is_none();
        let outcome = &mut self.outcome;
        outcome.rollout += u64::from(begins && self.has_outcome);
        self.has_outcome = true;
        outcome.chunk = if begins { 1 } else { outcome.chunk + 1 };
        outcome.t0_ns = ready.t0_ns;
        outcome.valid_until_ns = ready.t0_ns + self.config.model.chunk_ns();
        outcome.pose = None;
        outcome.ages = Ages::default();
        outcome.continuity_m = None;
        outcome.memory = KvCounts::default();
        outcome.restarted = self.restarted.take();
        outcome.trajectory.points_mut().fill(NO_POINT);
    }

    /// From frames to a trajectory. Returns the ego state that conditioned it.
    fn chunk(&mut self, ready: Ready) -> Result<EgoState> {
        let (chunk, begins, device) = (self.outcome.chunk, ready.from_ns.is_none(), self.device.as_mut());
        if let Some(kind) = self.spoilt {
            return Err(Error::new(kind, "a picture of this chunk did not reach the device").at("frames"));
        }
        if begins {
            device.kv_clear()?;
        }
        let (ego, ego_age_ns) = self.ingest.ego(ready.t0_ns)?;
        let (command, command_age_ns) = self.ingest.command(ready.t0_ns);
        self.outcome.command = command;
        self.outcome.pose = Some(self.ingest.pose(ready.t0_ns)?);
        let pose_age_ns = self.ingest.newest_pose(ready.t0_ns).map_or(0, |(_, age)| age);
        self.outcome.ages = Ages { ego_ms: ms(ego_age_ns), pose_ms: ms(pose_age_ns), command_ms: ms(command_age_ns) };

        // The past as the ride knows it; where it knows none, the plot is empty.
        let ingest = &self.ingest;
        self.guidance.ask(
            ready.t0_ns,
            command,
            ingest.past(ready.t0_ns, PAST_NS, STEP_NS).map(|(pose, speed_mps)| Sample { pose, speed_mps }),
        );

        let run = Begun::now(Stage::Encode);
        let latent = if begins { self.encoder.encode_first(device)? } else { self.encoder.encode(device)? };
        patchify(&self.config.model, latent, &mut self.video);
        self.stages.add(run);
        match ready.from_ns {
            None => self.rows.physical_zero(&mut self.action)?,
            Some(from_ns) => {
                self.ingest.poses(from_ns, &mut self.poses)?;
                if let Some((start, rest)) = self.poses.split_first() {
                    increments(start, rest, &mut self.increments)?;
                }
                self.rows.observe(&self.increments, &mut self.action)?;
            }
        }
        if begins {
            // Chunk 0 is committed with what chunk 1 reads: there was nothing before.
            let run = Begun::now(Stage::Context);
            let words = self.guidance.hear(ready.t0_ns, &mut self.outcome.guidance);
            self.context.set(device, command, words, ego)?;
            self.stages.add(run);
        }
        let (memory, transformer) = (&mut self.memory, &mut self.transformer);
        let mut work = Work { device, transformer, memory, times: &mut self.stages, probe: &mut self.probe };
        self.sampler.observe(&mut work, chunk - 1, &self.video, &self.action)?;
        self.outcome.memory = work.device.kv_counts();
        if !begins {
            let run = Begun::now(Stage::Context);
            let words = self.guidance.hear(ready.t0_ns, &mut self.outcome.guidance);
            self.context.set(work.device, command, words, ego)?;
            work.times.add(run);
        }
        let rows = self.sampler.predict(&mut work, chunk)?;
        let run = Begun::now(Stage::Decode);
        self.rows.decode(rows, &mut self.increments)?;
        self.outcome.trajectory.set_increments(&self.increments)?;
        self.stages.add(run);
        Ok(ego)
    }

    /// The guard's verdict on a plan.
    fn judge(&mut self, ready: Ready, speed_mps: f64) {
        let outcome = &mut self.outcome;
        outcome.continuity_m = self.plan_end.zip(outcome.pose).map(|(end, pose)| end.distance_m(&pose));
        let judged_m = outcome.continuity_m.filter(|_| self.options.closed_loop && ready.from_ns.is_some());
        let late_ms = self.options.realtime.then(|| ms(outcome.published_ns - outcome.valid_until_ns));
        (outcome.verdict, outcome.reason) = self.guard.judge(&outcome.trajectory, speed_mps, judged_m, late_ms, &mut outcome.published);
    }

    /// The guard's answer where there is no plan.
    fn refuse(&mut self, reason: Reason, speed_mps: Option<f64>) {
        let outcome = &mut self.outcome;
        (outcome.verdict, outcome.reason) = self.guard.refuse(reason, speed_mps, &mut outcome.published);
    }

    /// In real time, once the previous plan has ended for longer than the deadline: an outcome that says so, from where the car was last seen.
    fn expire(&mut self, now_ns: i64) -> bool {
        let patience_ns = i64::from(self.config.guard.deadline_ms) * 1_000_000;
        if !self.options.realtime || self.plan_end_ns.is_none_or(|end| now_ns <= end + patience_ns) {
            return false;
        }
        let run = Begun::now(Stage::Guard);
        let (ego, pose) = (self.ingest.newest_ego(now_ns), self.ingest.newest_pose(now_ns));
        let age_ms = |age_ns: Option<i64>| ms(age_ns.unwrap_or(0));
        let outcome = &mut self.outcome;
        (outcome.t0_ns, outcome.published_ns, outcome.valid_until_ns) = (now_ns, now_ns, now_ns + self.config.model.chunk_ns());
        (outcome.pose, outcome.continuity_m, outcome.restarted) = (pose.map(|(pose, _)| pose), None, None);
        outcome.ages = Ages {
            ego_ms: age_ms(ego.map(|(_, age)| age)),
            pose_ms: age_ms(pose.map(|(_, age)| age)),
            command_ms: ms(self.ingest.command(now_ns).1),
        };
        outcome.trajectory.points_mut().fill(NO_POINT);
        self.refuse(Reason::Expired, ego.map(|(ego, _)| ego.speed_mps));
        self.settle(0, run);
        true
    }

    fn settle(&mut self, jitter_ns: i64, guarding: Begun) {
        let outcome = &mut self.outcome;
        outcome.uncovered_ms = self.plan_end_ns.map_or(0.0, |end| ms((outcome.published_ns - end).max(0)));
        let late_ms = ms(outcome.published_ns - outcome.t0_ns) - f64::from(self.config.guard.deadline_ms);
        outcome.degraded = Degraded {
            frame_jitter_ms: ms(jitter_ns),
            refused_inputs: std::mem::take(&mut self.refused),
            late_ms: (self.options.realtime && late_ms > 0.0).then_some(late_ms),
            ..self.fitted
        };
        self.plan_end_ns = Some(outcome.valid_until_ns);
        self.plan_end = outcome.pose.zip(outcome.published.points().last()).map(|(pose, last)| pose.compose(&last.pose()));
        self.stages.add(guarding);
        outcome.stages = std::mem::take(&mut self.stages);
    }

    fn end_rollout(&mut self, why: Restart) {
        self.grid.end_rollout();
        self.sampler.drop_noise();
        self.restarted = Some(why);
        self.spoilt = None;
    }
}

/// A point of a plan that does not exist.
const NO_POINT: Point = Point { x_m: f64::NAN, y_m: f64::NAN, yaw_rad: f64::NAN, v_mps: f64::NAN };

fn ms(ns: i64) -> f64 {
    ns as f64 * 1e-6
}
