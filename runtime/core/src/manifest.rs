//! `manifest.yaml`: what a folder of engines vouches for, and whether it agrees with itself, with [`crate::bindings`] and with a
//! configuration.
//!
//! Parsing and every comparison of words live here; reading files and hashing them is the engine floor's work. A manifest that passed
//! [`Manifest::parse`] is safe to act on: file names stay inside the folder, hashes are hashes, every graph has the tensors of the contract.

use crate::bindings::{Axis, Graph, Signature, TensorSpec};
use crate::dims::{Command, INCREMENT_CHANNELS, Model};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The layout of the manifest that this program reads.
pub const SCHEMA: u32 = 1;

/// The file's name inside an engine folder.
pub const FILE_NAME: &str = "manifest.yaml";

/// A parsed and self-consistent manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The model's name.
    pub name: String,
    /// What the engines were made for, for example `portable-f32`.
    pub target: String,
    /// Which end of the flow is noise.
    pub flow_direction: FlowDirection,
    /// The model that the weights belong to.
    pub model: Model,
    /// Numbers that map physical quantities to the model's.
    pub normalisation: Normalisations,
    /// The shifts that the weights were trained with.
    pub schedule: TrainedSchedule,
    /// Text embeddings of the route commands.
    pub commands: CommandTexts,
    /// The graphs.
    pub graphs: BTreeMap<Graph, GraphEntry>,
    /// Every file that the folder vouches for.
    pub files: BTreeMap<String, FileEntry>,
    /// How the weights came to be; free-form, shown by `inspect`, never acted on.
    #[serde(default)]
    pub training: serde_json::Value,
}

/// Which end of the flow is noise. One value exists; a folder of the other convention must not load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowDirection {
    /// Flow time 1 is noise, 0 is data.
    #[serde(rename = "tau_1_is_noise")]
    Tau1IsNoise,
}

/// Numbers that map physical quantities to the model's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisations {
    /// Of the action increments.
    pub action: ActionNormalisation,
}

/// Quantiles of the action increments (dx m, dy m, dyaw rad, each over one step): a_n = 2·(a − q01) / (q99 − q01 + ε) − 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionNormalisation {
    /// 1 % quantile of each channel.
    pub q01: [f64; INCREMENT_CHANNELS],
    /// 99 % quantile of each channel.
    pub q99: [f64; INCREMENT_CHANNELS],
    /// ε.
    pub epsilon: f64,
}

impl ActionNormalisation {
    /// Proves that the map can be inverted.
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

/// Where the text embeddings of the route commands lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTexts {
    /// A safetensors file with one `[rows, Dt]` f32 tensor per command, named by the command.
    pub file: String,
    /// Rows of each command's text.
    pub rows: BTreeMap<Command, usize>,
}

/// One graph of the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphEntry {
    /// The graph's own file.
    pub file: String,
    /// Weight files that it points into.
    pub weights: Vec<String>,
    /// ONNX operator set.
    pub opset: u32,
    /// Precision of the weights and of the inner arithmetic.
    pub precision: String,
    /// How attention over the memory is written, where the graph has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<String>,
    /// Inputs; the order carries no meaning.
    pub inputs: Vec<TensorSpec>,
    /// Outputs; the order carries no meaning.
    pub outputs: Vec<TensorSpec>,
}

/// One file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Length.
    pub bytes: u64,
}

impl Manifest {
    /// Parses and checks the text of a `manifest.yaml`.
    ///
    /// # Errors
    /// `Manifest`: not YAML, an unknown or missing key, another schema, a file name that leaves the folder, a file that nothing vouches for,
    /// a malformed hash, a tensor whose name, type or shape differs from [`Graph::signature`].
    pub fn parse(text: &str) -> Result<Self> {
        // YAML 1.2: only true and false are booleans. The axis letter N is none.
        let options = serde_saphyr::options! { strict_booleans: true };
        let manifest: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|e| Error::new(ErrorKind::Manifest, "cannot be read").caused_by(e))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// A manifest of `model` with every graph of the contract, which vouches for no file: the start of one that does, and all that a plan needs.
    /// `caches` are the shapes of the codec's causal cache; its decoder has none.
    pub fn by_contract(model: &Model, caches: &[Vec<usize>]) -> Self {
        let entry = |graph: Graph| {
            let signature = graph.signature(model, if graph == Graph::VaeDecode { &[] } else { caches });
            let Signature { inputs, outputs } = signature;
            let (file, precision) = (String::new(), "f32".to_owned());
            (graph, GraphEntry { file, weights: Vec::new(), opset: 0, precision, attention: None, inputs, outputs })
        };
        let shift = || TrainedShift { shift: 1.0 };
        Self {
            schema: SCHEMA,
            name: model.name.clone(),
            target: "contract".to_owned(),
            flow_direction: FlowDirection::Tau1IsNoise,
            model: model.clone(),
            normalisation: Normalisations {
                action: ActionNormalisation { q01: [0.0, -0.02, -0.02], q99: [1.5, 0.02, 0.02], epsilon: 1e-6 },
            },
            schedule: TrainedSchedule { video: shift(), action: shift() },
            commands: CommandTexts { file: String::new(), rows: BTreeMap::new() },
            graphs: Graph::ALL.map(entry).into(),
            files: BTreeMap::new(),
            training: serde_json::Value::Null,
        }
    }

