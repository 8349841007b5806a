//! An engine bundle: a directory with a manifest and the files that the manifest lists.
//!
//! [`EngineBundle`] opens one and hands out checked file contents, [`EngineBundle::verify`] reports
//! on every file, [`attest`] makes the manifest's entry of a file, [`warm_peak`] says how much host
//! memory loading takes, and [`read_manifest`] reads the manifest alone.

mod attest;
mod engine_bundle;
mod files;
mod memory;
mod read;
mod report;
mod texts;
mod trust;

pub use crate::meter::LoadMeter;
pub use crate::onnx::{check as check_onnx, weight_bytes};
pub use attest::{attest, check_file, manifest_of};
pub use engine_bundle::EngineBundle;
pub(crate) use files::GraphFiles;
pub use memory::{WarmPeak, warm_peak};
pub use read::read_manifest;
pub use report::{FileReport, FileStatus, ReadProgress, Report};
pub use texts::CommandText;
pub use trust::{FILE_NAME as SIGNATURE_FILE_NAME, Signed, Trust};

#[cfg(test)]
mod tests;
