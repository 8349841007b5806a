//! Whether poses and ego states tell the same motion.
//!
//! A [`MotionCheck`] reads the poses of a drive in order of stamp, each with the speed that the
//! vehicle measured, and finds contradictions: a car that jumps, stands while its speed is not
//! zero, covers another distance than its speed says, or moves across its heading. Swapped axes, a
//! yaw in degrees, a speed in km/h and stamps in another unit all end in one of them.
//!
//! The tolerance between the implied and the measured speed is that of Autoware's input checks:
//! 0.5 m/s + 10 %.

use crate::pose::{Pose2, wrap};

/// Poses are compared over at least this time, so that their noise does not count, ns.
const STRIDE_NS: i64 = 250_000_000;
/// Speeds and headings are judged over at least this time, ns.
const SEGMENT_NS: i64 = 1_000_000_000;
/// A longer time between two poses ends a segment, ns.
const LONGEST_GAP_NS: i64 = 1_000_000_000;
/// Tolerance between the implied and the measured speed, m/s, and as a share of the measured one.
const SPEED_TOLERANCE: (f64, f64) = (0.5, 0.1);
/// Distance by which a pose may miss the place that the motion before it leads to, m.
const JUMP_M: f64 = 1.0;
/// Turn that counts as noise, rad, and the fastest turn of a car, rad/s.
const TURN: (f64, f64) = (0.15, 2.0);
/// Distance over which a direction of motion is known, m.
const DIRECTION_M: f64 = 1.0;
/// Largest angle between heading and motion, rad: about 29°.
const HEADING_RAD: f64 = 0.5;
/// Distance that counts as none within a segment, m.
const STILL_M: f64 = 0.01;

/// What two inputs say differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MotionConflict {
    /// A pose lies far from where the motion before it leads, m.
    PoseJump,
    /// The yaw turns faster than a car, rad/s.
    YawJump,
    /// The poses stand still while the speed is not zero; the value is the speed, m/s.
    PosesFrozen,
    /// The poses cover another distance than the speed says; the value is the implied speed, m/s.
    SpeedMismatch,
    /// The car moves in another direction than it heads, rad.
    HeadingMismatch,
}

impl MotionConflict {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::PoseJump, Self::YawJump, Self::PosesFrozen, Self::SpeedMismatch, Self::HeadingMismatch];

    /// The name that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PoseJump => "pose_jump",
            Self::YawJump => "yaw_jump",
            Self::PosesFrozen => "poses_frozen",
            Self::SpeedMismatch => "speed_mismatch",
            Self::HeadingMismatch => "heading_mismatch",
        }
    }

    /// The unit of the value and of the limit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::PoseJump => "m",
            Self::YawJump => "rad/s",
            Self::PosesFrozen | Self::SpeedMismatch => "m/s",
            Self::HeadingMismatch => "rad",
        }
    }
}

/// A conflict, where it was found, and its figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundConflict {
    /// Its kind.
    pub kind: MotionConflict,
    /// Stamp of the pose that completed it.
    pub stamp_ns: i64,
    /// What the poses say.
    pub value: f64,
    /// The end of the tolerance that the value lies beyond.
    pub limit: f64,
}

/// A pose with its stamp and the speed measured there.
#[derive(Debug, Clone, Copy)]
struct Sample {
    stamp_ns: i64,
    pose: Pose2,
    speed_mps: f64,
}

impl Sample {
    fn seconds_since(&self, other: &Self) -> f64 {
        (self.stamp_ns - other.stamp_ns) as f64 * 1e-9
    }
}

/// What was covered since `from`.
#[derive(Debug, Clone, Copy)]
struct Segment {
    from: Sample,
    /// The end of the last stride.
    stride: Sample,
    /// By the poses, m.
    covered_m: f64,
    /// By the speed, m.
    expected_m: f64,
}

impl Segment {
    fn begin(from: Sample) -> Self {
        Self { from, stride: from, covered_m: 0.0, expected_m: 0.0 }
    }
}

