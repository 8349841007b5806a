//! The ride: frames, poses, ego states and commands in, an outcome per chunk out.
//!
//! One thread owns a ride. Time comes in with every call; the ride reads a clock only to measure
//! durations. After [`Plan::warm`](crate::Plan::warm) it does not allocate, compile or bind, except
//! to build an error.

mod access;
mod chunk;
pub(crate) mod options;
mod publish;
pub(crate) mod state;
mod warm;

use crate::guard::{Cause, CauseKind, Causes, Guard};
use crate::ingest::{ClockTick, FrameSlot, Ready};
use crate::outcome::{Outcome, Restart, ms};
use crate::probe::Probe;
use crate::stages::{CHUNK, Stage, StageRun, StageTimes};
use drivewam_core::arena::Region;
use drivewam_core::config::Config;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::manifest::TrainedRanges;
use drivewam_core::pose::Pose2;
use drivewam_core::stamp::check_stamp;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::profiler::ProfilerRange;
use drivewam_device::{Device, SourceCamera, StridedCopy};
use options::RideOptions;
use state::{Buffers, Inputs, Lane, Models};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// The result of [`Ride::step`].
#[derive(Debug)]
pub enum Progress<'a> {
    /// No chunk is complete: frames are missing, or poses and ego states up to the newest frame.
    Waiting,
    /// A chunk was computed.
    Outcome(&'a Outcome),
}

/// A running instance of the policy. See the module's documentation.
#[derive(Debug)]
pub struct Ride {
    config: Config,
    options: RideOptions,
    camera: SourceCamera,
    /// Deviations of the camera from the model's, published with every outcome.
    camera_fit: Causes,
    /// What the policy was trained on; `None` where the manifest does not say.
    trained: Option<TrainedRanges>,
    // Fields are dropped in order: engines before the device that they compute on.
    models: Models,
    device: Box<dyn Device>,
    probe: Option<Box<dyn Probe>>,
    inputs: Inputs,
    plan: Guard,
    buffers: Buffers,
    /// The last outcome; it is overwritten in place.
    outcome: Outcome,
    has_outcome: bool,
    /// Whether the last call was refused and got no answer.
    was_refused: bool,
    /// Time of the last answer to the silence that lasts.
    answered_ns: Option<i64>,
    lanes: Vec<Lane>,
    /// The lane whose plan is in force, where it was accepted.
    accepted_lane: Option<usize>,
    /// Times since the last outcome.
    stages: StageTimes,
    /// The message of the panic that ended the ride.
    lost: Option<String>,
}

impl Ride {
    /// Takes an image of the vehicle's camera, captured at `stamp_ns` and packed as
    /// [`SourceCamera::format`] says. A frame between two expected capture times is ignored.
    ///
    /// # Errors
    /// `Input` for another size than the camera's, a stamp that is not after the newest, or a frame
    /// of the next chunk while the current one waits for poses; the frame is refused and counted,
    /// and nothing else changes. `Device` when the image does not reach the device: the
    /// [`Ride::step`] of its chunk then ends in that fault, and the guard answers. `Internal` when
    /// the ride is lost.
    pub fn push_frame(&mut self, stamp_ns: i64, image: &[u8]) -> Result<()> {
        self.caught(|ride| ride.take_frame(stamp_ns, image)).inspect_err(|_| self.was_refused = true)
    }

    fn take_frame(&mut self, stamp_ns: i64, image: &[u8]) -> Result<()> {
        let start = Instant::now();
        if let Some(panic) = &self.lost {
            return Err(lost(panic).at(format!("frame at {stamp_ns} ns")));
        }
        let wanted = self.camera.pictures().bytes()?;
        if image.len() != wanted {
            self.inputs.refused += 1;
            let SourceCamera { width, height, format, .. } = self.camera;
            return Err(Error::new(ErrorKind::Input, "the image has another size than the camera's")
                .at(format!("frame at {stamp_ns} ns"))
                .got(format!("{} bytes", image.len()))
                .wanted(format!("{wanted} of {width} x {height} {format:?}")));
        }
        let inputs = &mut self.inputs;
        check_stamp(stamp_ns).and_then(|()| inputs.grid.assign(stamp_ns)).inspect_err(|_| inputs.refused += 1)?;
        if let Some(((pose, _), (ego, _))) = inputs.ingest.newest_pose(stamp_ns).zip(inputs.ingest.newest_ego(stamp_ns)) {
            inputs.camera.see_order(image, pose, ego.speed_mps);
        }
        if (0..self.lanes.len()).all(|lane| self.inputs.grid.slot(lane) == FrameSlot::Between) {
            return Ok(());
        }
        let run = StageRun::start_at(Stage::Ingest, start);
        let mut placed: Result<Option<Region>> = Ok(None);
        for lane in 0..self.lanes.len() {
            let Some(slot) = self.begin_frame(lane, stamp_ns) else { continue };
            let before = placed.as_ref().ok().copied().flatten();
            let now = self.place_frame(lane, slot, image, before);
            placed = placed.and(now.inspect_err(|e| self.lanes[lane].frame_fault = Some(e.kind())).map(Some));
        }
        placed?;
        self.inputs.camera.see(stamp_ns, image);
        self.models.guidance.keep_frame(image);
        self.stages.add(run);
        Ok(())
    }

