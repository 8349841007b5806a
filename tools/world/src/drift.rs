//! A driver who is not always right: the disturbance of training's drives.

use crate::rng::Rng;
use crate::{Control, World, expert};

/// A disturbance: for a while the driver means to go `aside_m` beside the lane's centre, and harder or softer than is right.
#[derive(Debug, Clone)]
pub(crate) struct Drift {
    rng: Rng,
    next_s: f64,
    until_s: f64,
    aside_m: f64,
    acceleration_mps2: f64,
}

impl Drift {
    /// None yet; the first begins at `next_s`.
    pub(crate) fn new(rng: Rng, next_s: f64) -> Self {
        Self { rng, next_s, until_s: 0.0, aside_m: 0.0, acceleration_mps2: 0.0 }
    }
}

impl World {
    /// `control`, or what becomes of it while the driver drifts off.
    pub(crate) fn drift(&mut self, control: Control) -> Control {
        let time_s = self.time_s();
        if !self.options.disturb {
            return control;
        }
        let drift = &mut self.drift;
        if time_s >= drift.next_s {
            drift.until_s = time_s + drift.rng.range(1.0, 4.0);
            // Mostly within the lane, now and then off the road: a policy that leaves it must have seen how to come back.
            let far = drift.rng.range(0.0, 1.0);
            drift.aside_m = drift.rng.sign() * (0.4 + 2.8 * far * far);
            drift.acceleration_mps2 = drift.rng.range(-1.5, 1.0);
            drift.next_s = drift.until_s + drift.rng.range(3.0, 10.0);
        }
        if time_s >= drift.until_s {
            return control;
        }
        // Never harder where the expert brakes: a drift is no accident.
        let harder = if control.acceleration_mps2 < -0.5 { 0.0 } else { drift.acceleration_mps2 };
        let aside_m = drift.aside_m;
        Control { acceleration_mps2: control.acceleration_mps2 + harder, curvature_1pm: expert::pursue(self, aside_m) }
    }
}
