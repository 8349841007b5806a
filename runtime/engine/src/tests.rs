//! Helpers of several modules' tests: the shipped model and engines, spoilt ones, and the tensors
//! of a graph in an arena.

use crate::bundle::{EngineBundle, Trust};
use crate::bytes::Bytes;
use crate::engine::{Binding, BoundTensor, Engine, Io};
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{Graph, IS_ACTION, MASKED, MEM_BIAS, TEXT_BIAS};
use drivewam_core::dims::Model;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::{GraphEntry, Manifest};
use drivewam_core::tensor::{Axis, TensorSpec};
use drivewam_core::{ErrorKind, Result};
use drivewam_device::{DeviceMemory, HostDevice};
use std::collections::BTreeMap;

pub(crate) fn tiny() -> Model {
    #[derive(serde::Deserialize)]
    struct File {
        model: Model,
    }
    let file: File = serde_saphyr::from_str(include_str!("../../../configs/model/tiny.yaml")).unwrap();
    file.model.check().unwrap();
    file.model
}

/// The shipped engines, or those of the bundle that `DRIVEWAM_TEST_ENGINES` names.
pub(crate) fn shipped() -> EngineBundle {
    let path =
        std::env::var("DRIVEWAM_TEST_ENGINES").unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../engines/tiny").to_owned());
    EngineBundle::open(path.as_ref(), &Trust::default()).unwrap()
}

type Contents = BTreeMap<String, Vec<u8>>;

/// The shipped engines after `spoil`, with hashes of the new contents.
pub(crate) fn spoilt(spoil: impl FnOnce(&mut Manifest, &mut Contents)) -> EngineBundle {
    let folder = shipped();
    let mut manifest = folder.manifest().clone();
    let mut contents = folder.files().map(|(name, _)| (name.to_owned(), folder.content(name).unwrap().as_slice().to_vec())).collect();
    spoil(&mut manifest, &mut contents);
    for (name, content) in &contents {
        manifest.files.insert(name.clone(), crate::bundle::attest(content, manifest.files[name].role));
    }
    EngineBundle::in_memory(manifest, contents.into_iter().map(|(name, content)| (name, Bytes::copy_of(&content).unwrap())).collect())
        .unwrap()
}

/// Replaces every `from` by `to`, which has the same length. There must be one.
fn replace(content: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = content.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "{:?} is not there", String::from_utf8_lossy(from));
    for at in places {
        content[at..at + to.len()].copy_from_slice(to);
    }
}

/// In the table entry of the tensor `name` (a protobuf `ValueInfoProto`), replaces the first `from`
/// by `to`.
fn replace_in_table(content: &mut [u8], name: &str, from: &[u8], to: &[u8]) {
    let head = [b"\x0a", &[name.len() as u8][..], name.as_bytes(), b"\x12"].concat();
    let at = content.windows(head.len()).position(|w| w == head).unwrap();
    let field = at + content[at..].windows(from.len()).position(|w| w == from).unwrap();
    content[field..field + to.len()].copy_from_slice(to);
}