    /// What lane `lane` does with the frame at `stamp_ns`: its index in the lane's chunk,
    /// `Some(None)` for the first of a rollout, and `None` where it is not used.
    #[expect(clippy::option_option, reason = "used or not, and first or not")]
    fn begin_frame(&mut self, lane: usize, stamp_ns: i64) -> Option<Option<usize>> {
        match self.inputs.grid.slot(lane) {
            FrameSlot::Between => None,
            FrameSlot::Frame(i) => Some(Some(i)),
            FrameSlot::First { missed_ns } => {
                // A frame that did not arrive belonged to a chunk that will not be computed.
                let lane = &mut self.lanes[lane];
                lane.frame_fault = None;
                if let Some(expected_ns) = missed_ns {
                    lane.restarted = Some(Restart::MissingFrame { expected_ns, got_ns: stamp_ns });
                }
                Some(None)
            }
        }
    }

    /// Brings a frame to its place in a lane: by a copy of `before`, where another lane has it.
    fn place_frame(&mut self, lane: usize, slot: Option<usize>, image: &[u8], before: Option<Region>) -> Result<Region> {
        let to = self.models.encoder.frame(lane, slot)?;
        match before {
            None => self.device.resample(image, to)?,
            Some(from) => self.device.copy(from, to, StridedCopy::contiguous(to.len()))?,
        }
        Ok(to)
    }

    /// Takes the ego's pose: x and y in metres, yaw in radians, in one continuous frame of the
    /// caller's choice.
    ///
    /// # Errors
    /// `Input` for a pose that is not finite, or a stamp that is not after the newest; the pose is
    /// refused and counted.
    pub fn push_pose(&mut self, stamp_ns: i64, pose: Pose2) -> Result<()> {
        self.inputs.ingest.push_pose(stamp_ns, pose).inspect_err(|_| self.refuse_input())
    }

    /// Takes the ego's motion.
    ///
    /// # Errors
    /// As [`Ride::push_pose`].
    pub fn push_ego(&mut self, stamp_ns: i64, ego: EgoState) -> Result<()> {
        self.inputs.ingest.push_ego(stamp_ns, ego).inspect_err(|_| self.refuse_input())
    }

    /// Takes a route command; it holds until the next one.
    ///
    /// # Errors
    /// `Input` for a stamp that is not after the newest; the command is refused and counted.
    pub fn push_command(&mut self, stamp_ns: i64, command: Command) -> Result<()> {
        self.inputs.ingest.push_command(stamp_ns, command).inspect_err(|_| self.refuse_input())
    }

