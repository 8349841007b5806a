//! Planar poses: x forward, y left, yaw counter-clockwise. The owner of a pose names its frame of
//! reference.

use crate::ego::check_magnitudes;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::f64::consts::{PI, TAU};

/// A position and a heading in a plane.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pose2 {
    /// Position along the x axis, metres.
    pub x_m: f64,
    /// Position along the y axis, metres.
    pub y_m: f64,
    /// Heading, radians, counter-clockwise from the x axis; may be outside of (−π, π].
    pub yaw_rad: f64,
}

impl Pose2 {
    /// The largest magnitude of each number that is plausible for a car, with its name.
    pub const RANGES: [(&'static str, f64); 3] = [("x_m", 1e9), ("y_m", 1e9), ("yaw_rad", 1e6)];

    /// Checks that each number is finite and within [`Pose2::RANGES`].
    ///
    /// # Errors
    /// `Input`, naming the number.
    pub fn check_range(&self) -> Result<()> {
        check_magnitudes(Self::RANGES, [self.x_m, self.y_m, self.yaw_rad])
    }

    /// A pose from its three numbers.
    pub fn new(x_m: f64, y_m: f64, yaw_rad: f64) -> Self {
        Self { x_m, y_m, yaw_rad }
    }

    /// Converts `local` from the frame of this pose to the frame in which this pose is given. The
    /// yaws are added and not wrapped.
    #[must_use]
    pub fn compose(&self, local: &Self) -> Self {
        let (sin, cos) = libm::sincos(self.yaw_rad);
        Self {
            x_m: self.x_m + cos * local.x_m - sin * local.y_m,
            y_m: self.y_m + sin * local.x_m + cos * local.y_m,
            yaw_rad: self.yaw_rad + local.yaw_rad,
        }
    }

    /// Converts this pose to the frame of `origin`. The resulting yaw is in (−π, π].
    #[must_use]
    pub fn relative_to(&self, origin: &Self) -> Self {
        let (sin, cos) = libm::sincos(origin.yaw_rad);
        let (dx, dy) = (self.x_m - origin.x_m, self.y_m - origin.y_m);
        Self { x_m: cos * dx + sin * dy, y_m: cos * dy - sin * dx, yaw_rad: wrap(self.yaw_rad - origin.yaw_rad) }
    }

    /// Distance between the two positions, metres.
    pub fn distance_m(&self, other: &Self) -> f64 {
        libm::hypot(self.x_m - other.x_m, self.y_m - other.y_m)
    }

    /// The pose at `share` (0 to 1) of the way to `other`: the position on the straight line, the
    /// yaw along the shorter arc.
    #[must_use]
    pub fn interpolate(&self, other: &Self, share: f64) -> Self {
        Self {
            x_m: self.x_m + share * (other.x_m - self.x_m),
            y_m: self.y_m + share * (other.y_m - self.y_m),
            yaw_rad: self.yaw_rad + share * wrap(other.yaw_rad - self.yaw_rad),
        }
    }

    /// The pose after a short `distance_m` on an arc of this curvature, left positive; negative
    /// backwards. The chord gets the arc's length, which is right to a thousandth for turns of up
    /// to 0.15 rad.
    #[must_use]
    pub fn advanced(&self, distance_m: f64, curvature_1pm: f64) -> Self {
        let turn = curvature_1pm * distance_m;
        let (sin, cos) = libm::sincos(0.5 * turn);
        self.compose(&Self::new(distance_m * cos, distance_m * sin, turn))
    }

    /// Whether all three numbers are finite.
    pub fn is_finite(&self) -> bool {
        self.x_m.is_finite() && self.y_m.is_finite() && self.yaw_rad.is_finite()
    }
}

/// The equivalent angle in (−π, π].
pub fn wrap(angle_rad: f64) -> f64 {
    let wrapped = libm::fmod(angle_rad, TAU);
    if wrapped > PI {
        wrapped - TAU
    } else if wrapped <= -PI {
        wrapped + TAU
    } else {
        wrapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_to_undoes_compose() {
        let origin = Pose2::new(3.0, -2.0, 2.5);
        let local = Pose2::new(7.0, 1.5, -0.8);
        let back = origin.compose(&local).relative_to(&origin);
        assert!(back.distance_m(&local) < 1e-12 && (back.yaw_rad - local.yaw_rad).abs() < 1e-12);
    }

    #[test]
    fn a_pose_advances_on_an_arc() {
        let quarter = Pose2::new(1.0, 2.0, 0.0).advanced(10.0 * PI / 2.0, 0.1);
        // The chord of a quarter of a circle, with the arc's length: within 11 % of the true
        // corner.
        assert!((quarter.yaw_rad - PI / 2.0).abs() < 1e-12 && (quarter.x_m - 1.0 - (quarter.y_m - 2.0)).abs() < 1e-9);
        let back = Pose2::new(0.0, 0.0, PI).advanced(-2.0, 0.0);
        assert!((back.x_m - 2.0).abs() < 1e-12 && back.y_m.abs() < 1e-12, "{back:?}");
    }

    #[test]
    fn interpolation_of_yaw_takes_the_shorter_arc() {
        let halfway = Pose2::new(0.0, 0.0, 3.1).interpolate(&Pose2::new(0.0, 0.0, -3.1), 0.5);
        assert!((wrap(halfway.yaw_rad).abs() - PI).abs() < 1e-12);
    }
}