/// Reads a drive pose by pose. It holds no memory beyond its own size.
#[derive(Debug, Clone, Default)]
pub struct MotionCheck {
    last: Option<Sample>,
    /// The speed between the last two poses, m/s.
    implied_mps: Option<f64>,
    segment: Option<Segment>,
}

impl MotionCheck {
    /// Reads the next pose. `speed_mps`: the newest speed measured at or before it; without one
    /// only jumps are looked for. Calls `found` for each conflict that the pose completes.
    pub fn push(&mut self, stamp_ns: i64, pose: Pose2, speed_mps: Option<f64>, mut found: impl FnMut(FoundConflict)) {
        let now = Sample { stamp_ns, pose, speed_mps: speed_mps.unwrap_or(f64::NAN) };
        let last = self.last.replace(now).filter(|last| (1..=LONGEST_GAP_NS).contains(&(stamp_ns - last.stamp_ns)));
        let Some(last) = last else {
            (self.implied_mps, self.segment) = (None, speed_mps.map(|_| Segment::begin(now)));
            return;
        };
        let mut tell = |kind, value, limit| found(FoundConflict { kind, stamp_ns, value, limit });
        let (seconds, step_m) = (now.seconds_since(&last), last.pose.distance_m(&pose));
        let expected_mps = self.implied_mps.map(|implied| implied.max(last.speed_mps.abs()).max(now.speed_mps.abs()));
        let reach_m = expected_mps.map(|mps| JUMP_M + (1.0 + SPEED_TOLERANCE.1) * mps * seconds);
        if let Some(limit) = reach_m.filter(|limit| step_m > *limit) {
            tell(MotionConflict::PoseJump, step_m, limit);
            // The place after a jump says nothing of the motion before it.
            (self.implied_mps, self.segment) = (None, None);
            return;
        }
        self.implied_mps = Some(step_m / seconds);
        let turn = wrap(pose.yaw_rad - last.pose.yaw_rad).abs();
        if turn > TURN.0 + TURN.1 * seconds {
            tell(MotionConflict::YawJump, turn / seconds, TURN.1 + TURN.0 / seconds);
        }
        let Some(segment) = self.segment.as_mut().filter(|_| speed_mps.is_some()) else {
            self.segment = speed_mps.map(|_| Segment::begin(now));
            return;
        };
        segment.expected_m += 0.5 * (last.speed_mps.abs() + now.speed_mps.abs()) * seconds;
        if stamp_ns - segment.stride.stamp_ns < STRIDE_NS {
            return;
        }
        segment.covered_m += segment.stride.pose.distance_m(&pose);
        segment.stride = now;
        if stamp_ns - segment.from.stamp_ns >= SEGMENT_NS {
            judge(segment, &now, tell);
            *segment = Segment::begin(now);
        }
    }

    /// Forgets the drive so far.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Compares speed and heading of a whole segment.
fn judge(segment: &Segment, now: &Sample, mut tell: impl FnMut(MotionConflict, f64, f64)) {
    let seconds = now.seconds_since(&segment.from);
    let (implied, measured) = (segment.covered_m / seconds, segment.expected_m / seconds);
    let tolerance = SPEED_TOLERANCE.0 + SPEED_TOLERANCE.1 * measured;
    if (implied - measured).abs() > tolerance {
        if segment.covered_m < STILL_M {
            tell(MotionConflict::PosesFrozen, measured, SPEED_TOLERANCE.0);
        } else {
            tell(MotionConflict::SpeedMismatch, implied, measured + tolerance.copysign(implied - measured));
        }
    }
    let moved = now.pose.relative_to(&segment.from.pose);
    if moved.x_m.hypot(moved.y_m) < DIRECTION_M {
        return;
    }
    // On an arc the chord points half the turn away from the heading at its begin.
    let forward = if segment.from.speed_mps + now.speed_mps < 0.0 { -1.0 } else { 1.0 };
    let angle = wrap(libm::atan2(forward * moved.y_m, forward * moved.x_m) - 0.5 * moved.yaw_rad).abs();
    if angle > HEADING_RAD {
        tell(MotionConflict::HeadingMismatch, angle, HEADING_RAD);
    }
}

#[cfg(test)]
mod tests;
