//! Options of a ride that are not part of the configuration.

/// What differs between a vehicle, an evaluation and a demonstration. The defaults judge neither
/// the deadline nor the continuity of the plans: a vehicle sets both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RideOptions {
    /// Stamps are those of a running clock: the guard judges the deadline, and the ride answers
    /// when inputs stay out.
    pub realtime: bool,
    /// The vehicle follows the published plan: the guard judges the continuity of the plans.
    pub closed_loop: bool,
    /// Load the video decoder, for [`Ride::future`](crate::Ride::future).
    pub decoder: bool,
}
