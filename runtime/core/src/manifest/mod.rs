//! `manifest.yaml`: what an engine folder contains, and the checks that it agrees with itself, with
//! the contract of the graphs ([`crate::bindings`]) and with a configuration.
//!
//! This module parses the text and compares names, types and shapes; the engine crate reads and
//! hashes the files. A manifest that passed [`Manifest::parse`] is safe to act on: file names stay
//! inside the folder, hashes are well-formed, and every graph has the tensors of the contract.

mod built;
mod checks;
mod entries;
mod monitors;
mod trained;

pub use entries::{
    ActionNormalisation, CommandTexts, FileEntry, FileRole, FlowDirection, GraphEntry, Normalisations, Precision, SelfTest,
    TrainedSchedule, TrainedShift,
};

pub use monitors::{ImaginationMonitor, LaneMonitor, Monitor, Monitors, SceneMonitor};

pub use trained::{TrainedCamera, TrainedPictures, TrainedQuantity, TrainedRange, TrainedRanges};

pub use built::{Built, Capability, Compatible, Dotted, EngineEntry, Family, Flags, Fusion, Machine, Profile, Version};

use crate::bindings::Graph;
use crate::dims::Model;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::excerpt::one_line;
use crate::guidance::GuidanceSpec;
use crate::tensor::{Axis, Signature, TensorRole, TensorSpec};
use checks::{check_file_name, check_hash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the manifest's layout that this program reads.
pub const SCHEMA: u32 = 2;

/// The name of the file inside an engine folder.
pub const FILE_NAME: &str = "manifest.yaml";

/// A parsed manifest that agrees with itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the layout: [`SCHEMA`].
    pub schema: u32,
    /// The name of the model.
    pub name: String,
    /// The target that the engines were made for, for example `portable-f32`.
    pub target: String,
    /// Which end of the flow time is noise.
    pub flow_direction: FlowDirection,
    /// The model that the weights belong to.
    pub model: Model,
    /// The constants that map physical quantities to those of the model.
    pub normalisation: Normalisations,
    /// The shifts of the noise levels that the weights were trained with.
    pub schedule: TrainedSchedule,
    /// What the weights were trained on. Absent: nobody says, and the ride judges nothing by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_ranges: Option<TrainedRanges>,
    /// The thresholds of the monitors. Absent: the ride has none but those of its inputs.
    #[serde(default, skip_serializing_if = "Monitors::is_empty")]
    pub monitors: Monitors,
    /// The text embeddings of the route commands.
    pub commands: CommandTexts,
    /// The language model and its text encoder. Absent when the folder has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<GuidanceSpec>,
    /// The expected outputs of the graphs. Absent when none were stored; then only the closed-form
    /// engine loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
    /// How the engines were built. Absent in a folder of ONNX graphs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<Built>,
    /// The graphs.
    pub graphs: BTreeMap<Graph, GraphEntry>,
    /// Every file of the folder that may be loaded, with its length and hash.
    pub files: BTreeMap<String, FileEntry>,
    /// How the weights were trained. Free-form: `inspect` shows it, and nothing acts on it.
    #[serde(default)]
    pub training: serde_json::Value,
}

impl Manifest {
    /// Parses and checks the text of a `manifest.yaml`.
    ///
    /// # Errors
    /// `Manifest` for text that is not YAML, an unknown or missing key, another schema, a file name
    /// that leaves the folder, a file that is not listed in `files`, a malformed hash, or a tensor
    /// whose name, type or shape differs from [`Graph::signature`].
    pub fn parse(text: &str) -> Result<Self> {
        // YAML 1.2: only `true` and `false` are booleans. The axis letter N is a string.
        let options = serde_saphyr::options! { strict_booleans: true };
        let manifest: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|e| Error::new(ErrorKind::Manifest, "cannot be read").caused_by(one_line(e)))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// A manifest of `model` with every policy graph of the contract but the monitor, and no files.
    /// It is enough for a plan, and a start for a manifest with files.
    ///
    /// `caches` are the shapes of the encoder's causal cache; the decoder gets none.
    pub fn by_contract(model: &Model, caches: &[Vec<usize>]) -> Self {
        let entry = |graph: Graph| {
            let signature = graph.signature(model, None, if graph == Graph::VaeDecode { &[] } else { caches }, DType::F32);
            let Signature { inputs, outputs } = signature;
            let (file, weights, precision) = (String::new(), Vec::new(), Precision::F32);
            (graph, GraphEntry { file, weights, opset: 0, precision, tolerance: 1e-3, attention: None, engine: None, inputs, outputs })
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
            trained_ranges: None,
            monitors: Monitors::default(),
            commands: CommandTexts { file: String::new(), rows: BTreeMap::new() },
            guidance: None,
            self_test: None,
            built: None,
            graphs: Graph::POLICY.into_iter().filter(|graph| *graph != Graph::Monitor).map(entry).collect(),
            files: BTreeMap::new(),
            training: serde_json::Value::Null,
        }
    }

