//! The configuration of a ride: typed sections, merged from layers of YAML.
//!
//! The files below `configs/model`, `configs/target` and `configs/vehicle` are layers. A later
//! layer overrides an earlier one key by key. The types refuse unknown keys. This module sees text
//! only; the pipeline reads the files.

mod build;
mod engine;
mod guidance;
mod lanes;
mod layers;
mod sections;
#[cfg(test)]
mod tests;
mod vehicle;

pub use build::BuildConfig;
pub use engine::{EngineConfig, EngineKind, TensorRtConfig};
pub use guidance::{Forever, GuidanceConfig, GuidanceMode, Wait};
pub use lanes::{LaneGuidance, LanesConfig};
pub use layers::{DeprecatedKey, Layer, renamed_keys};
pub use sections::{
    ActionFlow, ActionStart, CameraConfig, CameraFit, CoresConfig, FlowConfig, GapPolicy, GuardConfig, IngestConfig, MemoryConfig,
    MemoryPolicy, MonitorMode, PassPacking, SolverKind, TargetConfig, VideoCommit, VideoFlow,
};
pub use vehicle::VehicleConfig;

use crate::dims::Model;
use crate::error::{Error, ErrorKind, Result};
use crate::excerpt::one_line;
use serde::{Deserialize, Serialize};

/// The whole configuration of a ride. [`Config::from_layers`] returns only configurations that
/// passed all checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The sizes and constants of the model, as its weights were trained. They must equal those in
    /// the manifest of the engines.
    pub model: Model,
    /// The machine: memory, threads and CPUs.
    pub target: TargetConfig,
    /// The engines: which library runs the graphs, and where the graphs are.
    pub engine: EngineConfig,
    /// The vehicle: the limits that a trajectory must keep, and the keys that may sign engines.
    pub vehicle: VehicleConfig,
    /// How a camera image is fitted to the image of the model.
    #[serde(default)]
    pub camera: CameraConfig,
    /// The inputs: which frames, poses and images are accepted.
    #[serde(default)]
    pub ingest: IngestConfig,
    /// The sampler: how the video and the actions are denoised.
    pub flow: FlowConfig,
    /// The KV memory: its size, and which tokens it keeps.
    pub memory: MemoryConfig,
    /// Rollouts that run side by side, each a part of a chunk after the one before.
    #[serde(default)]
    pub lanes: LanesConfig,
    /// The text that describes the scene to the model, and where it comes from.
    #[serde(default)]
    pub guidance: GuidanceConfig,
    /// The guard: when a trajectory is refused, and what is published instead.
    #[serde(default)]
    pub guard: GuardConfig,
    /// How `build_engines` builds engines for the target. A ride does not use this section.
    #[serde(default)]
    pub build: BuildConfig,
    #[serde(skip)]
    deprecated: Vec<DeprecatedKey>,
}

impl Config {
    /// Merges `layers`, of which the first is the base, and checks the result.
    ///
    /// # Errors
    /// `Config` for text that is not YAML, an unknown or missing key, a wrong type or unit, or a
    /// value out of range. The message names the key and the layer that set it.
    pub fn from_layers(layers: &[Layer]) -> Result<Self> {
        let merged = layers::merge(layers)?;
        let mut config: Self = serde_path_to_error::deserialize(&merged.tree).map_err(|e| {
            let path = e.path().to_string();
            let place = if path == "." { "configuration".to_owned() } else { path };
            Error::new(ErrorKind::Config, one_line(e.inner())).at(place.clone()).at(format!("{:?}", merged.origin(&place)))
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

    /// The keys that a layer has under an old name. Programs print each of them once, as a warning.
    pub fn deprecated_keys(&self) -> &[DeprecatedKey] {
        &self.deprecated
    }

    /// The whole configuration as YAML, with its defaults.
    ///
    /// # Errors
    /// `Config` when a value cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|e| Error::new(ErrorKind::Config, "cannot be written").caused_by(e))
    }

    /// The numbers of memory slots under the memory policy: of the video pool, of the action pool,
    /// and of the in-flight tail.
    pub fn slots(&self) -> (usize, usize, usize) {
        let (nv, na) = (self.model.video_tokens(), self.model.action_tokens());
        match self.memory.policy {
            MemoryPolicy::Full => (self.memory.max_chunks * nv, self.memory.max_chunks * na, nv),
            _ => (self.memory.video_slots, self.memory.action_slots, nv),
        }
    }

    /// The time from one lane's chunk to the next lane's, ns.
    pub fn stagger_ns(&self) -> i64 {
        self.model.chunk_ns() / self.lanes.count.max(1) as i64
    }

    fn check(&self) -> Result<()> {
        self.model.check()?;
        self.target.check()?;
        self.engine.check()?;
        self.vehicle.check()?;
        self.camera.check()?;
        self.ingest.check()?;
        self.flow.check()?;
        self.lanes.check(&self.model)?;
        self.guidance.check()?;
        self.guard.check(&self.model)?;
        self.build.check()?;
        self.memory.check(&self.model)
    }
}
