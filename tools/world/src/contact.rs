//! Who is at fault when the car touches a lead or a pedestrian.

/// A car that is no faster stands, and whoever walks into it is at fault, m/s. NAVSIM's metric
/// "no at-fault collisions" has this rule and this speed.
const STANDS_MPS: f64 = 0.05;

/// Whether the car touches a lead or a pedestrian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    None,
    /// The car has stood since they met.
    WalkedInto,
    /// The car has moved meanwhile.
    Collision,
}

impl Contact {
    /// The contact a tick later, at which the car moves at `speed_mps`.
    pub(crate) fn next(self, touches: bool, speed_mps: f64) -> Self {
        match self {
            _ if !touches => Self::None,
            Self::Collision => Self::Collision,
            _ if speed_mps > STANDS_MPS => Self::Collision,
            _ => Self::WalkedInto,
        }
    }
}
