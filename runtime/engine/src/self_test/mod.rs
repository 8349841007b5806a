//! Compares the outputs of an engine with the reference's before it drives.
//!
//! Every shape that is bound runs once on inputs that a rule makes ([`rule`]). For each output the
//! exporter stored 64 samples and the norm of the f32 model in PyTorch ([`answers`]). An engine
//! that is fast and wrong is thus refused in Warm, whatever library runs it.
//!
//! The text graph also runs on the text of each route command, so texts that stand under another
//! command's name are noticed. What the bundle's tensors do not show, its trajectories do
//! ([`trajectory`]).
//!
//! The number of rows of a prompt is not known at export. A pass of the language model therefore
//! begins with the rows that the reference was given: they see no later ones, so their keys and
//! values must be the reference's.

pub(crate) mod answers;
mod rule;
pub(crate) mod trajectory;

use crate::engine::{Binding, BoundTensor, Engine, Io};
use crate::io_check;
use answers::ReferenceOutput;
use drivewam_core::bindings::Graph;
use drivewam_core::manifest::{GraphEntry, Manifest};
use drivewam_core::tensor::TensorRole;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use rule::{Facts, SLOTS};
use std::collections::BTreeMap;

/// Most samples of an output.
const SAMPLES: usize = 64;
/// Rows of the language model that the reference was given.
const ROWS: usize = 16;

/// An engine whose every bound shape is compared with the reference.
#[derive(Debug)]
pub(crate) struct Tested {
    engine: Box<dyn Engine>,
    test: SelfTest,
}

/// Texts of route commands, by name.
pub(crate) type NamedTexts = Vec<(&'static str, Vec<f32>)>;

/// The reference's outputs of a graph.
#[derive(Debug)]
struct SelfTest {
    graph: Graph,
    entry: GraphEntry,
    n_video: usize,
    n_action: usize,
    vocabulary: usize,
    /// The texts of the route commands `[T, Dt]`, by name; only for the graph that reads them.
    texts: NamedTexts,
    /// By `shape/output`.
    answers: BTreeMap<String, ReferenceOutput>,
}

impl Tested {
    /// Wraps `engine`. `file` and `content` are the self-test's file of the bundle; `texts` are
    /// those of the route commands, `[rows, Dt]` by name, for the graph that reads them.
    ///
    /// # Errors
    /// `Manifest` when the content is not a self-test, or has no answers of the graph.
    pub fn new(engine: Box<dyn Engine>, manifest: &Manifest, (file, content): (&str, &[u8]), mut texts: NamedTexts) -> Result<Self> {
        let graph = engine.graph();
        let answers = answers::read(content, graph).map_err(|e| e.at(format!("{file:?}")))?;
        let model = &manifest.model;
        let (n_video, n_action) = (model.video_tokens(), model.action_tokens());
        let vocabulary = manifest.guidance.as_ref().map_or(0, |guidance| match graph {
            Graph::TextEncode => guidance.text.vocabulary,
            _ => guidance.vlm.vocabulary,
        });
        texts.iter_mut().for_each(|(_, rows)| rows.resize(model.text_rows() * model.text.dim, 0.0));
        let entry = manifest.graph(graph)?.clone();
        Ok(Self { engine, test: SelfTest { graph, entry, n_video, n_action, vocabulary, texts, answers } })
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

impl SelfTest {
    /// Runs the shape on the rule's inputs, and restores all inputs afterwards.
    fn check(&self, engine: &mut dyn Engine, binding: Binding, device: &mut dyn Device, io: &Io) -> Result<()> {
        let (n, slots) = io_check::dynamic_dims(&self.entry, io);
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
        let facts = Facts { tokens: n, n_video: self.n_video, n_action: self.n_action, vocabulary: self.vocabulary };
        let mut kept = Vec::new();
        for bound in &io.inputs {
            let mut before = vec![0.0; bound.shape.iter().product()];
            device.download(bound.region, &mut before)?;
            kept.push(before);
            let role = self.entry.inputs.iter().find(|spec| spec.name == bound.name).and_then(|spec| spec.role);
            device.upload(bound.region, &rule::input(&bound.name, role, &bound.shape, facts))?;
        }
        let compared = self.run(engine, binding, device, io, (shape, n)).and_then(|()| self.check_texts(engine, binding, device, io));
        for (bound, before) in io.inputs.iter().zip(&kept) {
            device.upload(bound.region, before)?;
        }
        compared
    }

    /// Runs the shape on the present inputs and compares all outputs.
    fn run(&self, engine: &mut dyn Engine, binding: Binding, device: &mut dyn Device, io: &Io, (shape, n): (&str, usize)) -> Result<()> {
        engine.run(binding, device)?;
        io.outputs.iter().try_for_each(|bound| self.compare(shape, bound, n, device))
    }

    /// Runs the text graph on the text of each route command.
    fn check_texts(&self, engine: &mut dyn Engine, binding: Binding, device: &mut dyn Device, io: &Io) -> Result<()> {
        for (command, rows) in &self.texts {
            for bound in &io.inputs {
                device.upload(bound.region, rows)?;
            }
            self.run(engine, binding, device, io, (command, 0))?;
        }
        Ok(())
    }

    /// Where element `at` of the reference's keys or values `[H, ROWS, D]` lies in those of a pass
    /// of `n` rows; `None` for a row that the pass does not have.
    fn place(bound: &BoundTensor, n: usize, at: usize) -> Option<usize> {
        let width = bound.shape.last()?;
        let (head, row, column) = (at / (ROWS * width), at / width % ROWS, at % width);
        (row < n).then_some((head * n + row) * width + column)
    }

    fn compare(&self, shape: &str, bound: &BoundTensor, n: usize, device: &mut dyn Device) -> Result<()> {
        let key = format!("{shape}/{}", bound.name);
        let at = |e: Error| e.at(format!("{key:?}"));
        let missing = || Error::new(ErrorKind::Manifest, "the self-test has no reference for this output");
        let ReferenceOutput { samples, norm } = self.answers.get(&key).ok_or_else(|| at(missing()))?;
        let mut got = vec![0.0f32; bound.shape.iter().product()];
        let other_rows = shape == "rows" && n != ROWS;
        if other_rows && TensorRole::of_name(&bound.name) == Some(TensorRole::Logits) {
            return Ok(()); // They are of the last row, which the reference does not have.
        }
        let len = if other_rows { got.len() / n * ROWS } else { got.len() };
        if samples.len() != len.min(SAMPLES) {
            return Err(at(missing()).got(format!("{} samples", samples.len())).wanted(len.min(SAMPLES)));
        }
        device.download(bound.region, &mut got)?;
        // Relative to the root mean square of the output; absolute where the reference is zero.
        let norm = f64::from(*norm);
        let scale = if norm > 0.0 { norm / (len as f64).sqrt() } else { 1.0 };
        let of_pass = |j: usize| {
            let at = j * len / samples.len();
            if other_rows { Self::place(bound, n, at) } else { Some(at) }
        };
        let compared = samples.iter().enumerate().filter_map(|(j, wanted)| Some((*got.get(of_pass(j)?)?, *wanted)));
        let worst = compared.fold((0.0, 0.0, 0.0), |worst: (f64, f32, f32), (got, wanted)| {
            let off = (f64::from(got) - f64::from(wanted)).abs() / scale;
            // NaN compares as smaller than nothing, and is the worst of all.
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
            return Err(wrong("the engine's output differs from the reference's")
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
