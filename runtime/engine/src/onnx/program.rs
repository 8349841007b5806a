//! The sizes of everything that a pass of a graph makes, computed before a library runs it.

use super::depth;
use super::graph::{Attribute, Data, Model, Node, Tensor};
use super::inputs::Inputs;
use super::integers::MAX_INTEGERS;
use super::outputs::outputs;
use super::step::{Known, Setting, Step, elements};
use drivewam_core::excerpt::quoted;
use drivewam_core::manifest::GraphEntry;
use drivewam_core::tensor::TensorSpec;
use drivewam_core::{Error, ErrorKind, Result};
use std::collections::HashMap;

/// Elements that a pass may hold at a time, whatever the graph declares: 256 MiB of f32.
const LEAST_BUDGET: u64 = 1 << 26;
/// Elements that a pass may hold at a time, for each element that the graph declares (inputs,
/// outputs and weights).
const BUDGET_FACTOR: u64 = 4;

/// The steps of a graph, from which the size of every tensor follows for any N and S.
#[derive(Debug)]
pub struct GraphSizes {
    steps: Vec<Step>,
    /// Weights.
    given: Vec<(usize, Known)>,
    inputs: Vec<(TensorSpec, usize)>,
    outputs: Vec<(TensorSpec, usize)>,
    /// The number of tensors.
    tensors: usize,
    /// Elements of all weights.
    weights: u64,
    /// The step after which nothing reads a tensor; none for what is there to the end.
    last: Vec<usize>,
}

/// The numbers of the tensors, by name.
#[derive(Default)]
struct Names<'a>(HashMap<&'a str, usize>);

impl<'a> Names<'a> {
    fn add(&mut self, name: &'a str) -> Result<usize> {
        let number = self.0.len();
        match self.0.insert(name, number) {
            None if !name.is_empty() => Ok(number),
            _ => Err(Error::new(ErrorKind::Manifest, "a tensor without a name, or two of one name").got(quoted(name))),
        }
    }

    fn find(&self, name: &str) -> Result<usize> {
        let unknown = || Error::new(ErrorKind::Manifest, "a tensor that nothing before it makes").got(quoted(name));
        self.0.get(name).copied().ok_or_else(unknown)
    }
}

impl GraphSizes {
    /// The sizes of `model`, whose inputs and outputs are those of `entry`.
    ///
    /// # Errors
    /// `Manifest` for a node that reads what no node before it makes, for two tensors of one name,
    /// and for a graph that is too deep.
    pub(super) fn new(model: &Model<'_>, entry: &GraphEntry) -> Result<Self> {
        let (mut names, mut given, mut weights) = (Names::default(), Vec::new(), 0u64);
        for tensor in &model.initializers {
            let known = known(tensor);
            weights = elements(&known.shape).ok().and_then(|len| weights.checked_add(len)).unwrap_or(u64::MAX);
            given.push((names.add(tensor.name)?, known));
        }
        let inputs = entry.inputs.iter().map(|spec| Ok((spec.clone(), names.add(&spec.name)?))).collect::<Result<Vec<_>>>()?;
        let mut last = vec![0; names.0.len()];
        let mut steps = Vec::with_capacity(model.nodes.len());
        for (i, node) in model.nodes.iter().enumerate() {
            let step = step(node, &mut names).map_err(|e| e.at(format!("node {}", quoted(node.name))))?;
            last.resize(names.0.len(), i);
            step.inputs.iter().flatten().for_each(|input| last[*input] = i);
            steps.push(step);
        }
        depth::check(&steps, names.0.len())?;
        let outputs = entry.outputs.iter().map(|spec| Ok((spec.clone(), names.find(&spec.name)?))).collect::<Result<Vec<_>>>()?;
        let kept = inputs.iter().chain(&outputs).map(|(_, number)| number).chain(given.iter().map(|(number, _)| number));
        kept.for_each(|number| last[*number] = usize::MAX);
        Ok(Self { steps, given, inputs, outputs, tensors: names.0.len(), weights, last })
    }

    /// Proves that a pass with these N and S fits: that the shapes of the graph fit one another,
    /// that the outputs are those of the manifest, and that no more is in memory at a time than
    /// four times what the graph declares (inputs, outputs, weights), or 2^26 elements.
    ///
    /// What a library may compute once and keep, because it depends on no input, counts until the
    /// end.
    ///
    /// # Errors
    /// `Manifest`, naming the node.
    pub fn check(&self, n: usize, s: usize) -> Result<()> {
        self.peak(n, s).map(drop)
    }

