//! Options of a ride that are not part of the configuration.

/// What differs between a vehicle, an evaluation and a demonstration. The defaults are those of a
/// vehicle; an evaluation turns its judgements off by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RideOptions {
    /// Stamps are those of a running clock: the guard judges the deadline, and the ride answers
    /// when inputs stay out.
    pub realtime: bool,
    /// The vehicle follows the published plan: the guard judges the continuity of the plans, and a
    /// request for minimal risk stays until the car stands.
    pub closed_loop: bool,
    /// Load the video decoder, for [`Ride::future`](crate::Ride::future).
    pub decoder: bool,
}

impl RideOptions {
    /// Nobody follows the plans, and stamps are those of a recording: neither the deadline nor
    /// continuity nor silence is judged, and each chunk for itself.
    pub const EVALUATION: Self = Self { realtime: false, closed_loop: false, decoder: false };
}

impl Default for RideOptions {
    fn default() -> Self {
        Self { realtime: true, closed_loop: true, decoder: false }
    }
}