    /// Computes the next chunk, once its frames are complete and poses and ego states reach its
    /// newest frame. `now_ns` is the time of the call, on the clock of the stamps. With several
    /// lanes it is the chunk of the lane whose newest frame is the oldest; a call computes one.
    ///
    /// In real time, a call also answers when an input stays out for longer than
    /// `guard.max_frame_silence_ms` or `guard.max_pose_silence_ms`, or when the plan in force ended
    /// more than the deadline ago: at once, and then every second. Push all that has
    /// arrived before the call, and call `step` ten times a second.
    ///
    /// In real time, inputs that are stamped more than `ingest.max_ahead_ms` after `now_ns` are
    /// dropped and named. A call whose time lies before that of an earlier one is refused; after
    /// three in a row the clock counts as set back, and the ride begins anew.
    ///
    /// # Errors
    /// `Input` for a gap in poses or ego states, or a time out of range or out of order; `Output`
    /// for numbers that are not finite; `Engine` and `Device` for their faults. [`Ride::outcome`]
    /// then holds the guard's answer. After the error of a chunk its rollout ends, and the next
    /// frame begins a new one; with several lanes the others go on, and the new one begins where
    /// its lane's turn is.
    ///
    /// `Internal` when the computation panicked. The ride is then lost: it does not compute again,
    /// and every later `step` returns this error, with the guard's request for minimal risk in
    /// [`Ride::outcome`]. Warm a new ride to go on.
    pub fn step(&mut self, now_ns: i64) -> Result<Progress<'_>> {
        self.was_refused = false;
        match self.caught(|ride| ride.advance(now_ns)) {
            Ok(true) => Ok(Progress::Outcome(&self.outcome)),
            Ok(false) => Ok(Progress::Waiting),
            Err(error) => Err(error),
        }
    }

    /// [`Ride::step`]. Returns whether there is an outcome.
    fn advance(&mut self, now_ns: i64) -> Result<bool> {
        let now_ns = self.take_time(now_ns)?;
        if let Some(panic) = &self.lost {
            let error = lost(panic).at("step");
            self.refuse_without_chunk(now_ns, Cause::fault(ErrorKind::Internal));
            return Err(error);
        }
        let most_ns = now_ns.saturating_add(i64::from(self.config.ingest.max_ahead_ms) * 1_000_000);
        if self.options.realtime && self.inputs.drop_after(most_ns) {
            self.models.sampler.clear_noise();
            self.lanes.iter_mut().for_each(|lane| lane.frame_fault = None);
        }
        let inputs = &self.inputs;
        let is_due = |ready: &Ready| ready.t0_ns <= now_ns && inputs.ingest.covers(ready.from_ns, ready.t0_ns);
        let Some(ready) = inputs.grid.ready().filter(is_due) else {
            return Ok(self.answer_silence(now_ns));
        };
        self.inputs.grid.take_ready(ready.lane);
        let _range = ProfilerRange::open(CHUNK);
        let start = Instant::now();
        self.begin_outcome(ready);
        // After a panic nothing that the computation may have left half-written is used again:
        // models, device and buffers belong to a lost ride, and the outcome gets the guard's
        // answer.
        let computed = catch_unwind(AssertUnwindSafe(|| self.compute(ready))).unwrap_or_else(|panic| {
            let message = panic_message(panic.as_ref());
            let error = lost(&message).at("step");
            self.lost = Some(message);
            Err(error)
        });
        let latency_ns = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
        self.outcome.published_ns = if self.options.realtime { now_ns.saturating_add(latency_ns) } else { now_ns };
        match computed {
            Ok(ego) => {
                self.judge(ready, ego);
                Ok(true)
            }
            Err(error) => {
                // A fault that the rest of this chunk's work finds is this lane's, not the next's.
                if self.lost.is_none() {
                    drop(self.device.synchronize());
                }
                self.refuse(ready, error.kind());
                self.end_rollout(ready.lane, Restart::Fault(error.kind()));
                Err(error)
            }
        }
    }

    /// The time of a call. A call out of range or out of order is answered at the time of an
    /// earlier one.
    fn take_time(&mut self, now_ns: i64) -> Result<i64> {
        let newest_ns = self.inputs.clock.newest_ns();
        if let Err(error) = check_stamp(now_ns) {
            let by_ms = ms(newest_ns.unwrap_or(0).saturating_sub(now_ns));
            self.refuse_without_chunk(newest_ns.unwrap_or(0), Cause::new(CauseKind::TimeBackwards, by_ms, 0.0));
            return Err(error.at("step"));
        }
        match self.inputs.clock.tick(now_ns) {
            ClockTick::Now(now_ns) => Ok(now_ns),
            ClockTick::Backwards { newest_ns, by_ns } => {
                self.refuse_without_chunk(newest_ns, Cause::new(CauseKind::TimeBackwards, ms(by_ns), 0.0));
                Err(Error::new(ErrorKind::Input, "time runs backwards")
                    .at("step")
                    .got(format!("{now_ns} ns"))
                    .wanted(format!("at least {newest_ns} ns, the time of an earlier call")))
            }
            ClockTick::SetBack => {
                self.begin_anew(Restart::ClockSetBack);
                self.inputs.clock.tick(now_ns);
                Ok(now_ns)
            }
        }
    }

    /// Calls `body`. A panic ends the ride in its safe state.
    fn caught<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(|| body(self))).unwrap_or_else(|panic| {
            let message = panic_message(panic.as_ref());
            let error = lost(&message);
            self.lost = Some(message);
            self.was_refused = true;
            Err(error)
        })
    }

    fn refuse_input(&mut self) {
        self.inputs.refused += 1;
        self.was_refused = true;
    }

    /// Begins anew, as after a jump of the vehicle's clock: forgets stamps, poses, ego states,
    /// commands, the rollout and the plan in force. A lost ride stays lost, and a minimal-risk
    /// manoeuvre stays under way.
    pub fn restart(&mut self) {
        self.begin_anew(Restart::Asked);
    }

    /// Ends a minimal-risk manoeuvre before the car stands: the driver or the vehicle has taken
    /// over, and the next plan may be accepted.
    pub fn release(&mut self) {
        self.plan.release();
        self.inputs.camera.trust();
    }

    /// What goes out after the last call: the outcome of [`Ride::step`], or after its error the
    /// guard's answer to it. `None` before the first one, and after an input that was refused
    /// without an answer; the plan that went out before then stays in force until its
    /// `valid_until_ns`. [`Ride::future`], [`Ride::set_noise`] and [`Ride::set_guidance_model`]
    /// publish nothing, and leave it as it is.
    pub fn outcome(&self) -> Option<&Outcome> {
        (self.has_outcome && !self.was_refused).then_some(&self.outcome)
    }

    fn begin_anew(&mut self, why: Restart) {
        self.inputs.clear();
        self.plan.forget();
        self.accepted_lane = None;
        self.answered_ns = None;
        self.models.guidance.forget();
        self.models.monitors.forget();
        (0..self.lanes.len()).for_each(|lane| self.end_rollout(lane, why));
    }

    fn end_rollout(&mut self, lane: usize, why: Restart) {
        self.inputs.grid.end_rollout(lane);
        self.models.sampler.clear_noise();
        let lane = &mut self.lanes[lane];
        (lane.frame_fault, lane.restarted) = (None, Some(why));
    }
}

fn lost(panic: &str) -> Error {
    Error::new(ErrorKind::Internal, "the computation of a chunk panicked; the ride does not compute again").caused_by(panic.to_owned())
}

/// The message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
