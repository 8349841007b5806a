//! `engine:` who runs the graphs, and where.

use super::sections::within;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// `engine:` who runs the graphs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// The engine library. Never swapped for another in silence.
    pub kind: EngineKind,
    /// Folder with `manifest.yaml`, relative to the file that names it.
    pub folder: String,
    /// Threads inside the engine library, 1 to 64.
    pub threads: usize,
    /// Path of the ONNX Runtime library; else the environment's `ORT_DYLIB_PATH`. Used by `kind: ort` alone.
    #[serde(default)]
    pub onnxruntime: Option<String>,
    /// Used by the kinds `tensorrt` and `tensorrt_rtx` alone.
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
    /// Closed-form arithmetic with the graphs' borders: for tests of everything around an engine.
    ClosedForm,
}

impl EngineKind {
    /// Whether the ride needs a GPU: its memory, kernels and engines are there.
    pub fn on_gpu(self) -> bool {
        matches!(self, Self::Tensorrt | Self::TensorrtRtx)
    }
}

/// `engine.tensorrt:` a GPU, and the library that runs engines on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TensorRtConfig {
    /// Path of the library; else the environment's `DRIVEWAM_TENSORRT`, else the usual names.
    pub library: Option<String>,
    /// Which GPU, from 0.
    pub gpu: u32,
    /// Folder of CUDA kernels, relative to the file that names it; else `kernels` beside `engine.folder`.
    pub kernels: Option<String>,
    /// Every pass is one CUDA graph, captured in Warm. Default true; a pass that cannot be captured is then refused.
    pub cuda_graphs: bool,
    /// Weights on the GPU, bytes of each engine; the others stream in. Only engines built with weight streaming, and passes without graphs; else all weights
    /// are there.
    pub weight_budget_bytes: Option<u64>,
    /// Device memory for a pass, where the manifest does not know it (its builder had no GPU); a pass that needs more is refused in Warm and says so.
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
            return Err(Error::new(ErrorKind::Config, "a pass whose weights stream in cannot be a graph")
                .at("engine.tensorrt.cuda_graphs")
                .got(true)
                .wanted("false with a weight budget, or no `engine.tensorrt.weight_budget_bytes`"));
        }
        // Numbers that an address can count to.
        for (key, bytes) in [("weight_budget_bytes", self.tensorrt.weight_budget_bytes), ("scratch_bytes", self.tensorrt.scratch_bytes)] {
            if let Some(bytes) = bytes.filter(|&b| i64::try_from(b).is_err()) {
                return Err(Error::new(ErrorKind::Config, "out of range").at(format!("engine.tensorrt.{key}")).got(bytes));
            }
        }
        Ok(())
    }
}
