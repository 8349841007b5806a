//! How the ride notices that it sees what it was not trained on: the constants of its monitors.
//!
//! Each monitor publishes a number in [0, 1] with every outcome; above its threshold it becomes a
//! cause of the guard. `study monitors --calibrate` measures them on held-out worlds.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The constants of the monitors. One that is absent does not judge.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitors {
    /// The imagined video against the one that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imagination: Option<ImaginationMonitor>,
    /// What the graph `monitor` says of a chunk's frames and motion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene: Option<SceneMonitor>,
    /// The plans of two lanes against each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<LaneMonitor>,
}

/// The number is 1 − 2^(−e / (c + `floor`)): e is the mean square of the difference between the
/// latent of a chunk and the one that was imagined for it, c that between it and the latent of the
/// chunk before. So 0.5 says: the world model was no better than a world that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImaginationMonitor {
    /// The error that is expected where nothing changes, in the square of the normalised latent's
    /// unit.
    pub floor: f64,
    /// The largest number that is ordinary.
    pub threshold: f64,
}

/// The number is the output of the graph `monitor`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SceneMonitor {
    /// The largest number that is ordinary.
    pub threshold: f64,
}

/// The number is 1 − 2^(−d / `scale_m`): d is the mean distance between a plan and the accepted
/// one of another lane that is in force, over the time that both cover.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneMonitor {
    /// The distance that gives 0.5, m.
    pub scale_m: f64,
    /// The largest number that is ordinary.
    pub threshold: f64,
}

/// A monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitor {
    /// [`ImaginationMonitor`].
    Imagination,
    /// [`SceneMonitor`].
    Scene,
    /// [`LaneMonitor`].
    Lanes,
}

impl Monitor {
    /// All monitors, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Imagination, Self::Scene, Self::Lanes];

    /// The key in the manifest and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imagination => "imagination",
            Self::Scene => "scene",
            Self::Lanes => "lanes",
        }
    }

    /// The name of the cause.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Imagination => "imagination_wrong",
            Self::Scene => "scene_unfamiliar",
            Self::Lanes => "lanes_disagree",
        }
    }
}

impl Monitors {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The threshold of a monitor; `None` where it does not judge.
    pub fn threshold(&self, monitor: Monitor) -> Option<f64> {
        match monitor {
            Monitor::Imagination => self.imagination.map(|imagination| imagination.threshold),
            Monitor::Scene => self.scene.map(|scene| scene.threshold),
            Monitor::Lanes => self.lanes.map(|lanes| lanes.threshold),
        }
    }

    /// Sets the threshold of a monitor that judges.
    pub fn set_threshold(&mut self, monitor: Monitor, threshold: f64) {
        let place = match monitor {
            Monitor::Imagination => self.imagination.as_mut().map(|imagination| &mut imagination.threshold),
            Monitor::Scene => self.scene.as_mut().map(|scene| &mut scene.threshold),
            Monitor::Lanes => self.lanes.as_mut().map(|lanes| &mut lanes.threshold),
        };
        if let Some(place) = place {
            *place = threshold;
        }
    }

    /// Checks every constant. `has_graph`: whether the folder has the graph `monitor`. A folder of
    /// some graphs may have a threshold without it; a ride then does not load.
    pub(super) fn check(&self, has_graph: bool) -> Result<()> {
        let bad = |key: String, what: &str| Error::new(ErrorKind::Manifest, what).at(format!("monitors.{key}"));
        for monitor in Monitor::ALL {
            // A NaN is not in the range.
            if let Some(threshold) = self.threshold(monitor).filter(|threshold| !(0.0..=1.0).contains(threshold)) {
                return Err(bad(format!("{}.threshold", monitor.as_str()), "out of range").got(threshold).wanted("0 to 1"));
            }
        }
        let positive = [
            ("imagination.floor", self.imagination.map(|imagination| imagination.floor)),
            ("lanes.scale_m", self.lanes.map(|lanes| lanes.scale_m)),
        ];
        for (key, value) in positive {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(bad(key.to_owned(), "out of range").got(value).wanted("a positive number"));
            }
        }
        if has_graph && self.scene.is_none() {
            return Err(bad("scene".to_owned(), "missing: the folder has the graph `monitor`").wanted("its threshold"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Monitors {
        Monitors {
            imagination: Some(ImaginationMonitor { floor: 0.1, threshold: 0.7 }),
            scene: Some(SceneMonitor { threshold: 0.9 }),
            lanes: Some(LaneMonitor { scale_m: 1.0, threshold: 0.8 }),
        }
    }

    /// Breaks when a constant loads with which a monitor never or always speaks, or when a graph
    /// has no threshold to be judged by.
    #[test]
    fn constants_out_of_range_and_a_graph_without_its_threshold_are_refused() {
        assert!(whole().check(true).is_ok() && Monitors::default().check(false).is_ok());
        let refused = |change: fn(&mut Monitors), has_graph: bool| {
            let mut monitors = whole();
            change(&mut monitors);
            monitors.check(has_graph).unwrap_err().to_string()
        };
        for (change, key) in [
            ((|m| m.set_threshold(Monitor::Scene, f64::NAN)) as fn(&mut Monitors), "scene.threshold"),
            (|m| m.set_threshold(Monitor::Imagination, 1.5), "imagination.threshold"),
            (|m| m.set_threshold(Monitor::Lanes, -0.1), "lanes.threshold"),
            (|m| m.imagination = Some(ImaginationMonitor { floor: 0.0, threshold: 0.7 }), "imagination.floor"),
            (|m| m.lanes = Some(LaneMonitor { scale_m: f64::INFINITY, threshold: 0.7 }), "lanes.scale_m"),
            (|m| m.scene = None, "scene"),
        ] {
            let said = refused(change, true);
            assert!(said.contains(&format!("monitors.{key}")), "{key}: {said}");
        }
        assert!(whole().check(false).is_ok());
    }
}
