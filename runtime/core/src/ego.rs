//! The car's own motion.

use crate::dims::EgoFeature;

/// The ego's motion, as the vehicle measures it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EgoState {
    /// Forward, m/s.
    pub speed_mps: f64,
    /// Forward, m/s².
    pub acceleration_mps2: f64,
    /// Of the driven path, 1/m, left positive.
    pub curvature_1pm: f64,
}

impl EgoState {
    /// The number of one feature.
    pub fn feature(&self, feature: EgoFeature) -> f64 {
        match feature {
            EgoFeature::SpeedMps => self.speed_mps,
            EgoFeature::AccelerationMps2 => self.acceleration_mps2,
            EgoFeature::Curvature1pm => self.curvature_1pm,
        }
    }
}
