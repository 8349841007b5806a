//! The outcome of a chunk: trajectory, verdict, ages, memory and latencies. Plain data.

use crate::guard::{Reason, Verdict};
use crate::stages::StageTimes;
use drivewam_core::ErrorKind;
use drivewam_core::dims::Command;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_device::KvCounts;
use drivewam_guidance::status::GuidanceStatus;
use ndarray::{ArrayView2, Axis};

/// Why a new rollout began: the memory and the encoder's cache were cleared, and the current frame
/// became chunk 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Restart {
    /// No frame arrived within the tolerance of an expected capture time.
    MissingFrame {
        /// The expected capture time.
        expected_ns: i64,
        /// Capture time of the frame that arrived instead.
        got_ns: i64,
    },
    /// An error of this kind ended the previous chunk; its step returned the error.
    Fault(ErrorKind),
    /// [`Ride::restart`](crate::Ride::restart) was called.
    Asked,
}

/// Ages at t0 of the inputs of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ages {
    /// Age of the ego state, ms.
    pub ego_ms: f64,
    /// Age of the last pose at or before t0, ms.
    pub pose_ms: f64,
    /// Time since the stamp of the route command, ms.
    pub command_ms: f64,
}

/// Deviations that were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Degraded {
    /// Relative difference between the camera's and the model's field of view, the larger of both
    /// axes; `None` within the tolerance.
    pub fov: Option<f64>,
    /// Share of the model's image that the camera does not cover (`fit: reproject`); `None` for
    /// zero.
    pub uncovered_picture: Option<f64>,
    /// Largest difference between a frame's capture time and its expected one, ms; 0 up to
    /// `ingest.max_frame_jitter_ms`.
    pub frame_jitter_ms: f64,
    /// Inputs (frames, poses, ego states, commands) refused since the previous outcome.
    pub refused_inputs: u32,
    /// Time after the deadline, ms; only in real time, `None` within the deadline.
    pub late_ms: Option<f64>,
}

/// The outcome of a chunk. The trajectories are in the ego frame at t0: x forward, y left.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Number of the chunk within its rollout; the first with a trajectory is 1.
    pub chunk: u64,
    /// Number of the rollout within the ride, from 0.
    pub rollout: u64,
    /// Capture time of the newest frame: time 0 of the trajectory.
    pub t0_ns: i64,
    /// Time of publication, on the clock of `step`'s `now_ns`.
    pub published_ns: i64,
    /// Time of the trajectory's last pose.
    pub valid_until_ns: i64,
    /// Time between the end of the previous plan and the publication of this one, ms; 0 without a
    /// gap.
    pub uncovered_ms: f64,
    /// The ego's pose at t0, in the frame of the pushed poses; `None` where the poses failed.
    pub pose: Option<Pose2>,
    /// The policy's trajectory; NaN where there is none.
    pub trajectory: Trajectory,
    /// The trajectory that the guard publishes: the policy's where accepted.
    pub published: Trajectory,
    /// The guard's verdict.
    pub verdict: Verdict,
    /// Why the verdict is not [`Verdict::Accepted`].
    pub reason: Option<Reason>,
    /// Distance between the end of the previous plan and the ego's pose, m; `None` without a
    /// previous plan.
    pub continuity_m: Option<f64>,
    /// The route command at t0.
    pub command: Command,
    /// The text that conditioned the chunk.
    pub guidance: GuidanceStatus,
    /// Ages of the inputs at t0.
    pub ages: Ages,
    /// Deviations that were accepted.
    pub degraded: Degraded,
    /// Why this rollout began; only in the first outcome of a rollout that follows another.
    pub restarted: Option<Restart>,
    /// Filled memory slots after the observed commit; zero after a fault before it.
    pub memory: KvCounts,
    /// Latency per stage.
    pub stages: StageTimes,
}

impl Outcome {
    /// The poses of the published trajectory: a view `[N, 3]` of (x m, y m, yaw rad), one row per
    /// step, in the ego frame at t0.
    pub fn published_poses(&self) -> ArrayView2<'_, f64> {
        poses(&self.published)
    }

    /// The poses of the policy's trajectory, as [`Outcome::published_poses`]; NaN where there is
    /// none.
    pub fn trajectory_poses(&self) -> ArrayView2<'_, f64> {
        poses(&self.trajectory)
    }
}

fn poses(trajectory: &Trajectory) -> ArrayView2<'_, f64> {
    // A point is x, y, yaw and speed.
    let values: &[[f64; 4]] = bytemuck::cast_slice(trajectory.points());
    ArrayView2::from(values).split_at(Axis(1), 3).0
}

/// Nanoseconds in milliseconds.
pub(crate) fn ms(ns: i64) -> f64 {
    ns as f64 * 1e-6
}
