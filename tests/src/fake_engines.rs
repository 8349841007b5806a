//! Engine folders for the fake TensorRT: the shipped manifest, with a text file
//! (`runtime/engine/tensorrt/fake/plan.h`) in place of each engine.

use drivewam::guidance::prompt_tokens::decoder_shapes;
use drivewam::guidance::vlm::DecoderShapes;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::manifest::{
    Built, Compatible, Dotted, EngineEntry, FILE_NAME, Family, FileEntry, FileRole, Flags, Fusion, GraphEntry, Manifest, Profile, Version,
};
use drivewam_core::tensor::{Axis, DynamicDim, TensorSpec};
use drivewam_device::cuda::cubins::hex_sha256;
use drivewam_engine::EngineBundle;
use drivewam_engine::bundle::Trust;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// A folder in memory, before it is written.
#[derive(Debug, Clone)]
pub struct FakeBundle {
    /// The manifest; [`write`](Self::write) fills in the hashes of `files`.
    pub manifest: Manifest,
    /// Content of every file, by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// The version that the fake library reports.
pub fn version(family: Family) -> Version {
    match family {
        Family::Tensorrt => Dotted([11, 4, 0]),
        Family::TensorrtRtx => Dotted([1, 7, 1]),
    }
}

/// The first bytes of an engine that TensorRT-RTX 1.7.1 built.
pub const RTX_HEADER: [u8; 64] = [
    0x76, 0x74, 0x72, 0x74, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2c, 0x36, 0x1d, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x01, 0x07, 0x01, 0x74, 0x76, 0x74, 0x72, 0x74, 0x1c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe0, 0x57, 0x16, 0x00, 0x00, 0x00, 0x00, 0x00,
];

/// Scratch memory that every engine requests.
pub const SCRATCH_BYTES: u64 = 4096;

impl FakeBundle {
    /// The shipped graphs as engines of `family`, for passes of the shipped configuration.
    pub fn new(family: Family) -> Self {
        Self::of(family, "engines/tiny")
    }

    /// The graphs of a policy with a language model in `graphs`, as engines for the passes of
    /// `config`.
    pub fn with_guidance(family: Family, graphs: &str, config: &Config) -> Self {
        let bundle = opened(graphs);
        let name = &bundle.manifest().guidance.as_ref().unwrap().vlm.tokenizer;
        let DecoderShapes { prompts, slots } = decoder_shapes(config, bundle.manifest(), bundle.content(name).unwrap().as_slice()).unwrap();
        let of = |n: usize| Profile { n: [n; 3], s: [slots; 3] };
        let lengths: BTreeSet<usize> = prompts.into_iter().chain([1]).collect();
        Self::with(family, &bundle, lengths.into_iter().map(of).collect())
    }

    /// The policy's graphs in `graphs`, below the workspace root, as engines.
    pub fn of(family: Family, graphs: &str) -> Self {
        Self::with(family, &opened(graphs), Vec::new())
    }

    fn with(family: Family, bundle: &EngineBundle, decoder: Vec<Profile>) -> Self {
        let mut manifest = bundle.manifest().clone();
        if decoder.is_empty() {
            manifest.graphs.retain(|graph, _| !Graph::GUIDANCE.contains(graph));
            manifest.guidance = None;
        }
        let content = |name: &str| bundle.content(name).unwrap().as_slice().to_vec();
        let test = manifest.self_test.clone().unwrap().file;
        let tokenizers = manifest.guidance.iter().flat_map(|told| [told.vlm.tokenizer.clone(), told.text.tokenizer.clone()]);
        let kept = [manifest.commands.file.clone(), test].into_iter().chain(tokenizers);
        let mut files: BTreeMap<_, _> = kept.map(|name| (name.clone(), content(&name))).collect();
        let capability = Dotted([9, 0]);
        manifest.target = "a test".into();
        manifest.built = Some(Built {
            family,
            library: version(family),
            driver: None,
            gpu: Some("no GPU, a test, 2 multiprocessors".into()),
            source_sha256: bundle.manifest_sha256().to_owned(),
            flags: Flags::default(),
            compatible: Compatible { compute_capabilities: vec![capability], library_from: version(family), library_to: version(family) },
        });
        let model = manifest.model.clone();
        let s = 112 + 32 + model.video_tokens();
        let rides = [model.video_tokens(), model.action_tokens(), model.packed_tokens()];
        for (graph, entry) in &mut manifest.graphs {
            let profiles: Vec<Profile> = match graph {
                Graph::Dit => rides.map(|n| Profile { n: [n; 3], s: [s; 3] }).to_vec(),
                Graph::VlmDecoder => decoder.clone(),
                _ => Vec::new(),
            };
            entry.engine = Some(EngineEntry {
                onnx_sha256: bundle.manifest().files[&entry.file].sha256.clone(),
                weight_bytes: 0,
                profiles,
                scratch_bytes: Some(SCRATCH_BYTES),
                fusion: Fusion::Unknown,
                layers: None,
                build_seconds: 0.0,
            });
            (entry.file, entry.weights) = (format!("{graph}.engine"), Vec::new());
            files.insert(entry.file.clone(), plan(*graph, entry, version(family)).into_bytes());
        }
        Self { manifest, files }
    }

