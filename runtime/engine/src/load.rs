//! Loads a graph with the engine library that the configuration names. No other one is tried
//! instead.

use crate::bundle::EngineBundle;
use crate::closed_form::{ClosedForm, Options};
use crate::engine::Engine;
use crate::native::check_library_source;
use crate::rten::Rten;
use crate::self_test::Tested;
use crate::time_limit::{self, TimeLimited};
use drivewam_core::Result;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{self, EngineKind};
use drivewam_core::dims::Command;
#[cfg(feature = "tensorrt")]
use drivewam_core::manifest::Family;

/// Loads `graph` of `bundle` with the engine library `config.kind`. Warm.
///
/// Every shape that is bound runs the bundle's self-test, and is refused when an output differs
/// from the reference. The closed-form engine, which has no weights, does not.
///
/// Loading, and each binding with its first runs, may take `config.warm_time_limit_s`. A call that
/// takes longer ends the process, with the graph, the limit and the time on standard error.
///
/// # Errors
/// As the engine's own `open`; `Manifest` for a bundle without a self-test; `Engine` for a library
/// that this program was built without, and for one that only the environment names while a trusted
/// key signed the bundle.
pub fn load(config: &config::EngineConfig, bundle: &EngineBundle, graph: Graph) -> Result<Box<dyn Engine>> {
    check_library_source(config, bundle.signed())?;
    let limit = config.warm_time_limit();
    let engine = time_limit::within(&format!("graph {graph}"), "loading", limit, || open(config, bundle, graph)).flatten()?;
    if config.kind == EngineKind::ClosedForm {
        return Ok(engine);
    }
    let commands = &bundle.manifest().model.text.commands;
    let text = |command: &Command| Ok((command.as_str(), bundle.text(*command)?.values.clone()));
    let texts = commands.iter().filter(|_| graph == Graph::ContextText).map(text).collect::<Result<_>>()?;
    let engine = Box::new(Tested::new(engine, bundle.manifest(), bundle.self_test()?, texts)?);
    Ok(Box::new(TimeLimited { engine, limit }))
}

fn open(config: &config::EngineConfig, bundle: &EngineBundle, graph: Graph) -> Result<Box<dyn Engine>> {
    match config.kind {
        EngineKind::Rten => Ok(Box::new(Rten::open(bundle, graph, config.threads)?)),
        #[cfg(feature = "tensorrt")]
        EngineKind::Tensorrt => Ok(Box::new(crate::tensorrt::TensorRt::open(bundle, graph, Family::Tensorrt, &config.tensorrt)?)),
        #[cfg(feature = "tensorrt")]
        EngineKind::TensorrtRtx => Ok(Box::new(crate::tensorrt::TensorRt::open(bundle, graph, Family::TensorrtRtx, &config.tensorrt)?)),
        EngineKind::ClosedForm => Ok(Box::new(ClosedForm::open(bundle, graph, Options::default())?)),
        #[cfg(feature = "ort")]
        EngineKind::Ort => {
            Ok(Box::new(crate::onnxruntime::OnnxRuntime::open(bundle, graph, config.threads, config.onnxruntime.as_deref())?))
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
