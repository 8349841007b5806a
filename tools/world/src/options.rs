//! The parameters of a world beside its seed.

use crate::palette::Palette;

/// The kind of road sections in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Curves, junctions, traffic lights, leads, pedestrians, signs.
    Ordinary,
    /// Signs that the car passes slowly, and a free road only much later.
    Memory,
    /// Both.
    Mixed,
}

impl Kind {
    /// The name in files and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Memory => "memory",
            Self::Mixed => "mixed",
        }
    }
}

/// The parameters of a world beside its seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Kind of road sections.
    pub kind: Kind,
    /// Whether the car drifts off now and then, so that the expert shows how to recover.
    pub disturb: bool,
    /// How pictures look.
    pub palette: Palette,
    /// The camera's place beside where the training had it: to the left and upwards, metres.
    pub camera_offset_m: [f64; 2],
    /// Where the camera looks beside straight ahead, radians, left positive.
    pub camera_yaw_rad: f64,
    /// Time constant with which the car's curvature follows the control's, seconds; 0 for at once.
    pub steering_lag_s: f64,
    /// The expert stops this much sooner, before lines, behind leads and for people; metres.
    pub extra_margin_m: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: Kind::Mixed,
            disturb: false,
            palette: Palette::Day,
            camera_offset_m: [0.0; 2],
            camera_yaw_rad: 0.0,
            steering_lag_s: 0.0,
            extra_margin_m: 0.0,
        }
    }
}