    /// The text of an engine, to be changed.
    pub fn plan(&mut self, graph: Graph) -> &mut Vec<u8> {
        let file = &self.manifest.graphs[&graph].file;
        self.files.get_mut(file).unwrap()
    }

    /// Replaces the first `from` in an engine's text.
    pub fn replace(&mut self, graph: Graph, from: &str, to: &str) {
        let text = String::from_utf8(self.plan(graph).clone()).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        *self.plan(graph) = text.replacen(from, to, 1).into_bytes();
    }

    /// Sets the expected outputs of the self-test to zero, and the predicted trajectory to that of
    /// zeros: what fake engines without an executor return.
    #[must_use]
    pub fn of_zeros(mut self) -> Self {
        let action = self.manifest.normalisation.action;
        let step: [f64; 3] = std::array::from_fn(|k| 0.5 * (action.q99[k] - action.q01[k] + action.epsilon) + action.q01[k]);
        let zeros = (1..=self.manifest.model.poses()).flat_map(|pose| step.map(|step| (pose as f64 * step) as f32));
        let zeros: Vec<u8> = zeros.flat_map(f32::to_le_bytes).collect();
        let content = self.files.get_mut(&self.manifest.self_test.clone().unwrap().file).unwrap();
        let head = 8 + usize::try_from(u64::from_le_bytes(content[..8].try_into().unwrap())).unwrap();
        let tensors: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&content[8..head]).unwrap();
        for (name, tensor) in tensors {
            let Some(offsets) = tensor["data_offsets"].as_array() else { continue };
            let [from, to] = [0, 1].map(|i| head + usize::try_from(offsets[i].as_u64().unwrap()).unwrap());
            match name.as_str() {
                "trajectory/decoded" => {}
                "trajectory/predicted" => content[from..to].copy_from_slice(&zeros),
                _ => content[from..to].fill(0),
            }
        }
        self
    }

    /// Writes the folder, with hashes of the present `files` in the manifest.
    pub fn write(mut self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        self.manifest.files.clear();
        for (name, content) in &self.files {
            std::fs::write(folder.join(name), content).unwrap();
            let role = match name.as_str() {
                name if name.ends_with(".engine") => FileRole::Engine,
                name if *name == self.manifest.commands.file => FileRole::Commands,
                name if name.ends_with("tokenizer.json") => FileRole::Tokenizer,
                _ => FileRole::SelfTest,
            };
            let entry = FileEntry { sha256: hex_sha256(content), bytes: content.len() as u64, role };
            self.manifest.files.insert(name.clone(), entry);
        }
        std::fs::write(folder.join(FILE_NAME), serde_saphyr::to_string(&self.manifest).unwrap()).unwrap();
    }
}

/// Opens a folder below the workspace root.
fn opened(name: &str) -> EngineBundle {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    EngineBundle::open(&path, &Trust::default()).unwrap_or_else(|e| panic!("{path:?}: run `make fixtures` ({e})"))
}

/// An engine in the text format of the fake library.
fn plan(graph: Graph, entry: &GraphEntry, version: Version) -> String {
    let mut text = format!("fake plan 1\nname {graph}\nversion {version}\n");
    let axes = |spec: &TensorSpec| -> String {
        spec.shape.iter().map(|axis| if let Axis::Fixed(len) = axis { format!(" {len}") } else { " -1".into() }).collect()
    };
    for (side, specs) in [("in", &entry.inputs), ("out", &entry.outputs)] {
        for spec in specs {
            let _ = writeln!(text, "tensor {} {side} {}{}", spec.name, spec.dtype, axes(spec));
        }
    }
    for profile in entry.engine.iter().flat_map(|engine| &engine.profiles) {
        text.push_str("profile\n");
        for spec in entry.inputs.iter().filter(|spec| spec.shape.iter().any(|axis| matches!(axis, Axis::Dynamic(_)))) {
            let of = |which: usize| -> String {
                let len = |axis: &Axis| match axis {
                    Axis::Fixed(len) => *len,
                    Axis::Dynamic(DynamicDim::N) => profile.n[which],
                    Axis::Dynamic(DynamicDim::S) => profile.s[which],
                };
                spec.shape.iter().map(|axis| format!(" {}", len(axis))).collect()
            };
            let _ = writeln!(text, "range {}{} |{} |{}", spec.name, of(0), of(1), of(2));
        }
    }
    let _ = writeln!(text, "scratch {SCRATCH_BYTES}\nweights 0\nlayers {{\"Layers\": []}}\nend");
    text
}
