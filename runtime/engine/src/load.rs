//! From the configuration's word to a loaded graph. The word decides; nothing is ever tried instead.

use crate::closed_form::{ClosedForm, Options};
use crate::engine::Engine;
use crate::folder::Folder;
use crate::rten::Rten;
use crate::self_test::Tested;
use drivewam_core::Result;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{self, EngineKind};
#[cfg(feature = "tensorrt")]
use drivewam_core::manifest::Family;

/// Loads `graph` of `folder` with the engine that `config.kind` names. Warm. Every shape that is bound is held against the folder's self-test, and refused when
/// the engine does not put out what the reference did.
///
/// # Errors
/// As the engine's own `open`; `Manifest` for a folder without a self-test; `Engine` for one that this program was built without.
pub fn load(config: &config::Engine, folder: &Folder, graph: Graph) -> Result<Box<dyn Engine>> {
    let engine: Box<dyn Engine> = open(config, folder, graph)?;
    match config.kind {
        // Its arithmetic is its own.
        EngineKind::ClosedForm => Ok(engine),
        _ => Ok(Box::new(Tested::new(engine, folder)?)),
    }
}

fn open(config: &config::Engine, folder: &Folder, graph: Graph) -> Result<Box<dyn Engine>> {
    match config.kind {
        EngineKind::Rten => Ok(Box::new(Rten::open(folder, graph, config.threads)?)),
        #[cfg(feature = "tensorrt")]
        EngineKind::Tensorrt => Ok(Box::new(crate::tensorrt::TensorRt::open(folder, graph, Family::Tensorrt, &config.tensorrt)?)),
        #[cfg(feature = "tensorrt")]
        EngineKind::TensorrtRtx => Ok(Box::new(crate::tensorrt::TensorRt::open(folder, graph, Family::TensorrtRtx, &config.tensorrt)?)),
        EngineKind::ClosedForm => Ok(Box::new(ClosedForm::open(folder, graph, Options::default())?)),
        #[cfg(feature = "ort")]
        EngineKind::Ort => {
            Ok(Box::new(crate::onnxruntime::OnnxRuntime::open(folder, graph, config.threads, config.onnxruntime.as_deref())?))
        }
        #[cfg(not(feature = "ort"))]
        EngineKind::Ort => Err(left_out("ort", "ONNX Runtime")),
        #[cfg(not(feature = "tensorrt"))]
        EngineKind::Tensorrt => Err(left_out("tensorrt", "TensorRT")),
        #[cfg(not(feature = "tensorrt"))]
        EngineKind::TensorrtRtx => Err(left_out("tensorrt", "TensorRT-RTX")),
    }
}

#[cfg(not(all(feature = "ort", feature = "tensorrt")))]
fn left_out(feature: &str, library: &str) -> drivewam_core::Error {
    drivewam_core::Error::new(drivewam_core::ErrorKind::Engine, format!("this program was built without {library}"))
        .at("engine.kind")
        .wanted(format!("a build with the feature `{feature}`, or another engine by name"))
}
