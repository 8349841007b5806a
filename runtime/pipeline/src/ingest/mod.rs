//! The vehicle's inputs: checked when they arrive, and kept by stamp.
//!
//! Frames are assigned to a grid of `image.frame_hz`, anchored at the newest frame of the previous
//! chunk. Poses, ego states and commands are kept for as long as a chunk may need them. A refused
//! input is an `Input` error with the value and the expectation. Nothing here reads a clock. All
//! memory is allocated at the start.

mod clock;
mod grid;
mod motion;
mod track;

pub(crate) use clock::{CallClock, ClockTick};
pub(crate) use grid::{FrameSlot, Grid, Ready};
pub(crate) use track::Track;

use crate::guard::Causes;
use drivewam_core::config::IngestConfig as Settings;
use drivewam_core::dims::{Command, Model};
use drivewam_core::ego::{EgoState, MAX_SPEED_MPS};
use drivewam_core::pose::{Pose2, wrap};
use drivewam_core::stamp::{check_stamp, exceeds_ms, rounded_ms};
use drivewam_core::{Error, ErrorKind, Result};
use motion::MotionDoubts;

/// Capacity for poses: more than a minute at 100 Hz.
const POSES: usize = 8192;
/// Capacity for ego states.
const EGO_STATES: usize = 8192;
/// Capacity for commands.
const COMMANDS: usize = 64;
/// Distance between two poses that noise may add, m.
const POSE_NOISE_M: f64 = 2.0;

/// Poses, ego states and commands, by stamp.
#[derive(Debug)]
pub(crate) struct Ingest {
    settings: Settings,
    chunk_ns: i64,
    pose_period_ns: i64,
    poses: Track<Pose2>,
    ego: Track<EgoState>,
    commands: Track<Command>,
    motion: MotionDoubts,
}

impl Ingest {
    pub(crate) fn new(settings: Settings, model: &Model) -> Self {
        Self {
            settings,
            chunk_ns: model.chunk_ns(),
            pose_period_ns: model.pose_period_ns(),
            poses: Track::new("pose", POSES, Pose2::default()),
            ego: Track::new("ego state", EGO_STATES, EgoState::default()),
            commands: Track::new("command", COMMANDS, Command::Unknown),
            motion: MotionDoubts::default(),
        }
    }

    pub(crate) fn push_pose(&mut self, stamp_ns: i64, pose: Pose2) -> Result<()> {
        check_stamp(stamp_ns)?;
        pose.check_range().map_err(|e| e.at(format!("pose at {stamp_ns} ns")))?;
        if let Some((before_ns, before)) = self.poses.newest() {
            check_speed(stamp_ns, stamp_ns.saturating_sub(before_ns), before.distance_m(&pose))?;
        }
        self.poses.push(stamp_ns, pose)?;
        self.motion.push(stamp_ns, pose, self.newest_ego(stamp_ns).map(|(ego, _)| ego.speed_mps));
        Ok(())
    }

    pub(crate) fn push_ego(&mut self, stamp_ns: i64, ego: EgoState) -> Result<()> {
        check_stamp(stamp_ns)?;
        ego.check_range().map_err(|e| e.at(format!("ego state at {stamp_ns} ns")))?;
        self.ego.push(stamp_ns, ego)
    }

    pub(crate) fn push_command(&mut self, stamp_ns: i64, command: Command) -> Result<()> {
        check_stamp(stamp_ns)?;
        self.commands.push(stamp_ns, command)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.poses.clear();
        self.ego.clear();
        self.commands.clear();
        self.motion = MotionDoubts::default();
    }

    /// Drops everything stamped after `most_ns`. Returns the newest stamp dropped.
    pub(crate) fn drop_after(&mut self, most_ns: i64) -> Option<i64> {
        let (poses, ego) = (self.poses.drop_after(most_ns), self.ego.drop_after(most_ns));
        let newest = poses.max(ego).max(self.commands.drop_after(most_ns));
        if poses.is_some() {
            self.motion.begin_anew();
        }
        newest
    }

    /// The newest stamps of poses and of ego states.
    pub(crate) fn newest_ns(&self) -> [Option<i64>; 2] {
        [self.poses.newest_ns(), self.ego.newest_ns()]
    }

    /// Adds the contradictions since the last call to `causes`.
    pub(crate) fn take_motion_doubts(&mut self, causes: &mut Causes) {
        self.motion.take(causes);
    }

    /// The newest pose at or before `at_ns`, and its age in nanoseconds.
    pub(crate) fn newest_pose(&self, at_ns: i64) -> Option<(Pose2, i64)> {
        self.poses.around(at_ns).0.map(|(ns, pose)| (pose, at_ns - ns))
    }

    /// The newest ego state at or before `at_ns`, however old, and its age in nanoseconds.
    pub(crate) fn newest_ego(&self, at_ns: i64) -> Option<(EgoState, i64)> {
        self.ego.around(at_ns).0.map(|(ns, ego)| (ego, at_ns - ns))
    }

