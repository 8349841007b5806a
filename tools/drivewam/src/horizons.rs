//! The horizons at which every command measures displacement errors.

/// Horizons of ADE and FDE, seconds.
pub(crate) const HORIZONS_S: [f64; 2] = [3.0, 4.0];