/// Every engine that reads ONNX must refuse these graphs, with a message that says what is wrong.
pub(crate) fn refuses_bad_graphs(open_and_bind: impl Fn(&EngineBundle, Graph, &mut Bench) -> Result<()>) {
    struct Case {
        name: &'static str,
        spoil: fn(&mut Manifest, &mut Contents),
        kinds: &'static [ErrorKind],
        words: &'static [&'static str],
    }
    fn onnx(contents: &mut Contents) -> &mut Vec<u8> {
        contents.get_mut("context_ego.onnx").unwrap()
    }
    fn entry(manifest: &mut Manifest) -> &mut GraphEntry {
        manifest.graphs.get_mut(&Graph::ContextEgo).unwrap()
    }
    const MANIFEST: &[ErrorKind] = &[ErrorKind::Manifest];
    let cases = [
        Case {
            name: "garbage",
            spoil: |_, c| *onnx(c) = b"\x89PNG garbage".repeat(99),
            kinds: MANIFEST,
            words: &["context_ego.onnx", "not an ONNX"],
        },
        Case { name: "empty", spoil: |_, c| onnx(c).clear(), kinds: MANIFEST, words: &["context_ego.onnx", "not an ONNX"] },
        Case {
            name: "half",
            spoil: |_, c| {
                let half = onnx(c).len() / 2;
                onnx(c).truncate(half);
            },
            kinds: MANIFEST,
            words: &["context_ego.onnx", "not an ONNX"],
        },
        Case {
            name: "another input name",
            spoil: |_, c| replace_in_table(onnx(c), "ego", b"ego", b"egg"),
            kinds: MANIFEST,
            words: &["context_ego.onnx", "input \"ego\"", "does not have"],
        },
        Case {
            name: "another element type",
            spoil: |_, c| replace_in_table(onnx(c), "ego", b"\x08\x01", b"\x08\x0a"),
            kinds: MANIFEST,
            words: &["input \"ego\"", "element type", "got f16, wanted f32"],
        },
        Case {
            name: "another shape",
            spoil: |_, c| replace_in_table(onnx(c), "ego", b"\x0a\x02\x08\x03", b"\x0a\x02\x08\x04"),
            kinds: MANIFEST,
            words: &["input \"ego\"", "another shape", "[4]", "[3]"],
        },
        Case {
            name: "another operator set",
            spoil: |m, _| entry(m).opset = 17,
            kinds: MANIFEST,
            words: &["operator set", "got 18, wanted 17"],
        },
        Case {
            name: "a weight file that is not named",
            spoil: |m, _| entry(m).weights = vec!["dit.safetensors".into()],
            kinds: MANIFEST,
            words: &["weight", "context.safetensors", "dit.safetensors"],
        },
        Case {
            name: "a weight file that is too short",
            spoil: |_, c| c.get_mut("context.safetensors").unwrap().truncate(100_000),
            kinds: MANIFEST,
            words: &["weight", "beyond", "100000"],
        },
        Case {
            name: "an operator that does not exist",
            spoil: |_, c| replace(onnx(c), b"MatMul", b"MatMux"),
            kinds: MANIFEST,
            words: &["context_ego", "MatMux"],
        },
        Case {
            name: "2,000 graphs inside one another",
            spoil: |_, c| *onnx(c) = crate::onnx::tests::nested("If", 2000),
            kinds: MANIFEST,
            words: &["context_ego.onnx", "\"If\""],
        },
        Case {
            name: "an output of another shape than its table says",
            spoil: |m, c| {
                entry(m).outputs.iter_mut().find(|t| t.name == "ego_k.0").unwrap().shape[2] = Axis::Fixed(16);
                replace_in_table(onnx(c), "ego_k.0", b"\x0a\x02\x08\x20", b"\x0a\x02\x08\x10");
            },
            kinds: MANIFEST,
            words: &["ego_k.0", "16", "32"],
        },
    ];
    let mut failed = Vec::new();
    for case in &cases {
        let folder = spoilt(case.spoil);
        let mut bench = Bench::new(folder.manifest().graph(Graph::ContextEgo).unwrap(), 0, 0);
        match open_and_bind(&folder, Graph::ContextEgo, &mut bench) {
            Ok(()) => failed.push(format!("{}: taken", case.name)),
            Err(e) => {
                let text = e.to_string();
                if !case.kinds.contains(&e.kind()) || !case.words.iter().all(|word| text.contains(word)) {
                    failed.push(format!("{}: {text}", case.name));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The tensors of a graph, each in its own region.
#[derive(Debug)]
pub(crate) struct Bench {
    pub device: HostDevice,
    pub io: Io,
}

impl Bench {
    /// Regions for every tensor of `entry` at N = `n`, S = `s`. Inputs hold numbers of a fixed
    /// sequence in [-1, 1]; one row in four is an action row, and every fifth slot is empty.
    pub fn new(entry: &GraphEntry, n: usize, s: usize) -> Self {
        let mut planner = Planner::new();
        let mut plan = |specs: &[TensorSpec]| -> Vec<BoundTensor> {
            specs
                .iter()
                .map(|spec| {
                    let shape = spec.resolve(n, s);
                    BoundTensor { name: spec.name.clone(), region: planner.add("bench", &spec.name, DType::F32, &shape).unwrap(), shape }
                })
                .collect()
        };
        let io = Io { inputs: plan(&entry.inputs), outputs: plan(&entry.outputs), scratch: None };
        let device = HostDevice::new(planner.finish(1 << 30).unwrap(), 1).unwrap();
        let mut bench = Self { device, io };
        let mut state = 1u64;
        for bound in bench.io.inputs.clone() {
            let data: Vec<f32> = (0..bound.region.len())
                .map(|i| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    match bound.name.as_str() {
                        IS_ACTION => f32::from(u8::from(i * 4 >= bound.region.len() * 3)),
                        MEM_BIAS if i % 5 == 4 => MASKED,
                        MEM_BIAS | TEXT_BIAS => 0.0,
                        _ => (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0,
                    }
                })
                .collect();
            bench.set(&bound.name, &data);
        }
        bench
    }

    fn find<'a>(bound: &'a [BoundTensor], name: &str) -> &'a BoundTensor {
        bound.iter().find(|b| b.name == name).unwrap()
    }

    pub fn set(&mut self, input: &str, data: &[f32]) {
        let region = Self::find(&self.io.inputs, input).region;
        self.device.upload(region, data).unwrap();
    }

    pub fn input(&mut self, name: &str) -> Vec<f32> {
        self.get(Self::find(&self.io.inputs, name).region)
    }

    pub fn output(&mut self, name: &str) -> Vec<f32> {
        self.get(Self::find(&self.io.outputs, name).region)
    }

    pub fn get(&mut self, region: Region) -> Vec<f32> {
        let mut data = vec![0.0; region.len()];
        self.device.download(region, &mut data).unwrap();
        data
    }

    pub fn bind(&mut self, engine: &mut dyn Engine) -> Result<Binding> {
        engine.bind(&mut self.device, &self.io)
    }

    pub fn run(&mut self, engine: &mut dyn Engine, binding: Binding) -> Result<()> {
        engine.run(binding, &mut self.device)
    }
}
