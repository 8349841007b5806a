//! The motion of the ego vehicle, as the vehicle measures it.

use crate::dims::EgoFeature;
use crate::error::{Error, ErrorKind, Result};

/// No car is faster, m/s.
pub const MAX_SPEED_MPS: f64 = 150.0;

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
    /// The largest magnitude of each number that is plausible for a car, with its name.
    pub const RANGES: [(&'static str, f64); 3] = [("speed_mps", MAX_SPEED_MPS), ("acceleration_mps2", 100.0), ("curvature_1pm", 10.0)];

    /// Checks that each number is finite and within [`EgoState::RANGES`].
    ///
    /// # Errors
    /// `Input`, naming the number.
    pub fn check_range(&self) -> Result<()> {
        check_magnitudes(Self::RANGES, [self.speed_mps, self.acceleration_mps2, self.curvature_1pm])
    }

    /// The value of `feature`, in its physical unit.
    pub fn feature(&self, feature: EgoFeature) -> f64 {
        match feature {
            EgoFeature::SpeedMps => self.speed_mps,
            EgoFeature::AccelerationMps2 => self.acceleration_mps2,
            EgoFeature::Curvature1pm => self.curvature_1pm,
        }
    }
}

/// Refuses the first value that is not finite, or of a larger magnitude than its range.
pub(crate) fn check_magnitudes(ranges: [(&'static str, f64); 3], values: [f64; 3]) -> Result<()> {
    match ranges.into_iter().zip(values).find(|((_, most), value)| !(-most..=*most).contains(value)) {
        None => Ok(()),
        Some(((name, most), value)) => Err(Error::new(ErrorKind::Input, "the number is not plausible for a car")
            .at(name)
            .got(value)
            .wanted(format!("a finite number within ±{most}"))),
    }
}
