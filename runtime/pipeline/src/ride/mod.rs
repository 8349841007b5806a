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

use crate::guard::Reason;
use crate::ingest::FrameSlot;
use crate::outcome::{Degraded, Outcome, Restart};
use crate::probe::Probe;
use crate::stages::{CHUNK, Stage, StageRun, StageTimes};
use drivewam_core::config::Config;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_core::stamp::check_stamp;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::profiler::ProfilerRange;
use drivewam_device::{Device, SourceCamera};
use options::RideOptions;
use state::{Buffers, Inputs, Models, PlanState};
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
    camera_fit: Degraded,
    device: Box<dyn Device>,
    models: Models,
    probe: Option<Box<dyn Probe>>,
    inputs: Inputs,
    plan: PlanState,
    buffers: Buffers,
    /// The last outcome; it is overwritten in place.
    outcome: Outcome,
    has_outcome: bool,
    /// Why the current rollout began, until an outcome reports it.
    restarted: Option<Restart>,
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
        let slot = check_stamp(stamp_ns).and_then(|()| inputs.grid.assign(stamp_ns)).inspect_err(|_| inputs.refused += 1)?;
        let frame = match slot {
            FrameSlot::Between => return Ok(()),
            FrameSlot::Frame(i) => Some(i),
            FrameSlot::First { missed_ns } => {
                // A frame that did not arrive belonged to a chunk that will not be computed.
                inputs.frame_fault = None;
                if let Some(expected_ns) = missed_ns {
                    self.restarted = Some(Restart::MissingFrame { expected_ns, got_ns: stamp_ns });
                }
                None
            }
        };
        let run = StageRun::start_at(Stage::Ingest, start);
        let resampled = self.models.encoder.frame(frame).and_then(|to| self.device.resample(image, to));
        resampled.inspect_err(|e| inputs.frame_fault = Some(e.kind()))?;
        self.models.guidance.keep_frame(image);
        self.stages.add(run);
        Ok(())
    }

    /// Takes the ego's pose: x and y in metres, yaw in radians, in one continuous frame of the
    /// caller's choice.
    ///
    /// # Errors
    /// `Input` for a pose that is not finite, or a stamp that is not after the newest; the pose is
    /// refused and counted.
    pub fn push_pose(&mut self, stamp_ns: i64, pose: Pose2) -> Result<()> {
        let inputs = &mut self.inputs;
        inputs.ingest.push_pose(stamp_ns, pose).inspect_err(|_| inputs.refused += 1)
    }

    /// Takes the ego's motion.
    ///
    /// # Errors
    /// As [`Ride::push_pose`].
    pub fn push_ego(&mut self, stamp_ns: i64, ego: EgoState) -> Result<()> {
        let inputs = &mut self.inputs;
        inputs.ingest.push_ego(stamp_ns, ego).inspect_err(|_| inputs.refused += 1)
    }

    /// Takes a route command; it holds until the next one.
    ///
    /// # Errors
    /// `Input` for a stamp that is not after the newest; the command is refused and counted.
    pub fn push_command(&mut self, stamp_ns: i64, command: Command) -> Result<()> {
        let inputs = &mut self.inputs;
        inputs.ingest.push_command(stamp_ns, command).inspect_err(|_| inputs.refused += 1)
    }

    /// Computes the next chunk, once its frames are complete and poses and ego states reach its
    /// newest frame. `now_ns` is the time of the call, on the clock of the stamps.
    ///
    /// In real time, an outcome of reason `expired` comes when there is nothing to compute and the
    /// previous plan ended more than the deadline ago; call `step` often enough for that.
    ///
    /// # Errors
    /// `Input` for a gap in poses or ego states, or a time out of range; `Output` for numbers that
    /// are not finite; `Engine` and `Device` for their faults. The rollout then ends,
    /// [`Ride::outcome`] holds the guard's answer, and the next frame begins a new rollout.
    ///
    /// `Internal` when the computation panicked. The ride is then lost: it does not compute again,
    /// and every later `step` returns this error, with the guard's request for minimal risk in
    /// [`Ride::outcome`]. Warm a new ride to go on.
    pub fn step(&mut self, now_ns: i64) -> Result<Progress<'_>> {
        check_stamp(now_ns).map_err(|e| e.at("step"))?;
        if let Some(panic) = &self.lost {
            let error = lost(panic).at("step");
            self.publish_lost(now_ns);
            return Err(error);
        }
        let inputs = &self.inputs;
        let Some(ready) = inputs.grid.ready().filter(|ready| inputs.ingest.covers(ready.from_ns, ready.t0_ns)) else {
            return Ok(if self.publish_expired(now_ns) { Progress::Outcome(&self.outcome) } else { Progress::Waiting });
        };
        self.inputs.grid.take_ready();
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
        let run = StageRun::start(Stage::Guard);
        match computed {
            Ok(ego) => {
                self.judge(ready, ego.speed_mps);
                self.publish(ready.jitter_ns, run);
                Ok(Progress::Outcome(&self.outcome))
            }
            Err(error) => {
                let speed_mps = self.inputs.ingest.newest_ego(ready.t0_ns).map(|(ego, _)| ego.speed_mps);
                self.refuse(Reason::Fault(error.kind()), speed_mps);
                self.publish(ready.jitter_ns, run);
                self.end_rollout(Restart::Fault(error.kind()));
                Err(error)
            }
        }
    }

    /// Begins anew, as after a jump of the vehicle's clock: forgets stamps, poses, ego states,
    /// commands, the rollout and the published plan. A lost ride stays lost.
    pub fn restart(&mut self) {
        self.inputs.clear(&self.config);
        self.plan.clear();
        self.models.guidance.forget();
        self.end_rollout(Restart::Asked);
    }

    /// The last outcome; after an error of [`Ride::step`] the guard's answer to it.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.has_outcome.then_some(&self.outcome)
    }

    fn end_rollout(&mut self, why: Restart) {
        self.inputs.grid.end_rollout();
        self.inputs.frame_fault = None;
        self.models.sampler.drop_noise();
        self.restarted = Some(why);
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