    fn check(&self) -> Result<()> {
        let bad = |what: &str| Error::new(ErrorKind::Manifest, what);
        if self.schema != SCHEMA {
            return Err(bad("another schema").at("schema").got(self.schema).wanted(SCHEMA));
        }
        self.model.check()?;
        self.normalisation.action.check().map_err(|e| e.at("normalisation.action"))?;
        for (key, shift) in [("video", &self.schedule.video), ("action", &self.schedule.action)] {
            if !(shift.shift.is_finite() && shift.shift > 0.0) {
                return Err(bad("out of range").at(format!("schedule.{key}.shift")).got(shift.shift).wanted("a positive number"));
            }
        }
        for (name, entry) in &self.files {
            check_file_name(name)?;
            let hex = entry.sha256.len() == 64 && entry.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !hex {
                return Err(bad("not a SHA-256")
                    .at(format!("files.{name:?}"))
                    .got(format!("{:?}", entry.sha256))
                    .wanted("64 lower-case hexadecimal digits"));
            }
        }
        self.vouched(&self.commands.file, "commands.file")?;
        for &command in &self.model.text.commands {
            let rows = self.commands.rows.get(&command).copied().unwrap_or(0);
            if rows == 0 || rows > self.model.text.max_rows {
                return Err(bad("a command without a text that fits")
                    .at(format!("commands.rows.{}", command.as_str()))
                    .got(format!("{rows} rows"))
                    .wanted(format!("1 to {}", self.model.text.max_rows)));
            }
        }
        for (&graph, entry) in &self.graphs {
            self.vouched(&entry.file, &format!("graphs.{graph}.file"))?;
            for weights in &entry.weights {
                self.vouched(weights, &format!("graphs.{graph}.weights"))?;
            }
            let signature = graph.signature(&self.model, &self.caches(graph));
            compare(graph, "input", &entry.inputs, &signature.inputs)?;
            compare(graph, "output", &entry.outputs, &signature.outputs)?;
        }
        Ok(())
    }

    fn vouched(&self, file: &str, key: &str) -> Result<()> {
        if self.files.contains_key(file) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Manifest, "names a file that `files` does not vouch for").at(key.to_owned()).got(format!("{file:?}")))
    }

    /// The entry of `graph`.
    ///
    /// # Errors
    /// `Manifest` when the folder has no such graph.
    pub fn graph(&self, graph: Graph) -> Result<&GraphEntry> {
        self.graphs.get(&graph).ok_or_else(|| Error::new(ErrorKind::Manifest, "the folder has no such graph").at(format!("graphs.{graph}")))
    }

    /// Shapes of the causal cache of a codec graph, in order; empty for other graphs and for a codec without one.
    pub fn caches(&self, graph: Graph) -> Vec<Vec<usize>> {
        let Some(entry) = self.graphs.get(&graph) else { return Vec::new() };
        let mut caches = Vec::new();
        while let Some(cache) = entry.outputs.iter().find(|t| t.name == format!("cache_out.{}", caches.len())) {
            caches.push(cache.resolve(0, 0));
        }
        caches
    }

    /// Proves that a configuration speaks of the same model.
    ///
    /// # Errors
    /// `Manifest`, naming the first key that differs, with both values.
    pub fn check_model(&self, model: &Model) -> Result<()> {
        if &self.model == model {
            return Ok(());
        }
        let (Ok(serde_json::Value::Object(ours)), Ok(serde_json::Value::Object(theirs))) =
            (serde_json::to_value(&self.model), serde_json::to_value(model))
        else {
            return Err(Error::new(ErrorKind::Manifest, "the configuration speaks of another model").at("model"));
        };
        let differing = ours.iter().find(|(key, value)| theirs.get(*key) != Some(*value));
        let (key, got, wanted) = match differing {
            Some((key, value)) => (key.as_str(), value.to_string(), theirs.get(key).map(ToString::to_string).unwrap_or_default()),
            None => ("?", String::new(), String::new()),
        };
        Err(Error::new(ErrorKind::Manifest, "the engines were made for another model than the configuration's")
            .at(format!("model.{key}"))
            .got(got)
            .wanted(wanted))
    }
}

fn check_file_name(name: &str) -> Result<()> {
    let plain = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if plain {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Manifest, "not a plain file name of this folder")
        .at("files")
        .got(format!("{name:?}"))
        .wanted("letters, digits, '.', '_' and '-'"))
}

fn compare(graph: Graph, side: &str, got: &[TensorSpec], wanted: &[TensorSpec]) -> Result<()> {
    let bad = |what: &str, name: &str| Error::new(ErrorKind::Manifest, what).at(format!("graphs.{graph}: {side} {name:?}"));
    for (i, tensor) in got.iter().enumerate() {
        if got[..i].iter().any(|t| t.name == tensor.name) {
            return Err(bad("named twice", &tensor.name));
        }
    }
    for want in wanted {
        let Some(have) = got.iter().find(|t| t.name == want.name) else {
            return Err(bad("missing", &want.name).wanted(want));
        };
        if have.dtype != want.dtype {
            return Err(bad("wrong element type", &want.name).got(have.dtype).wanted(want.dtype));
        }
        if have.shape != want.shape {
            return Err(bad("wrong shape", &want.name).got(show(&have.shape)).wanted(show(&want.shape)));
        }
    }
    match got.iter().find(|t| wanted.iter().all(|w| w.name != t.name)) {
        Some(extra) => Err(bad("not a tensor of this graph", &extra.name)),
        None => Ok(()),
    }
}

fn show(shape: &[Axis]) -> String {
    let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", axes.join(", "))
}