    /// Whether poses and ego states reach far enough for the chunk with t0 `t0_ns`. `from_ns`: t0
    /// of the chunk before it in its rollout.
    pub(crate) fn covers(&self, from_ns: Option<i64>, t0_ns: i64) -> bool {
        let last_ns = from_ns.map_or(t0_ns, |from| t0_ns.max(from + self.chunk_ns));
        let ego = self.ego.newest_ns().is_some_and(|newest| !exceeds_ms(t0_ns - newest, self.settings.max_pose_gap_ms));
        self.poses.newest_ns().is_some_and(|newest| newest >= last_ns) && ego
    }

    /// The pose at `at_ns`, interpolated between its two neighbours; `None` where their distance
    /// exceeds `ingest.max_pose_gap_ms`.
    pub(crate) fn between(&self, at_ns: i64) -> Option<Pose2> {
        match self.poses.around(at_ns) {
            (Some((ns, pose)), _) if ns == at_ns => Some(pose),
            (Some((before_ns, before)), Some((after_ns, after))) if !exceeds_ms(after_ns - before_ns, self.settings.max_pose_gap_ms) => {
                Some(before.interpolate(&after, (at_ns - before_ns) as f64 / (after_ns - before_ns) as f64))
            }
            _ => None,
        }
    }

    /// The pose at `at_ns`, interpolated between its two neighbours.
    ///
    /// # Errors
    /// `Input` for a gap longer than `ingest.max_pose_gap_ms`, or a time that the poses do not
    /// reach.
    pub(crate) fn pose(&self, at_ns: i64) -> Result<Pose2> {
        self.between(at_ns).ok_or_else(|| {
            let show = |entry: Option<(i64, Pose2)>| entry.map_or_else(|| "none".to_owned(), |(ns, _)| format!("{ns} ns"));
            let (before, after) = self.poses.around(at_ns);
            Error::new(ErrorKind::Input, "the poses have a gap")
                .at(format!("{at_ns} ns"))
                .got(format!("neighbours at {} and {}", show(before), show(after)))
                .wanted(format!("at most {} ms between neighbours (ingest.max_pose_gap_ms)", self.settings.max_pose_gap_ms))
        })
    }

    /// The ego's pose, relative to its pose at `at_ns`, and its speed, m/s, for the `past_ns` up to
    /// `at_ns`, every `step_ns`, oldest first. Times without a pose or an ego state are left out.
    pub(crate) fn past(&self, at_ns: i64, past_ns: i64, step_ns: i64) -> impl Iterator<Item = (Pose2, f64)> {
        let here = self.between(at_ns);
        (0..=past_ns / step_ns).rev().filter_map(move |i| {
            let then_ns = at_ns - i * step_ns;
            Some((self.between(then_ns)?.relative_to(&here?), self.newest_ego(then_ns)?.0.speed_mps))
        })
    }

    /// Writes the poses at `from_ns` and at every action step after it into `out`. The yaw is
    /// unwrapped: it continues across ±π without a jump.
    ///
    /// # Errors
    /// As [`Ingest::pose`].
    pub(crate) fn poses(&self, from_ns: i64, out: &mut [Pose2]) -> Result<()> {
        let mut last: Option<f64> = None;
        for (i, slot) in (0i64..).zip(out.iter_mut()) {
            let mut pose = self.pose(from_ns + i * self.pose_period_ns)?;
            if let Some(last) = last {
                pose.yaw_rad = last + wrap(pose.yaw_rad - last);
            }
            last = Some(pose.yaw_rad);
            *slot = pose;
        }
        Ok(())
    }

    /// The newest ego state at or before `at_ns`, and its age in nanoseconds.
    ///
    /// # Errors
    /// `Input` when the newest one is older than `ingest.max_pose_gap_ms`.
    pub(crate) fn ego(&self, at_ns: i64) -> Result<(EgoState, i64)> {
        let found = self.newest_ego(at_ns);
        match found {
            Some((ego, age_ns)) if !exceeds_ms(age_ns, self.settings.max_pose_gap_ms) => Ok((ego, age_ns)),
            _ => Err(Error::new(ErrorKind::Input, "the newest ego state is missing or too old")
                .at(format!("{at_ns} ns"))
                .got(found.map_or_else(|| "none".to_owned(), |(_, age)| format!("one that is {} ms old", rounded_ms(age))))
                .wanted(format!("one at most {} ms old (ingest.max_pose_gap_ms)", self.settings.max_pose_gap_ms))),
        }
    }

    /// The command in force at `at_ns` and its age in nanoseconds; `Unknown`, of age 0, before the
    /// first one.
    pub(crate) fn command(&self, at_ns: i64) -> (Command, i64) {
        self.commands.around(at_ns).0.map_or((Command::Unknown, 0), |(ns, command)| (command, at_ns - ns))
    }
}

/// Refuses a pose that no car can reach: its stamp, or that of the one before, is in another unit
/// or wrong.
fn check_speed(stamp_ns: i64, after_ns: i64, distance_m: f64) -> Result<()> {
    let most_m = POSE_NOISE_M + MAX_SPEED_MPS * after_ns.max(0) as f64 * 1e-9;
    if distance_m <= most_m {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Input, "no car reaches this pose: the stamp is not in nanoseconds, or the pose is wrong")
        .at(format!("pose at {stamp_ns} ns"))
        .got(format!("{distance_m:.1} m within {after_ns} ns"))
        .wanted(format!("at most {MAX_SPEED_MPS} m/s")))
}

#[cfg(test)]
mod tests;
