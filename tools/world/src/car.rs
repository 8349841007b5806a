//! The car: its state, and the control of one tick.

use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;

/// From the reference point to the front bumper, metres.
pub(crate) const FRONT_M: f64 = 3.5;

/// A driver's control for one tick.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Control {
    /// Acceleration, m/s².
    pub acceleration_mps2: f64,
    /// Curvature of the path, 1/m, left positive.
    pub curvature_1pm: f64,
}

/// The state of the car.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ego {
    /// Pose in the world's plane.
    pub pose: Pose2,
    /// Forward speed, m/s.
    pub speed_mps: f64,
    /// Forward acceleration, m/s².
    pub acceleration_mps2: f64,
    /// Curvature of the driven path, 1/m, left positive; 0 below 0.5 m/s.
    pub curvature_1pm: f64,
}

impl Ego {
    /// Speed, acceleration and curvature, without the pose.
    pub fn state(&self) -> EgoState {
        EgoState { speed_mps: self.speed_mps, acceleration_mps2: self.acceleration_mps2, curvature_1pm: self.curvature_1pm }
    }
}
