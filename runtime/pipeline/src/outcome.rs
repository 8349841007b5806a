//! The outcome of a chunk: trajectory, verdict, ages, memory and latencies. Plain data.

use crate::guard::{Cause, Causes, Verdict};
use crate::monitors::MonitorReadings;
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
    /// The times of several calls of `step` in a row lay before those of earlier calls: the clock
    /// was set back.
    ClockSetBack,
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

/// What goes out to the vehicle after a chunk, a fault or a silence.
///
/// The points of `published` are in the ego frame at `anchor_ns`: x forward, y left.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The lane that the newest chunk belongs to.
    pub lane: usize,
    /// Number of the chunk within its rollout; the first with a trajectory is 1.
    pub chunk: u64,
    /// Number of the rollout within its lane, from 0.
    pub rollout: u64,
    /// Capture time of the newest frame that `published` rests on. A held or braking plan has that
    /// of the last accepted plan; `None` before the first one.
    pub t0_ns: Option<i64>,
    /// The time from which the points of `published` start: t0 where accepted, else the time of
    /// publication.
    pub anchor_ns: i64,
    /// Time of publication, on the clock of `step`'s `now_ns`.
    pub published_ns: i64,
    /// Time of the last pose of `published`.
    pub valid_until_ns: i64,
    /// Time between the end of the previous plan and the publication of this one, ms; 0 without a
    /// gap.
    pub uncovered_ms: f64,
    /// The ego's pose at `anchor_ns`, in the frame of the pushed poses; `None` where they do not
    /// reach it.
    pub pose: Option<Pose2>,
    /// Capture time of the newest frame of the chunk that was computed: time 0 of `trajectory`.
    /// `None` where no chunk was complete.
    pub policy_t0_ns: Option<i64>,
    /// The policy's trajectory, in the ego frame at `policy_t0_ns`; NaN where there is none.
    pub trajectory: Trajectory,
    /// The trajectory that the guard publishes: the policy's where accepted.
    pub published: Trajectory,
    /// The guard's verdict.
    pub verdict: Verdict,
    /// Why the verdict is not [`Verdict::Accepted`].
    pub cause: Option<Cause>,
    /// Distance between the ego's pose at t0 and the place where the plan that went out before
    /// leads to then, m; `None` without one.
    pub continuity_error_m: Option<f64>,
    /// The route command at t0, or at the anchor where no chunk was complete.
    pub command: Command,
    /// The text that conditioned the chunk.
    pub guidance: GuidanceStatus,
    /// Ages of the inputs at t0.
    pub ages: Ages,
    /// What the monitors found in the newest chunk.
    pub monitors: MonitorReadings,
    /// What else was found, and did not decide the verdict.
    pub degraded: Causes,
    /// Why this rollout began; only in the first outcome of a rollout that follows another.
    pub restarted: Option<Restart>,
    /// Filled memory slots after the observed commit; zero after a fault before it.
    pub memory: KvCounts,
    /// Latency per stage.
    pub stages: StageTimes,
}

impl Outcome {
    /// The poses of the published trajectory: a view `[N, 3]` of (x m, y m, yaw rad), one row per
    /// step, in the ego frame at `anchor_ns`.
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
