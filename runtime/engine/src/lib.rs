//! Runs compiled graphs behind one small trait.
//!
//! [`EngineBundle`] opens a directory of engines and checks it against its manifest. [`load`] makes
//! an [`Engine`] of one graph, by the library that the configuration names and no other.
//! [`Engine::bind`] fixes the regions of the arena that the graph reads and writes, [`Engine::run`]
//! fills the outputs. This crate samples nothing, prepares no images and knows no KV policy.
//!
//! ```
//! use drivewam_core::bindings::{EGO, Graph};
//! use drivewam_engine::Engine;
//! use drivewam_engine::closed_form::{ClosedForm, Options, bundle};
//! # fn main() -> drivewam_core::Result<()> {
//! # let yaml = std::fs::read_to_string("../../configs/model/tiny.yaml").unwrap_or_default();
//! # #[derive(serde::Deserialize)] struct File { model: drivewam_core::dims::Model }
//! # let model = serde_saphyr::from_str::<File>(&yaml).expect("the shipped model").model;
//! let bundle = bundle(&model)?;
//! let engine = ClosedForm::open(&bundle, Graph::ContextEgo, Options::default())?;
//! assert_eq!(engine.graph(), Graph::ContextEgo);
//! let wanted = &bundle.manifest().graph(engine.graph())?.inputs;
//! assert_eq!(wanted[0].name, EGO); // bind every input to a region of the arena, then run
//! # Ok(())
//! # }
//! ```

mod access;
pub mod bundle;
pub mod bytes;
pub mod closed_form;
pub mod engine;
mod io_check;
pub mod library;
mod load;
mod meter;
mod native;
mod onnx;
#[cfg(feature = "ort")]
pub mod onnxruntime;
mod open_device;
pub mod rten;
mod scratch;
mod self_test;
#[cfg(feature = "tensorrt")]
pub mod tensorrt;
pub mod time_limit;

pub use bundle::{EngineBundle, Trust};
pub use engine::{Binding, BoundTensor, Engine, Io};
pub use load::load;
pub use native::check_library_source;
pub use open_device::open_device;
pub use scratch::scratch_bytes;
pub use self_test::trajectory::TrajectoryTest;

#[cfg(test)]
mod tests;
