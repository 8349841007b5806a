//! Poses over time. Between two poses the car moves straight and turns evenly.

use drivewam_core::pose::Pose2;
use drivewam_core::{Error, ErrorKind, Result};

/// Poses in one continuous frame of reference; stamps strictly increase.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoseTrack {
    poses: Vec<(i64, Pose2)>,
}

impl PoseTrack {
    /// A track of poses. The caller has checked that their stamps increase.
    pub(crate) fn new(poses: Vec<(i64, Pose2)>) -> Self {
        Self { poses }
    }

    /// Appends a pose.
    ///
    /// # Errors
    /// `Input`, with both stamps, if the pose is not later than the last.
    pub fn push(&mut self, stamp_ns: i64, pose: Pose2) -> Result<()> {
        if let Some(last) = self.last_ns()
            && stamp_ns <= last
        {
            return Err(Error::new(ErrorKind::Input, "the stamp does not increase").got(stamp_ns).wanted(format!("above {last}")));
        }
        self.poses.push((stamp_ns, pose));
        Ok(())
    }

    /// The poses with their stamps.
    pub fn as_slice(&self) -> &[(i64, Pose2)] {
        &self.poses
    }

    /// The number of poses.
    pub fn len(&self) -> usize {
        self.poses.len()
    }

    /// Whether there is no pose.
    pub fn is_empty(&self) -> bool {
        self.poses.is_empty()
    }

    /// The first stamp.
    pub fn first_ns(&self) -> Option<i64> {
        self.poses.first().map(|p| p.0)
    }

    /// The last stamp.
    pub fn last_ns(&self) -> Option<i64> {
        self.poses.last().map(|p| p.0)
    }

    /// The pose at `stamp_ns`, interpolated; `None` before the first pose and after the last.
    pub fn at(&self, stamp_ns: i64) -> Option<Pose2> {
        let after = self.poses.partition_point(|p| p.0 < stamp_ns);
        let &(later_ns, later) = self.poses.get(after)?;
        if later_ns == stamp_ns {
            return Some(later);
        }
        let &(earlier_ns, earlier) = self.poses.get(after.checked_sub(1)?)?;
        let share = (stamp_ns - earlier_ns) as f64 / (later_ns - earlier_ns) as f64;
        Some(earlier.interpolate(&later, share))
    }

    /// The driven path from `t0_ns` on: `count` poses, one each `period_ns`, the first one period
    /// after t0, in the frame of the car at t0. `None` unless all of them are known.
    pub fn driven_from(&self, t0_ns: i64, period_ns: i64, count: usize) -> Option<Vec<Pose2>> {
        let origin = self.at(t0_ns)?;
        (1..=count as i64).map(|i| self.at(t0_ns.checked_add(i.checked_mul(period_ns)?)?).map(|p| p.relative_to(&origin))).collect()
    }
}
