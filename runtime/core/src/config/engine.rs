//! `engine:` which library runs the graphs, and where.

use crate::error::{Error, ErrorKind, Result};
use crate::excerpt::quoted;
use crate::ranges::{bad, within};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `engine:` which library runs the graphs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// The library that runs the graphs. If it cannot be loaded, that is an error: no other library
    /// takes its place.
    pub kind: EngineKind,
    /// The engine folder, which contains `manifest.yaml`. Relative to the file that names it.
    pub folder: String,
    /// The SHA-256 of `manifest.yaml` in the engine folder, 64 lower-case hexadecimal digits. A
    /// folder with another manifest is refused before the manifest is read. The exporter and
    /// `build_engines` print it. When it is left out, any manifest is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// The threads inside the library. Used by the kinds `rten` and `ort`.
    pub threads: usize,
    /// The longest time, in seconds, that Warm may take to load one graph, to run one shape for the
    /// first time, for the rollout of the self-test, and for the rehearsal. After it the process
    /// ends with an error: a call into a library cannot be stopped.
    #[serde(default = "warm_time_limit_s")]
    pub warm_time_limit_s: u64,
    /// The path of the ONNX Runtime library, used by the kind `ort`. Relative to the file that
    /// names it; a bare file name is left to the system's loader. When it is left out, the
    /// environment variable `ORT_DYLIB_PATH` must name the library, which is refused together with
    /// `vehicle.trusted_keys`.
    #[serde(default)]
    pub onnxruntime: Option<String>,
    /// Used by the kinds `tensorrt` and `tensorrt_rtx`.
    #[serde(default)]
    pub tensorrt: TensorRtConfig,
}

fn warm_time_limit_s() -> u64 {
    600
}

/// A library that runs graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// rten, a Rust library that is part of the program. Computes in f32.
    Rten,
    /// ONNX Runtime, loaded at run time.
    Ort,
    /// TensorRT on a GPU, loaded at run time. Its engines are built on the target.
    Tensorrt,
    /// TensorRT-RTX on a GPU, loaded at run time.
    TensorrtRtx,
    /// Closed-form arithmetic with the inputs and outputs of the graphs, for tests of everything
    /// around an engine.
    ClosedForm,
}

impl EngineKind {
    /// Whether the engines run on a GPU. The ride's memory and kernels are then on the GPU too.
    pub fn on_gpu(self) -> bool {
        matches!(self, Self::Tensorrt | Self::TensorrtRtx)
    }
}

/// `engine.tensorrt:` the GPU, and the library that runs engines on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TensorRtConfig {
    /// The path of the TensorRT library. Relative to the file that names it; a bare file name is
    /// left to the system's loader. When it is left out, the environment variable
    /// `DRIVEWAM_TENSORRT` names it, which is refused together with `vehicle.trusted_keys`; when
    /// that is not set either, the library's usual file names are tried.
    pub library: Option<String>,
    /// The index of the GPU, from 0.
    pub gpu: u32,
    /// The folder of compiled CUDA kernels. Relative to the file that names it. When it is left
    /// out: `kernels` beside `engine.folder`.
    pub kernels: Option<String>,
    /// Whether each pass runs as one CUDA graph, which Warm captures. If so, a pass that cannot be
    /// captured is refused.
    pub cuda_graphs: bool,
    /// How many bytes of each engine's weights stay on the GPU; the others are streamed in during a
    /// pass. Requires engines built with `build.flags.weight_streaming`, and
    /// `engine.tensorrt.cuda_graphs: false`. When it is left out, all weights stay on the GPU.
    pub weight_budget_bytes: Option<u64>,
    /// The least size of the GPU memory that the engines use as scratch. Required when the manifest
    /// does not record the size, because the engines were built without a GPU; otherwise the
    /// recorded size is enough. A pass that needs more is refused in Warm, with an error that says
    /// how much it needs.
    pub scratch_bytes: Option<u64>,
}

impl Default for TensorRtConfig {
    fn default() -> Self {
        Self { library: None, gpu: 0, kernels: None, cuda_graphs: true, weight_budget_bytes: None, scratch_bytes: None }
    }
}

impl EngineConfig {
    /// The defaults for `kind`, on one thread; names no folder.
    pub fn new(kind: EngineKind) -> Self {
        Self {
            kind,
            folder: String::new(),
            manifest_sha256: None,
            threads: 1,
            warm_time_limit_s: warm_time_limit_s(),
            onnxruntime: None,
            tensorrt: TensorRtConfig::default(),
        }
    }

    /// `warm_time_limit_s`.
    pub fn warm_time_limit(&self) -> Duration {
        Duration::from_secs(self.warm_time_limit_s)
    }

    pub(super) fn check(&self) -> Result<()> {
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if let Some(odd) = self.manifest_sha256.as_ref().filter(|text| !is_hash(text)) {
            return Err(bad("engine.manifest_sha256", quoted(odd), "64 lower-case hexadecimal digits"));
        }
        within("engine.threads", self.threads, 1, 64)?;
        let limit = usize::try_from(self.warm_time_limit_s).unwrap_or(usize::MAX);
        within("engine.warm_time_limit_s", limit, 1, 86400)?;
        within("engine.tensorrt.gpu", self.tensorrt.gpu as usize, 0, 63)?;
        if self.tensorrt.cuda_graphs && self.tensorrt.weight_budget_bytes.is_some() {
            return Err(Error::new(ErrorKind::Config, "a pass whose weights stream in cannot be a graph")
                .at("engine.tensorrt.cuda_graphs")
                .got(true)
                .wanted("false with a weight budget, or no `engine.tensorrt.weight_budget_bytes`"));
        }
        // Both must fit a signed 64-bit integer.
        let size = |bytes: Option<u64>| usize::try_from(bytes.unwrap_or(0)).unwrap_or(usize::MAX);
        within("engine.tensorrt.weight_budget_bytes", size(self.tensorrt.weight_budget_bytes), 0, i64::MAX as usize)?;
        within("engine.tensorrt.scratch_bytes", size(self.tensorrt.scratch_bytes), 0, i64::MAX as usize)
    }
}
