//! Runs a compiled graph behind one small trait.
//!
//! Enters: a folder with a manifest that vouches for every file, and regions of a device's arena. Leaves: those regions, filled. Never: sampling,
//! pictures, KV policy, or another engine than the one that was asked for.
//!
//! ```
//! use drivewam_core::bindings::{EGO, Graph};
//! use drivewam_engine::{Bound, Engine, Io, closed_form};
//! # fn main() -> drivewam_core::Result<()> {
//! # let yaml = std::fs::read_to_string("../../configs/model/tiny.yaml").unwrap_or_default();
//! # #[derive(serde::Deserialize)] struct File { model: drivewam_core::dims::Model }
//! # let model = serde_saphyr::from_str::<File>(&yaml).expect("the shipped model").model;
//! let folder = closed_form::folder(&model)?;
//! let engine = closed_form::ClosedForm::open(&folder, Graph::ContextEgo, closed_form::Options::default())?;
//! assert_eq!(engine.graph(), Graph::ContextEgo);
//! let wanted = &folder.manifest().graph(engine.graph())?.inputs;
//! assert_eq!(wanted[0].name, EGO); // bind every input to a region of the arena, then run
//! # Ok(())
//! # }
//! ```

mod border;
pub mod bytes;
pub mod closed_form;
pub mod engine;
pub mod folder;
pub mod library;
mod load;
mod onnx;
#[cfg(feature = "ort")]
pub mod onnxruntime;
mod open_device;
pub mod rten;
mod scratch;
mod self_test;
#[cfg(feature = "tensorrt")]
pub mod tensorrt;

pub use engine::{Binding, Bound, Engine, Io};
pub use folder::{Folder, Trust};
pub use load::load;
pub use open_device::open_device;
pub use scratch::scratch_bytes;

#[cfg(test)]
mod tests;
