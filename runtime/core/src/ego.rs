//! The motion of the ego vehicle, as the vehicle measures it.

use crate::dims::EgoFeature;

/// Speed, acceleration and curvature of the ego vehicle at one time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EgoState {
    /// Forward speed, m/s, negative in reverse.
    pub speed_mps: f64,
    /// Forward acceleration, m/s².
    pub acceleration_mps2: f64,
    /// Curvature of the driven path, 1/m, left positive.
    pub curvature_1pm: f64,
}

impl EgoState {
    /// The value of `feature`, in its physical unit.
    pub fn feature(&self, feature: EgoFeature) -> f64 {
        match feature {
            EgoFeature::SpeedMps => self.speed_mps,
            EgoFeature::AccelerationMps2 => self.acceleration_mps2,
            EgoFeature::Curvature1pm => self.curvature_1pm,
        }
    }
}
