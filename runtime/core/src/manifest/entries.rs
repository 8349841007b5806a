//! The sections that every manifest has.

use super::built::EngineEntry;
use crate::dims::{Command, INCREMENT_CHANNELS};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::TensorSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which end of the flow is noise. Only one value exists, so that a bundle of the other convention
/// is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowDirection {
    /// Flow time 1 is noise, 0 is data.
    #[serde(rename = "tau_1_is_noise")]
    Tau1IsNoise,
}

/// Normalisation of physical quantities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisations {
    /// Of the action increments.
    pub action: ActionNormalisation,
}

/// Quantiles of the action increments (dx m, dy m, dyaw rad, each over one step). The normalised
/// value is 2·(a − q01) / (q99 − q01 + ε) − 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionNormalisation {
    /// The 1 % quantile of each channel.
    pub q01: [f64; INCREMENT_CHANNELS],
    /// The 99 % quantile of each channel.
    pub q99: [f64; INCREMENT_CHANNELS],
    /// ε.
    pub epsilon: f64,
}

impl ActionNormalisation {
    /// Proves that the normalisation can be inverted.
    ///
    /// # Errors
    /// `Manifest` when a quantile is not finite, the two are out of order, or ε is not positive.
    pub fn check(&self) -> Result<()> {
        let ordered = self.q01.iter().zip(&self.q99).all(|(lo, hi)| lo.is_finite() && hi.is_finite() && lo <= hi);
        if ordered && self.epsilon > 0.0 && self.epsilon.is_finite() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Manifest, "not quantiles")
            .got(format!("q01 {:?}, q99 {:?}, epsilon {}", self.q01, self.q99, self.epsilon))
            .wanted("finite numbers, q01 <= q99, a positive epsilon"))
    }
}

/// The shifts that the weights were trained with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedSchedule {
    /// Of the video stream.
    pub video: TrainedShift,
    /// Of the action stream.
    pub action: TrainedShift,
}

/// The shift of one stream's noise levels in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedShift {
    /// s of sigma = s·u / (1 + (s − 1)·u).
    pub shift: f64,
}

/// The text embeddings of the route commands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTexts {
    /// A safetensors file with one `[rows, Dt]` f32 tensor per command, named by the command.
    pub file: String,
    /// Rows of each command's text.
    pub rows: BTreeMap<Command, usize>,
}

/// The reference outputs for inputs that a rule makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// A safetensors file with samples and the norm of every output of every graph.
    pub file: String,
}

/// The precision of weights, of arithmetic, and of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single.
    F32,
    /// Half.
    F16,
    /// bfloat16.
    Bf16,
}

impl Precision {
    /// The element type of cached keys and values, those of the context included.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::Bf16,
        }
    }
}

impl Precision {
    /// Largest accepted error of an output, relative to the reference's root mean square: a few
    /// times the rounding error. With `tf32`, products of f32 are rounded to ten bits of mantissa.
    pub fn tolerance(self, tf32: bool) -> f64 {
        match self {
            Self::F32 if tf32 => 2e-2,
            Self::F32 => 1e-3,
            Self::F16 => 2e-2,
            Self::Bf16 => 1e-1,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.dtype().fmt(f)
    }
}

/// One graph of the bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphEntry {
    /// The graph's own file: an ONNX model, or an engine.
    pub file: String,
    /// Weight files that the ONNX model points into.
    pub weights: Vec<String>,
    /// ONNX operator set.
    pub opset: u32,
    /// Precision of weights, of arithmetic, and of cached keys and values.
    pub precision: Precision,
    /// Largest accepted error of an output in the self-test, relative to the reference's root mean
    /// square, and of its norm, relative to the reference's norm.
    pub tolerance: f64,
    /// How the graph implements attention over the memory, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<String>,
    /// The engine that a builder made of the graph; `file` is then the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineEntry>,
    /// Inputs, in any order.
    pub inputs: Vec<TensorSpec>,
    /// Outputs, in any order.
    pub outputs: Vec<TensorSpec>,
}

impl GraphEntry {
    /// Whether the graph is loaded from the file `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.file == name || self.weights.iter().any(|weights| weights == name)
    }

    /// Whether an input has a dynamic axis.
    pub fn is_dynamic(&self) -> bool {
        self.inputs.iter().any(TensorSpec::is_dynamic)
    }
}

/// One file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Length, bytes.
    pub bytes: u64,
    /// What it is.
    pub role: FileRole,
}

/// What a file of the bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRole {
    /// An ONNX graph.
    Graph,
    /// Weights of graphs.
    Weights,
    /// An engine, for the machines that `built.compatible` lists.
    Engine,
    /// Text embeddings of the route commands.
    Commands,
    /// Reference outputs.
    SelfTest,
    /// A `tokenizer.json`.
    Tokenizer,
    /// A human-readable report.
    Report,
}

impl std::fmt::Display for FileRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Graph => "graph",
            Self::Weights => "weights",
            Self::Engine => "engine",
            Self::Commands => "commands",
            Self::SelfTest => "self_test",
            Self::Tokenizer => "tokenizer",
            Self::Report => "report",
        })
    }
}
