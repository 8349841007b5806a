//! From the configuration's word to a loaded graph. The word decides; nothing is ever tried instead.

use crate::closed_form::{ClosedForm, Options};
use crate::engine::Engine;
use crate::folder::Folder;
use crate::rten::Rten;
use drivewam_core::Result;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{self, EngineKind};

/// Loads `graph` of `folder` with the engine that `config.kind` names. Warm.
///
/// # Errors
/// As the engine's own `open`; `Engine` for one that this program was built without.
pub fn load(config: &config::Engine, folder: &Folder, graph: Graph) -> Result<Box<dyn Engine>> {
    match config.kind {
        EngineKind::Rten => Ok(Box::new(Rten::open(folder, graph, config.threads)?)),
        EngineKind::ClosedForm => Ok(Box::new(ClosedForm::open(folder, graph, Options::default())?)),
        #[cfg(feature = "ort")]
        EngineKind::Ort => {
            Ok(Box::new(crate::onnxruntime::OnnxRuntime::open(folder, graph, config.threads, config.onnxruntime.as_deref())?))
        }
        #[cfg(not(feature = "ort"))]
        EngineKind::Ort => Err(drivewam_core::Error::new(drivewam_core::ErrorKind::Engine, "this program was built without ONNX Runtime")
            .at("engine.kind")
            .got("ort")
            .wanted("a build with the feature `ort`, or another engine by name")),
    }
}
