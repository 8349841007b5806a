//! The configuration of a ride: typed sections, merged from layers, every key with unit, default
//! and range.
//!
//! `configs/model`, `configs/target` and `configs/vehicle` are layers; a later one overrides an
//! earlier one key by key. Unknown keys are refused by the types. The pipeline reads the files;
//! this module gets their text.

mod build;
mod engine;
mod guidance;
mod layers;
mod sections;
#[cfg(test)]
mod tests;

pub use build::BuildConfig;
pub use engine::{EngineConfig, EngineKind, TensorRtConfig};
pub use guidance::{Forever, GuidanceConfig, GuidanceMode, Wait};
pub use layers::{DeprecatedKey, Layer};
pub use sections::{
    ActionFlow, ActionStart, CameraConfig, CameraFit, CoresConfig, FlowConfig, GapPolicy, GuardConfig, IngestConfig, MemoryConfig,
    MemoryPolicy, PassPacking, SolverKind, TargetConfig, VehicleConfig, VideoCommit, VideoFlow,
};

use crate::dims::Model;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The configuration of a ride. What [`Config::from_layers`] returns has been checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model, as its weights were made.
    pub model: Model,
    /// The machine.
    pub target: TargetConfig,
    /// The engines.
    pub engine: EngineConfig,
    /// The vehicle's limits.
    pub vehicle: VehicleConfig,
    /// The camera's fit to the model.
    #[serde(default)]
    pub camera: CameraConfig,
    /// Accepted inputs.
    #[serde(default)]
    pub ingest: IngestConfig,
    /// The sampler.
    pub flow: FlowConfig,
    /// The KV memory.
    pub memory: MemoryConfig,
    /// Guidance by a language model.
    #[serde(default)]
    pub guidance: GuidanceConfig,
    /// The guard.
    #[serde(default)]
    pub guard: GuardConfig,
    /// How engines are built for the target; a ride does not use it.
    #[serde(default)]
    pub build: BuildConfig,
    #[serde(skip)]
    deprecated: Vec<DeprecatedKey>,
}

impl Config {
    /// Merges and checks `layers`, the first being the base.
    ///
    /// # Errors
    /// `Config`, with the key and the layer that sets it: not YAML, an unknown or missing key, a
    /// wrong type or unit, a value out of range.
    pub fn from_layers(layers: &[Layer]) -> Result<Self> {
        let merged = layers::merge(layers)?;
        let mut config: Self = serde_path_to_error::deserialize(&merged.tree).map_err(|e| {
            let path = e.path().to_string();
            let place = if path == "." { "configuration".to_owned() } else { path };
            Error::new(ErrorKind::Config, e.inner().to_string()).at(place.clone()).at(format!("{:?}", merged.origin(&place)))
        })?;
        config.check().map_err(|e| match e.place() {
            Some(key) => {
                let layer = format!("{:?}", merged.origin(key));
                e.at(layer)
            }
            None => e,
        })?;
        config.deprecated = merged.deprecated;
        Ok(config)
    }

    /// Keys that a layer has under an old name. Programs print them as warnings, once.
    pub fn deprecated_keys(&self) -> &[DeprecatedKey] {
        &self.deprecated
    }

    /// The whole configuration with its defaults, as YAML.
    ///
    /// # Errors
    /// `Config` when a value cannot be written.
    pub fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|e| Error::new(ErrorKind::Config, "cannot be written").caused_by(e))
    }

    /// Memory slots of the video pool, the action pool and the in-flight tail under the memory's
    /// policy.
    pub fn slots(&self) -> (usize, usize, usize) {
        let (nv, na) = (self.model.video_tokens(), self.model.action_tokens());
        match self.memory.policy {
            MemoryPolicy::Full => (self.memory.max_chunks * nv, self.memory.max_chunks * na, nv),
            _ => (self.memory.video_slots, self.memory.action_slots, nv),
        }
    }

    fn check(&self) -> Result<()> {
        self.model.check()?;
        self.target.check()?;
        self.engine.check()?;
        self.vehicle.check()?;
        self.camera.check()?;
        self.ingest.check()?;
        self.flow.check()?;
        self.guidance.check()?;
        self.guard.check()?;
        self.build.check()?;
        self.memory.check(&self.model)
    }
}
