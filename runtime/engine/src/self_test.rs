//! A graph must put out what the reference did, before it drives: an input that a rule makes, and for every output 64 samples and the norm, which the
//! exporter took from the f32 model in PyTorch. Done for every shape as it is bound, whatever the engine: one that is fast and wrong is refused in Warm.
//!
//! The rule, which `export/drivewam_export/onnx_graphs/self_test.py` has too: element i of the tensor `name` is u = (x >> 8) · 2⁻²³ − 1, where x is the hash lowbias32
//! of FNV-1a(name) + i; `is_action`, `flow_time`, `rope`, biases and `self_scale` have values that a model can mean. Eight slots
//! of the memory hold tokens, spread over all of it; the others are zero and masked, so a larger memory must give the same.
//!
//! How many rows a prompt has nobody knew at export: a pass of the language model begins with the rows that were asked of the reference, which see no
//! later ones, so their keys and values must be the reference's.

use crate::border;
use crate::engine::{Binding, Bound, Engine, Io};
use crate::folder::Folder;
use drivewam_core::bindings::{self, Graph, IDS, IS_ACTION, IS_IMAGE, MASKED, PAD_BIAS, ROPE};
use drivewam_core::manifest::GraphEntry;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// Memory slots that hold a token.
const SLOTS: usize = 8;
/// Most samples of an output.
const SAMPLES: usize = 64;
/// Rows of the language model that the reference was asked for.
const ROWS: usize = 16;

/// An engine whose every bound shape is held against the reference.
#[derive(Debug)]
pub(crate) struct Tested {
    engine: Box<dyn Engine>,
    test: SelfTest,
}

/// What a graph must put out.
#[derive(Debug)]
struct SelfTest {
    graph: Graph,
    entry: GraphEntry,
    n_video: usize,
    n_action: usize,
    /// Of a graph that reads tokens.
    vocabulary: usize,
    /// By `shape/output`: samples and norm.
    answers: BTreeMap<String, (Vec<f32>, f32)>,
}

impl Tested {
    /// Wraps the engine of `graph`.
    ///
    /// # Errors
    /// `Manifest` when the folder has no self-test, or its file is not one.
    pub fn new(engine: Box<dyn Engine>, folder: &Folder) -> Result<Self> {
        let (graph, manifest) = (engine.graph(), folder.manifest());
        let Some(file) = manifest.self_test.as_ref().map(|test| &test.file) else {
            return Err(Error::new(ErrorKind::Manifest, "the folder does not say what its graphs must put out")
                .at("self_test")
                .wanted("a folder that the exporter wrote"));
        };
        let answers = read(folder.content(file)?.as_slice(), graph).map_err(|e| e.at(format!("{file:?}")))?;
        let model = &manifest.model;
        let (n_video, n_action) = (model.video_tokens(), model.action_tokens());
        let vocabulary = manifest.guidance.as_ref().map_or(0, |guidance| match graph {
            Graph::TextEncode => guidance.text.vocabulary,
            _ => guidance.vlm.vocabulary,
        });
        Ok(Self { engine, test: SelfTest { graph, entry: manifest.graph(graph)?.clone(), n_video, n_action, vocabulary, answers } })
    }
}

impl Engine for Tested {
    fn graph(&self) -> Graph {
        self.engine.graph()
    }

    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        let binding = self.engine.bind(device, io)?;
        self.test.check(self.engine.as_mut(), binding, device, io).map_err(|e| e.at(format!("self-test of graph {}", self.test.graph)))?;
        Ok(binding)
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        self.engine.run(binding, device)
    }
}

/// The answers of `graph`: finite numbers, each with its norm.
pub(crate) fn read(content: &[u8], graph: Graph) -> Result<BTreeMap<String, (Vec<f32>, f32)>> {
    let bad = |what: &str| Error::new(ErrorKind::Manifest, what);
    let file = SafeTensors::deserialize(content).map_err(|e| bad("not a safetensors file").caused_by(e))?;
    let prefix = format!("{graph}/");
    let numbers = |name: &str| -> Result<Vec<f32>> {
        let view = file.tensor(name).map_err(|e| bad("lacks a tensor").at(format!("{name:?}")).caused_by(e))?;
        let numbers: Vec<f32> = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if view.dtype() != safetensors::Dtype::F32 || numbers.is_empty() || numbers.iter().any(|x| !x.is_finite()) {
            return Err(bad("not finite f32 numbers").at(format!("{name:?}")));
        }
        Ok(numbers)
    };
    let mut answers = BTreeMap::new();
    for name in file.names().into_iter().filter(|name| name.starts_with(&prefix) && !name.ends_with("/norm")) {
        let norm = numbers(&format!("{name}/norm"))?[0];
        if norm < 0.0 {
            return Err(bad("a norm below zero").at(format!("{name:?}")).got(norm));
        }
        answers.insert(name[prefix.len()..].to_owned(), (numbers(name)?, norm));
    }
    if answers.is_empty() { Err(bad("has no answers of the graph").at(graph)) } else { Ok(answers) }
}