    fn check(&self) -> Result<()> {
        let bad = |what: &str| Error::new(ErrorKind::Manifest, what);
        if self.schema != SCHEMA {
            return Err(bad("another schema").at("schema").got(self.schema).wanted(SCHEMA));
        }
        for (key, word) in
            [("name", Some(&self.name)), ("target", Some(&self.target)), ("built.gpu", self.built.as_ref().and_then(|b| b.gpu.as_ref()))]
        {
            if word.is_some_and(|word| word.len() > 200 || word.chars().any(char::is_control)) {
                return Err(bad("not printable text").at(key).got(format!("{:?}", word.map_or("", String::as_str))));
            }
        }
        self.model.check()?;
        self.normalisation.action.check().map_err(|e| e.at("normalisation.action"))?;
        for (key, shift) in [("video", &self.schedule.video), ("action", &self.schedule.action)] {
            if !(shift.shift.is_finite() && shift.shift > 0.0) {
                return Err(bad("out of range").at(format!("schedule.{key}.shift")).got(shift.shift).wanted("a positive number"));
            }
        }
        self.trained_ranges.as_ref().map_or(Ok(()), TrainedRanges::check)?;
        self.monitors.check(self.graphs.contains_key(&Graph::Monitor))?;
        for (name, entry) in &self.files {
            check_file_name(name)?;
            check_hash(&entry.sha256).map_err(|e| e.at(format!("files.{name:?}")))?;
        }
        self.listed(&self.commands.file, "commands.file", FileRole::Commands)?;
        if let Some(test) = &self.self_test {
            self.listed(&test.file, "self_test.file", FileRole::SelfTest)?;
        }
        self.built.as_ref().map_or(Ok(()), Built::check_words)?;
        for &command in &self.model.text.commands {
            let rows = self.commands.rows.get(&command).copied().unwrap_or(0);
            if rows == 0 || rows > self.model.text.max_rows {
                return Err(bad("the text of a command has no rows, or too many")
                    .at(format!("commands.rows.{}", command.as_str()))
                    .got(format!("{rows} rows"))
                    .wanted(format!("1 to {}", self.model.text.max_rows)));
            }
        }
        if let Some(guidance) = &self.guidance {
            guidance.check()?;
            self.listed(&guidance.vlm.tokenizer, "guidance.vlm.tokenizer", FileRole::Tokenizer)?;
            self.listed(&guidance.text.tokenizer, "guidance.text.tokenizer", FileRole::Tokenizer)?;
        }
        for (&graph, entry) in &self.graphs {
            self.check_graph(graph, entry)?;
        }
        Ok(())
    }

    fn check_graph(&self, graph: Graph, entry: &GraphEntry) -> Result<()> {
        let at = |key: &str| format!("graphs.{graph}.{key}");
        if !Graph::POLICY.contains(&graph) && self.guidance.is_none() {
            return Err(Error::new(ErrorKind::Manifest, "a graph of a language model that the manifest does not describe")
                .at(at(""))
                .wanted("the section `guidance`"));
        }
        let bad = |key: &str, what: &str| Error::new(ErrorKind::Manifest, what).at(at(key));
        let loose = self.built.as_ref().is_some_and(|built| built.flags.tf32);
        let most = entry.precision.tolerance(loose);
        if !(entry.tolerance > 0.0 && entry.tolerance <= most) {
            return Err(bad("tolerance", "out of range")
                .got(entry.tolerance)
                .wanted(format!("above 0, at most {most} in {}", entry.precision)));
        }
        match (&entry.engine, &self.built) {
            (None, None) => self.listed(&entry.file, &at("file"), FileRole::Graph)?,
            (Some(engine), Some(_)) => {
                self.listed(&entry.file, &at("file"), FileRole::Engine)?;
                if !entry.weights.is_empty() {
                    return Err(bad("weights", "an engine holds its weights").got(format!("{:?}", entry.weights)));
                }
                engine.check_words(entry.is_dynamic()).map_err(|e| e.at(at("engine")))?;
                engine.layers.as_ref().map_or(Ok(()), |file| self.listed(file, &at("engine.layers"), FileRole::Report))?;
            }
            (Some(_), None) => return Err(bad("engine", "an engine, and `built` does not say by what")),
            (None, Some(_)) => return Err(bad("engine", "missing, and the section `built` says that the graphs are engines")),
        }
        for weights in &entry.weights {
            self.listed(weights, &at("weights"), FileRole::Weights)?;
        }
        let signature = self.signature(graph)?;
        compare(graph, "input", &entry.inputs, &signature.inputs)?;
        compare(graph, "output", &entry.outputs, &signature.outputs)
    }

