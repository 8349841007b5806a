//! Labels: the state of the world at a tick, which no image needs to show.

use crate::scene::Light;

/// The state of the world at a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labels {
    /// The speed limit in force, m/s.
    pub limit_mps: f64,
    /// Whether a speed limit sign is in the image.
    pub sign_visible: bool,
    /// The next traffic light within 50 m.
    pub light: Option<Light>,
    /// Gap to the lead's rear, metres.
    pub lead_gap_m: Option<f64>,
    /// Whether a pedestrian is on the road within 40 m.
    pub pedestrian: bool,
    /// Whether only memory can tell the limit: for 16 s the car was slow and the sign out of sight,
    /// and now the road has become free.
    pub memory_needed: bool,
    /// Whether no plan from here is an example: the car touches another or a person, or stands past
    /// a stop line on red.
    pub masked: bool,
}

impl Labels {
    /// The first line of `labels.csv`.
    pub(crate) const CSV_HEADER: &'static str = "stamp_ns,limit_mps,sign_visible,light,lead_gap_m,pedestrian,memory_needed,masked\n";

    /// One line of `labels.csv`.
    pub(crate) fn csv(&self, stamp_ns: i64) -> String {
        let light = match self.light {
            None => "none",
            Some(Light::Green) => "green",
            Some(Light::Amber) => "amber",
            Some(Light::Red) => "red",
        };
        let gap = self.lead_gap_m.map_or_else(String::new, |gap| format!("{gap:.2}"));
        format!(
            "{stamp_ns},{},{},{light},{gap},{},{},{}\n",
            self.limit_mps,
            u8::from(self.sign_visible),
            u8::from(self.pedestrian),
            u8::from(self.memory_needed),
            u8::from(self.masked)
        )
    }
}