/// FNV-1a of 32 bits.
fn fnv1a(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |x, byte| (x ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Element `i` of the tensor whose name has the hash `seed`, within [-1, 1).
fn uniform(seed: u32, i: usize) -> f32 {
    let mut x = seed.wrapping_add(i as u32);
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    ((x ^ x >> 16) >> 8) as f32 / 8_388_608.0 - 1.0
}

/// Which of the eight tokens lies in slot `slot` of `slots`: attention does not care where they are, and a kernel's later tiles are to be seen too.
fn token_of(slot: usize, slots: usize) -> Option<usize> {
    let token = (slot * SLOTS).div_ceil(slots.max(1));
    (token < SLOTS && token * slots / SLOTS == slot).then_some(token)
}

impl SelfTest {
    /// The value of an input.
    fn input(&self, bound: &Bound, n: usize) -> Vec<f32> {
        let len: usize = bound.shape.iter().product();
        let seed = fnv1a(&bound.name);
        let stem = bound.name.split('.').next().unwrap_or_default();
        match stem {
            IS_ACTION => {
                let video = if n == self.n_action && n != self.n_video { 0 } else { self.n_video };
                (0..len).map(|i| f32::from(u8::from(i >= video))).collect()
            }
            IDS => (0..len).map(|i| ((f64::from(uniform(seed, i)) + 1.0) / 2.0 * self.vocabulary as f64).floor() as f32).collect(),
            IS_IMAGE => (0..len).map(|i| f32::from(u8::from(i % 4 == 1))).collect(),
            PAD_BIAS => (0..len).map(|i| if 4 * i >= 3 * len { MASKED } else { 0.0 }).collect(),
            bindings::FLOW_TIME => vec![0.75, 0.5],
            bindings::SELF_SCALE => vec![1.0; len],
            bindings::TEXT_BIAS => vec![0.0; len],
            bindings::MEM_BIAS => (0..len).map(|i| if token_of(i, len).is_some() { 0.0 } else { MASKED }).collect(),
            ROPE => (0..len / 2)
                .flat_map(|pair| {
                    let angle = std::f64::consts::PI * f64::from(uniform(seed, pair));
                    [libm::cos(angle) as f32, libm::sin(angle) as f32]
                })
                .collect(),
            // [H, S, D]: numbered as if there were only the eight slots that hold a token.
            "mem_k" | "mem_v" => {
                let (slots, width) = (bound.shape[1], bound.shape[2]);
                let at = |i: usize| (i / (slots * width), i / width % slots, i % width);
                (0..len)
                    .map(at)
                    .map(|(h, s, d)| token_of(s, slots).map_or(0.0, |token| uniform(seed, (h * SLOTS + token) * width + d)))
                    .collect()
            }
            _ => (0..len).map(|i| uniform(seed, i)).collect(),
        }
    }

    /// Runs the shape on the rule's input, and leaves all inputs as they were.
    fn check(&self, engine: &mut dyn Engine, binding: Binding, device: &mut dyn Device, io: &Io) -> Result<()> {
        let (n, slots) = border::letters(&self.entry, io);
        let shape = match n {
            1 if self.graph == Graph::VlmDecoder => "one",
            _ if self.graph == Graph::VlmDecoder => "rows",
            0 => "only",
            n if n == self.n_video => "video",
            n if n == self.n_action => "action",
            n if n == self.n_video + self.n_action => "packed",
            other => return Err(Error::new(ErrorKind::Usage, "no reference for a pass of this length").got(other)),
        };
        if n > 0 && slots < SLOTS {
            return Err(Error::new(ErrorKind::Usage, "the memory is too small to test").got(slots).wanted(SLOTS));
        }
        let mut kept = Vec::new();
        for bound in &io.inputs {
            let mut before = vec![0.0; bound.shape.iter().product()];
            device.download(bound.region, &mut before)?;
            kept.push(before);
            device.upload(bound.region, &self.input(bound, n))?;
        }
        let compared =
            engine.run(binding, device).and_then(|()| io.outputs.iter().try_for_each(|bound| self.compare(shape, bound, n, device)));
        for (bound, before) in io.inputs.iter().zip(&kept) {
            device.upload(bound.region, before)?;
        }
        compared
    }

    /// Of a pass of more or fewer rows than the reference's: how an element of its keys or values is found among the pass's, if it is there.
    fn place(bound: &Bound, n: usize, at: usize) -> Option<usize> {
        let width = bound.shape.last()?;
        let (head, row, column) = (at / (ROWS * width), at / width % ROWS, at % width);
        (row < n).then_some((head * n + row) * width + column)
    }

    fn compare(&self, shape: &str, bound: &Bound, n: usize, device: &mut dyn Device) -> Result<()> {
        let key = format!("{shape}/{}", bound.name);
        let at = |e: Error| e.at(format!("{key:?}"));
        let missing = || Error::new(ErrorKind::Manifest, "the self-test does not say what this output must be");
        let (samples, norm) = self.answers.get(&key).ok_or_else(|| at(missing()))?;
        let mut got = vec![0.0f32; bound.shape.iter().product()];
        let other_rows = shape == "rows" && n != ROWS;
        if other_rows && bound.name == bindings::LOGITS {
            return Ok(()); // of the last row, whichever that is
        }
        let len = if other_rows { got.len() / n * ROWS } else { got.len() };
        if samples.len() != len.min(SAMPLES) {
            return Err(at(missing()).got(format!("{} samples", samples.len())).wanted(len.min(SAMPLES)));
        }
        device.download(bound.region, &mut got)?;
        // Relative to the root mean square of the output; of one that must be zero, absolute.
        let norm = f64::from(*norm);
        let scale = if norm > 0.0 { norm / (len as f64).sqrt() } else { 1.0 };
        let of_pass = |j: usize| {
            let at = j * len / samples.len();
            if other_rows { Self::place(bound, n, at) } else { Some(at) }
        };
        let compared = samples.iter().enumerate().filter_map(|(j, wanted)| Some((*got.get(of_pass(j)?)?, *wanted)));
        let worst = compared.fold((0.0, 0.0, 0.0), |worst: (f64, f32, f32), (got, wanted)| {
            let off = (f64::from(got) - f64::from(wanted)).abs() / scale;
            // A number that is no number is farther off than any.
            if off.is_nan() {
                (f64::INFINITY, got, wanted)
            } else if off > worst.0 {
                (off, got, wanted)
            } else {
                worst
            }
        });
        let tolerance = self.entry.tolerance;
        let wrong = |what: &str| at(Error::new(ErrorKind::Engine, what));
        if worst.0 > tolerance {
            return Err(wrong("the engine does not put out what the reference does")
                .got(format!("{} where it is {}, off by {:.1e} of the output's root mean square", worst.1, worst.2, worst.0))
                .wanted(format!("at most {tolerance:.0e}")));
        }
        if other_rows {
            return Ok(());
        }
        let own = got.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let off = (own - norm).abs() / if norm > 0.0 { norm } else { 1.0 };
        if off > tolerance || off.is_nan() {
            return Err(wrong("the engine's output has another norm than the reference's")
                .got(own)
                .wanted(format!("{norm}, to {tolerance:.0e}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that `export/tests/test_self_test.py` holds its own rule to. Breaks if one of the two changes.
    #[test]
    fn the_rule_is_the_exporters() {
        assert_eq!(fnv1a("tokens"), 0xfceb_c453);
        let first: Vec<f32> = (0..4).map(|i| uniform(fnv1a("tokens"), i) * 8_388_608.0).collect();
        assert_eq!(first, [5_467_626.0, -5_399_122.0, 358_302.0, 1_527_816.0]);
    }

    /// Breaks if a token is left out or put twice, or all lie in the first tile of a kernel.
    #[test]
    fn eight_tokens_lie_all_over_the_memory() {
        for slots in [8, 9, 13, 172, 720] {
            let places: Vec<usize> = (0..slots).filter_map(|slot| token_of(slot, slots)).collect();
            assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7], "{slots}");
        }
        let last = (0..720).rev().find(|&slot| token_of(slot, 720).is_some());
        assert_eq!(last, Some(630));
    }
}