    fn listed(&self, file: &str, key: &str, role: FileRole) -> Result<()> {
        let bad = |what: &str| Error::new(ErrorKind::Manifest, what).at(key.to_owned());
        match self.files.get(file) {
            Some(entry) if entry.role == role => Ok(()),
            Some(entry) => Err(bad("names a file of another role").at(format!("{file:?}")).got(entry.role).wanted(role)),
            None => Err(bad("names a file that is not listed in `files`").got(format!("{file:?}"))),
        }
    }

    /// The tensors that `graph` must have by the contract. Cached tensors have the precision of the
    /// graph's entry; the codec's caches have the shapes in that entry.
    ///
    /// # Errors
    /// `Manifest` when the folder has no such graph.
    pub fn signature(&self, graph: Graph) -> Result<Signature> {
        Ok(graph.signature(&self.model, self.guidance.as_ref(), &self.caches(graph), self.graph(graph)?.precision.dtype()))
    }

    /// The entry of `graph`.
    ///
    /// # Errors
    /// `Manifest` when the folder has no such graph.
    pub fn graph(&self, graph: Graph) -> Result<&GraphEntry> {
        self.graphs.get(&graph).ok_or_else(|| Error::new(ErrorKind::Manifest, "the folder has no such graph").at(format!("graphs.{graph}")))
    }

    /// The description of the language model and its text encoder.
    ///
    /// # Errors
    /// `Manifest` when the folder has none.
    pub fn guidance(&self) -> Result<&GuidanceSpec> {
        let none = || {
            Error::new(ErrorKind::Manifest, "the folder has no language model").at("guidance").wanted("a folder that guidance.join made")
        };
        self.guidance.as_ref().ok_or_else(none)
    }

    /// The trained ranges in one line, or that the manifest does not state them.
    pub fn trained_text(&self) -> String {
        self.trained_ranges.as_ref().map_or_else(|| "trained ranges: not stated".to_owned(), |ranges| format!("trained ranges: {ranges}"))
    }

    /// The shapes of the causal cache of a codec graph, in order. Empty for other graphs, and for a
    /// codec without a cache.
    pub fn caches(&self, graph: Graph) -> Vec<Vec<usize>> {
        let Some(entry) = self.graphs.get(&graph) else { return Vec::new() };
        let mut numbered: BTreeMap<usize, &TensorSpec> = BTreeMap::new();
        for spec in &entry.outputs {
            if let Some(TensorRole::CacheOut(i)) = spec.role {
                numbered.insert(i, spec);
            }
        }
        let mut caches = Vec::new();
        while let Some(cache) = numbered.remove(&caches.len()) {
            caches.push(cache.resolve(0, 0));
        }
        caches
    }

    /// Checks that the configuration describes the same model.
    ///
    /// # Errors
    /// `Manifest`, with the first key that differs and both values.
    pub fn check_model(&self, model: &Model) -> Result<()> {
        if &self.model == model {
            return Ok(());
        }
        let (Ok(serde_json::Value::Object(ours)), Ok(serde_json::Value::Object(theirs))) =
            (serde_json::to_value(&self.model), serde_json::to_value(model))
        else {
            return Err(Error::new(ErrorKind::Manifest, "the configuration describes another model").at("model"));
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
            return Err(bad("the tensor has the wrong element type", &want.name).got(have.dtype).wanted(want.dtype));
        }
        if have.shape != want.shape {
            return Err(bad("the tensor has the wrong shape", &want.name).got(show(&have.shape)).wanted(show(&want.shape)));
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
