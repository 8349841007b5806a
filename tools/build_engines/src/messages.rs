//! What the program and its worker process say to each other: one request as JSON on the worker's
//! stdin, then JSON messages on its stdout, one a line.

use drivewam_core::manifest::{Capability, Dotted, Family, FileEntry, Flags, Fusion, Profile, Version};
use drivewam_core::tensor::TensorSpec;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The first argument of a worker process.
pub(crate) const WORKER_FLAG: &str = "--worker";

/// One graph to build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BuildRequest {
    pub(crate) family: Family,
    /// The vendor's library; `None` for the usual places.
    pub(crate) library: Option<String>,
    pub(crate) gpu: u32,
    pub(crate) onnx: PathBuf,
    pub(crate) onnx_file: FileEntry,
    /// Weight files that the ONNX file refers to, and what the manifest says of them.
    pub(crate) weights: Vec<(PathBuf, FileEntry)>,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) profiles: Vec<Profile>,
    /// Empty for the GPU of this machine.
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) flags: Flags,
    pub(crate) has_attention: bool,
    /// Only parse the graph, build nothing.
    pub(crate) parse_only: bool,
    pub(crate) timing_cache: PathBuf,
    /// Where to write the engine. The layer report is written beside it.
    pub(crate) engine: PathBuf,
}

/// A message of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkerMessage {
    /// `step` of `steps` of a phase of the build is done.
    Progress { phase: String, step: i32, steps: i32 },
    /// The last message of a build that succeeded.
    Finished(BuiltEngine),
}

/// The result of one build. It is also the record that a resumed build reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BuiltEngine {
    pub(crate) file: FileEntry,
    /// Version of the library that built the engine.
    pub(crate) library: Version,
    pub(crate) seconds: f64,
    /// Largest resident memory of the worker.
    pub(crate) peak_bytes: u64,
    pub(crate) scratch_bytes: Option<u64>,
    pub(crate) fusion: Fusion,
    /// The layer report; `None` where no driver let the library inspect its engine.
    pub(crate) layers: Option<FileEntry>,
}

/// What builds: the library, and the driver and GPU of this machine where there are any.
#[derive(Debug, Clone)]
pub(crate) struct BuildMachine {
    pub(crate) library: Version,
    pub(crate) driver: Option<Dotted<2>>,
    pub(crate) gpu: Option<String>,
    pub(crate) capability: Option<Capability>,
}
