//! Disturbances: a driver who makes mistakes, for the drives of training.

use crate::car::Control;
use crate::rng::Rng;

/// The state of the disturbances. While one lasts, the driver steers towards a line `aside_m`
/// beside the lane's centre and accelerates too much or too little.
#[derive(Debug, Clone)]
pub(crate) struct Drift {
    rng: Rng,
    next_s: f64,
    until_s: f64,
    aside_m: f64,
    acceleration_mps2: f64,
}

impl Drift {
    /// No disturbance yet; the first begins at `next_s`.
    pub(crate) fn new(rng: Rng, next_s: f64) -> Self {
        Self { rng, next_s, until_s: 0.0, aside_m: 0.0, acceleration_mps2: 0.0 }
    }

    /// The disturbed control at `time_s`; `control` itself while no disturbance lasts. `pursue`
    /// gives the curvature towards a line so many metres left of the lane's centre.
    pub(crate) fn apply(&mut self, time_s: f64, control: Control, pursue: impl FnOnce(f64) -> f64) -> Control {
        if time_s >= self.next_s {
            self.until_s = time_s + self.rng.range(1.0, 4.0);
            // Mostly within the lane, now and then off the road: a policy that leaves the road must
            // have seen how to come back.
            let far = self.rng.range(0.0, 1.0);
            self.aside_m = self.rng.sign() * (0.4 + 2.8 * far * far);
            self.acceleration_mps2 = self.rng.range(-1.5, 1.0);
            self.next_s = self.until_s + self.rng.range(3.0, 10.0);
        }
        if time_s >= self.until_s {
            return control;
        }
        // Where the expert brakes, the braking stays: a disturbance must not cause a collision.
        let extra = if control.acceleration_mps2 < -0.5 { 0.0 } else { self.acceleration_mps2 };
        Control { acceleration_mps2: control.acceleration_mps2 + extra, curvature_1pm: pursue(self.aside_m) }
    }
}
