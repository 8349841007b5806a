//! `engine:` the library that runs the graphs.

use super::sections::within;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// `engine:` the library that runs the graphs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// The engine library. It is never replaced by another one.
    pub kind: EngineKind,
    /// Directory of the engine bundle, relative to the file that sets it.
    pub folder: String,
    /// Threads of the engine library, 1 to 64.
    pub threads: usize,
    /// Path of the ONNX Runtime library, for `kind: ort` only. Default: the environment's
    /// `ORT_DYLIB_PATH`.
    #[serde(default)]
    pub onnxruntime: Option<String>,
    /// For the kinds `tensorrt` and `tensorrt_rtx` only.
    #[serde(default)]
    pub tensorrt: TensorRtConfig,
}

/// An engine library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Embedded, pure Rust, f32.
    Rten,
    /// ONNX Runtime, opened at run time.
    Ort,
    /// TensorRT on a GPU, opened at run time; the engines are built on the target.
    Tensorrt,
    /// TensorRT-RTX on a GPU, opened at run time.
    TensorrtRtx,
    /// Closed-form arithmetic with the inputs and outputs of the graphs, for tests of everything
    /// around an engine.
    ClosedForm,
}

impl EngineKind {
    /// Whether memory, kernels and engines of the ride are on a GPU.
    pub fn on_gpu(self) -> bool {
        matches!(self, Self::Tensorrt | Self::TensorrtRtx)
    }
}

/// `engine.tensorrt:` the GPU and its library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TensorRtConfig {
    /// Path of the library. Default: the environment's `DRIVEWAM_TENSORRT`, or else the usual
    /// names.
    pub library: Option<String>,
    /// Index of the GPU, from 0. Default 0.
    pub gpu: u32,
    /// Directory of the CUDA kernels, relative to the file that sets it. Default: `kernels` beside
    /// `engine.folder`.
    pub kernels: Option<String>,
    /// Whether every pass is a CUDA graph, captured in Warm. A pass that cannot be captured is then
    /// refused. Default true.
    pub cuda_graphs: bool,
    /// Bytes of each engine's weights that stay on the GPU; the others are streamed from host
    /// memory. Requires engines that were built with weight streaming, and `cuda_graphs: false`.
    /// Default: all weights are on the GPU.
    pub weight_budget_bytes: Option<u64>,
    /// Scratch memory of a pass, bytes, for engines that were built without a GPU, whose manifest
    /// does not have it. Warm refuses a pass that needs more and reports how much.
    pub scratch_bytes: Option<u64>,
}

impl Default for TensorRtConfig {
    fn default() -> Self {
        Self { library: None, gpu: 0, kernels: None, cuda_graphs: true, weight_budget_bytes: None, scratch_bytes: None }
    }
}

impl EngineConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("engine.threads", self.threads, 1, 64)?;
        within("engine.tensorrt.gpu", self.tensorrt.gpu as usize, 0, 63)?;
        if self.tensorrt.cuda_graphs && self.tensorrt.weight_budget_bytes.is_some() {
            return Err(Error::new(ErrorKind::Config, "a pass whose weights are streamed cannot be a CUDA graph")
                .at("engine.tensorrt.cuda_graphs")
                .got(true)
                .wanted("false with a weight budget, or no `engine.tensorrt.weight_budget_bytes`"));
        }
        // Sizes that fit an address.
        for (key, bytes) in [("weight_budget_bytes", self.tensorrt.weight_budget_bytes), ("scratch_bytes", self.tensorrt.scratch_bytes)] {
            if let Some(bytes) = bytes.filter(|&b| i64::try_from(b).is_err()) {
                return Err(Error::new(ErrorKind::Config, "out of range").at(format!("engine.tensorrt.{key}")).got(bytes));
            }
        }
        Ok(())
    }
}