    /// The most elements in memory at a time, weights, inputs and outputs apart; and how many are
    /// allowed.
    pub(super) fn peak(&self, n: usize, s: usize) -> Result<(u64, u64)> {
        let mut known: Vec<Option<Known>> = vec![None; self.tensors];
        // Whether a tensor depends on no input.
        let mut fixed = vec![false; self.tensors];
        for (number, weight) in &self.given {
            known[*number] = Some(weight.clone());
            fixed[*number] = true;
        }
        let mut declared = self.weights;
        for (spec, number) in self.inputs.iter().chain(&self.outputs) {
            let shape: Vec<u64> = spec.resolve(n, s).into_iter().map(|len| len as u64).collect();
            declared = elements(&shape).ok().and_then(|len| declared.checked_add(len)).unwrap_or(u64::MAX);
            if self.inputs.iter().any(|(_, input)| input == number) {
                known[*number] = Some(Known::of(shape));
            }
        }
        let budget = declared.saturating_mul(BUDGET_FACTOR).max(LEAST_BUDGET);
        let (mut alive, mut peak) = (0u64, 0u64);
        for (i, step) in self.steps.iter().enumerate() {
            let bad = |words: String| step.at(Error::new(ErrorKind::Manifest, "the size of a tensor cannot be computed").got(words));
            let inputs = step.inputs.iter().map(|input| input.and_then(|input| known[input].as_ref())).collect();
            let (made, scratch) = outputs(&Inputs { step, known: inputs }).map_err(bad)?;
            let depends = step.inputs.iter().flatten().any(|input| !fixed[*input]);
            for (output, tensor) in step.outputs.iter().zip(made) {
                alive = alive.saturating_add(elements(&tensor.shape).map_err(bad)?);
                known[*output] = Some(tensor);
                fixed[*output] = !depends;
            }
            let now = alive.saturating_add(scratch);
            if now > budget {
                return Err(step.at(Error::new(ErrorKind::Manifest, "the graph needs more memory than its tensors account for")
                    .got(format!("{now} elements at a time"))
                    .wanted(format!("at most {budget}"))));
            }
            peak = peak.max(now);
            for number in step.inputs.iter().flatten().chain(&step.outputs) {
                if self.last[*number] == i && !fixed[*number] {
                    let freed = known[*number].take().and_then(|tensor| elements(&tensor.shape).ok());
                    alive = alive.saturating_sub(freed.unwrap_or(0));
                }
            }
        }
        for (spec, number) in &self.outputs {
            let wanted: Vec<u64> = spec.resolve(n, s).into_iter().map(|len| len as u64).collect();
            let got = known[*number].as_ref().map(|tensor| tensor.shape.clone()).unwrap_or_default();
            if got != wanted {
                return Err(Error::new(ErrorKind::Manifest, "the graph gives another shape")
                    .at(format!("output {:?}", spec.name))
                    .got(format!("{got:?}"))
                    .wanted(format!("{wanted:?}")));
            }
        }
        Ok((peak, budget))
    }
}

fn step<'a>(node: &Node<'a>, names: &mut Names<'a>) -> Result<Step> {
    let input = |name: &&str| if name.is_empty() { Ok(None) } else { names.find(name).map(Some) };
    let inputs = node.inputs.iter().map(input).collect::<Result<_>>()?;
    let outputs = node.outputs.iter().map(|name| names.add(name)).collect::<Result<_>>()?;
    let mut step = Step { operator: node.operator, name: node.name.to_owned(), inputs, outputs, settings: Vec::new(), value: None };
    for (name, attribute) in &node.attributes {
        let setting = match attribute {
            Attribute::Int(value) => Setting::Int(*value),
            Attribute::Ints(values) => Setting::Ints(values.clone()),
            Attribute::Tensor(tensor) => {
                step.value = Some(known(tensor));
                Setting::Other
            }
            Attribute::Other => Setting::Other,
        };
        step.settings.push((name, setting));
    }
    Ok(step)
}

/// Shape of a weight or constant, and its content where it is a short list of integers.
fn known(tensor: &Tensor<'_>) -> Known {
    let shape = tensor.dims.iter().map(|len| len.unsigned_abs()).collect();
    let ints = match tensor.data {
        // 64-bit integers, as all sizes are.
        Data::Inside(bytes) if tensor.dtype == 7 && bytes.len() as u64 <= 8 * MAX_INTEGERS => {
            Some(bytes.as_chunks().0.iter().map(|number| i64::from_le_bytes(*number)).collect())
        }
        _ => None,
    };
    Known { shape, ints }
}
