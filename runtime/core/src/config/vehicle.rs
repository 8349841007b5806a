//! `vehicle:` the limits that a trajectory must keep, and the keys that may sign engines.

use crate::error::Result;
use crate::ranges::{bad, between};
use serde::{Deserialize, Serialize};

/// `vehicle:` the limits that a trajectory must keep, and the keys that may sign engines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehicleConfig {
    /// The name of the vehicle, for reports.
    pub name: String,
    /// The highest speed.
    pub max_speed_mps: f64,
    /// The highest forward acceleration.
    pub max_acceleration_mps2: f64,
    /// The strongest braking, as a positive number.
    pub max_deceleration_mps2: f64,
    /// The highest curvature, to either side.
    pub max_curvature_1pm: f64,
    /// The highest lateral acceleration, to either side.
    pub max_lateral_acceleration_mps2: f64,
    /// Public ed25519 keys, each 64 hexadecimal digits. When this list or `revoked_keys` has an
    /// entry, an engine folder is refused unless one of these keys signed its manifest. When both
    /// are empty or left out, folders need no signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_keys: Vec<String>,
    /// Public ed25519 keys, each 64 hexadecimal digits, that are no longer trusted. A manifest that
    /// one of them signed is refused, even if `trusted_keys` lists the key too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<String>,
}

impl VehicleConfig {
    /// The ranges hold every car on a road: tyres brake and turn it by less than 2 g, and a limit
    /// near zero would refuse every plan, or brake for minutes.
    pub(super) fn check(&self) -> Result<()> {
        between("vehicle.max_speed_mps", self.max_speed_mps, 1.0, 100.0)?;
        between("vehicle.max_acceleration_mps2", self.max_acceleration_mps2, 0.1, 20.0)?;
        between("vehicle.max_deceleration_mps2", self.max_deceleration_mps2, 0.5, 20.0)?;
        between("vehicle.max_curvature_1pm", self.max_curvature_1pm, 0.001, 1.0)?;
        between("vehicle.max_lateral_acceleration_mps2", self.max_lateral_acceleration_mps2, 0.1, 20.0)?;
        for (key, list) in [("vehicle.trusted_keys", &self.trusted_keys), ("vehicle.revoked_keys", &self.revoked_keys)] {
            if let Some(odd) = list.iter().find(|k| k.len() != 64 || k.bytes().any(|b| !b.is_ascii_hexdigit())) {
                return Err(bad(key, format!("{odd:?}"), "ed25519 public keys of 64 hexadecimal digits"));
            }
        }
        Ok(())
    }
}
