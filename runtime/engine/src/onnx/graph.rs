//! An ONNX model as its file declares it: the exporter's part of the format.
//!
//! Messages nest in one fixed way: model, graph, node, attribute, tensor. What ONNX can nest
//! without an end (graphs in attributes, sequences of types) and what holds code of its own
//! (functions, other domains) has no field here, and is refused.

use super::operators::{self, Operator};
use super::wire::{Schema, Value, broken};
use drivewam_core::excerpt::quoted;
use drivewam_core::{Error, ErrorKind, Result};

/// Most nodes of a graph. The graph of the paper's transformer has about 12,000.
const MAX_NODES: usize = 1 << 16;
/// Most tensors of one list of a graph.
const MAX_TENSORS: usize = 1 << 14;
/// Most axes of a tensor, and most numbers in a list that describes axes.
pub(super) const MAX_AXES: usize = 8;

/// A parsed model; borrows from the file's bytes.
#[derive(Debug, Default)]
pub(super) struct Model<'a> {
    /// The version of ONNX's own operator set.
    pub opset: Option<i64>,
    pub nodes: Vec<Node<'a>>,
    pub initializers: Vec<Tensor<'a>>,
    pub inputs: Vec<Declared<'a>>,
    pub outputs: Vec<Declared<'a>>,
}

/// An input or output.
#[derive(Debug, Default)]
pub(super) struct Declared<'a> {
    pub name: &'a str,
    /// ONNX's number of the element type; `None` for what is no tensor.
    pub dtype: Option<i64>,
    /// `None` for an axis without a fixed length, and for a file that gives no shape.
    pub shape: Option<Vec<Option<i64>>>,
}

/// A weight or a constant.
#[derive(Debug, Default, Clone)]
pub(super) struct Tensor<'a> {
    pub name: &'a str,
    pub dtype: i64,
    pub dims: Vec<i64>,
    pub data: Data<'a>,
}

/// Where a tensor's elements lie.
#[derive(Debug, Default, Clone)]
pub(super) enum Data<'a> {
    #[default]
    Nowhere,
    /// In the file.
    Inside(&'a [u8]),
    /// In another file.
    Outside(Place<'a>),
}

/// A part of another file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    pub file: &'a str,
    pub offset: u64,
    pub length: Option<u64>,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub operator: &'static Operator,
    pub name: &'a str,
    /// An empty name stands for an optional input that is left out.
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub attributes: Vec<(&'static str, Attribute<'a>)>,
}

/// The value of an attribute.
#[derive(Debug, Clone)]
pub(super) enum Attribute<'a> {
    Int(i64),
    Ints(Vec<i64>),
    Tensor(Tensor<'a>),
    /// A float or a text: no size depends on one.
    Other,
}

const MODEL: Schema = Schema { name: "ModelProto", single: &[1, 2, 3, 4, 5, 6, 7], repeated: &[8, 14] };
const OPSET: Schema = Schema { name: "OperatorSetIdProto", single: &[1, 2], repeated: &[] };
const GRAPH: Schema = Schema { name: "GraphProto", single: &[2, 10], repeated: &[1, 5, 11, 12, 13, 16] };
const NODE: Schema = Schema { name: "NodeProto", single: &[3, 4, 6, 7], repeated: &[1, 2, 5, 9] };
const ATTRIBUTE: Schema = Schema { name: "AttributeProto", single: &[1, 2, 3, 4, 5, 6, 13, 20], repeated: &[7, 8, 11] };
const TENSOR: Schema = Schema { name: "TensorProto", single: &[2, 8, 9, 12, 14], repeated: &[1, 13, 16] };
const ENTRY: Schema = Schema { name: "StringStringEntryProto", single: &[1, 2], repeated: &[] };
const VALUE_INFO: Schema = Schema { name: "ValueInfoProto", single: &[1, 2, 3], repeated: &[4] };
const TYPE: Schema = Schema { name: "TypeProto", single: &[1, 6], repeated: &[] };
const TENSOR_TYPE: Schema = Schema { name: "TypeProto.Tensor", single: &[1, 2], repeated: &[] };
const SHAPE: Schema = Schema { name: "TensorShapeProto", single: &[], repeated: &[1] };
const DIMENSION: Schema = Schema { name: "TensorShapeProto.Dimension", single: &[1, 2, 3], repeated: &[] };

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Manifest, what)
}

/// Adds to a list of at most `max`.
fn push<T>(list: &mut Vec<T>, value: T, max: usize) -> Result<()> {
    if list.len() == max {
        return Err(refused("the graph is too large").got(format!("more than {max} entries of one kind")).wanted(format!("at most {max}")));
    }
    list.push(value);
    Ok(())
}

impl<'a> Model<'a> {
    /// Parses a file.
    ///
    /// # Errors
    /// `Manifest` for bytes that are no such model, for an operator that is not on the list, and
    /// for a tensor whose data are not as long as its shape.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut model = Self::default();
        let mut graph = None;
        MODEL.read(bytes, |number, value| {
            match number {
                7 => graph = Some(value.bytes()?),
                8 => model.add_opset(value)?,
                _ => {}
            }
            Ok(())
        })?;
        let graph = graph.ok_or_else(|| broken().got("a file without a graph"))?;
        GRAPH.read(graph, |number, value| match number {
            1 => push(&mut model.nodes, node(value)?, MAX_NODES),
            5 => push(&mut model.initializers, tensor(value)?, MAX_TENSORS),
            11 => push(&mut model.inputs, declared(value)?, MAX_TENSORS),
            12 => push(&mut model.outputs, declared(value)?, MAX_TENSORS),
            // Intermediate tensors may be declared. Nothing here relies on it.
            13 => declared(value).map(drop),
            _ => Ok(()),
        })?;
        Ok(model)
    }

    /// Weights and constants.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor<'a>> {
        let constants = self.nodes.iter().flat_map(|node| &node.attributes).filter_map(|(_, value)| match value {
            Attribute::Tensor(tensor) => Some(tensor),
            _ => None,
        });
        self.initializers.iter().chain(constants)
    }

    fn add_opset(&mut self, value: Value<'a>) -> Result<()> {
        let (mut domain, mut version) = ("", None);
        OPSET.read(value.bytes()?, |number, value| {
            match number {
                1 => domain = value.text()?,
                _ => version = Some(value.integer()?),
            }
            Ok(())
        })?;
        own_domain(domain)?;
        if self.opset.is_some() {
            return Err(broken().got("two operator sets").wanted("one"));
        }
        self.opset = version;
        Ok(())
    }
}

fn own_domain(domain: &str) -> Result<()> {
    match domain {
        "" | "ai.onnx" => Ok(()),
        other => Err(refused("an operator set that the exporter does not use").at("domain").got(quoted(other)).wanted("ONNX's own")),
    }
}

fn node(value: Value<'_>) -> Result<Node<'_>> {
    let (mut kind, mut domain, mut name) = ("", "", "");
    let (mut inputs, mut outputs, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
    NODE.read(value.bytes()?, |number, value| {
        match number {
            1 => inputs.push(value.text()?),
            2 => outputs.push(value.text()?),
            3 => name = value.text()?,
            4 => kind = value.text()?,
            5 => attributes.push(value.bytes()?),
            7 => domain = value.text()?,
            _ => {}
        }
        Ok(())
    })?;
    let at = |e: Error| e.at(format!("node {}", quoted(name)));
    own_domain(domain).map_err(at)?;
    // Refused by name before its attributes are looked at, which may hold whole graphs.
    let operator = operators::find(kind).map_err(at)?;
    let mut known: Vec<(&'static str, Attribute<'_>)> = Vec::new();
    for bytes in attributes {
        let (name, value) = attribute(operator, bytes).map_err(at)?;
        if known.iter().any(|(other, _)| *other == name) {
            return Err(at(broken().at(name).got("an attribute twice")));
        }
        known.push((name, value));
    }
    Ok(Node { operator, name, inputs, outputs, attributes: known })
}

fn attribute<'a>(operator: &Operator, bytes: &'a [u8]) -> Result<(&'static str, Attribute<'a>)> {
    let (mut name, mut value, mut ints) = ("", None, Vec::new());
    let mut set = |new: Attribute<'a>| match value.replace(new) {
        None => Ok(()),
        Some(_) => Err(broken().got("an attribute with two values")),
    };
    ATTRIBUTE.read(bytes, |number, value| match number {
        1 => {
            name = value.text()?;
            Ok(())
        }
        2 | 7 => set(Attribute::Other),
        3 => set(Attribute::Int(value.integer()?)),
        4 => value.text().and_then(|_| set(Attribute::Other)),
        5 => set(Attribute::Tensor(tensor(value)?)),
        6 | 11 => Err(refused("a graph inside a node").wanted("a graph without others inside")),
        8 => value.integers(&mut ints, 2 * MAX_AXES),
        _ => Ok(()),
    })?;
    let known = operator.attributes.iter().find(|known| **known == name).ok_or_else(|| {
        refused("an attribute that the exporter does not write").at(operator.name).got(quoted(name)).wanted(operator.attributes.join(", "))
    })?;
    match (value, ints) {
        (Some(value), ints) if ints.is_empty() => Ok((known, value)),
        (None, ints) => Ok((known, Attribute::Ints(ints))),
        _ => Err(broken().at(*known).got("an attribute with two values")),
    }
}

fn tensor(value: Value<'_>) -> Result<Tensor<'_>> {
    let mut tensor = Tensor::default();
    let (mut raw, mut place, mut location) = (None, Place::default(), 0);
    TENSOR.read(value.bytes()?, |number, value| {
        match number {
            1 => value.integers(&mut tensor.dims, MAX_AXES)?,
            2 => tensor.dtype = value.integer()?,
            8 => tensor.name = value.text()?,
            9 => raw = Some(value.bytes()?),
            13 => place.add(value)?,
            14 => location = value.integer()?,
            _ => {}
        }
        Ok(())
    })?;
    let at = |e: Error| e.at(format!("tensor {}", quoted(tensor.name)));
    let size = element_bytes(tensor.dtype).map_err(at)?;
    let wanted = tensor.dims.iter().try_fold(size, |bytes, &len| u64::try_from(len).ok().and_then(|len| bytes.checked_mul(len)));
    let Some(wanted) = wanted else {
        return Err(at(refused("a tensor larger than any memory").got(format!("{:?}", tensor.dims))));
    };
    let has = match (location, raw) {
        (0, Some(raw)) if place == Place::default() => {
            tensor.data = Data::Inside(raw);
            raw.len() as u64
        }
        (1, None) => {
            tensor.data = Data::Outside(place);
            place.length.ok_or_else(|| at(refused("lies in a file, and its length is missing")))?
        }
        _ => return Err(at(refused("a tensor without data").wanted("raw data, or a place in a file"))),
    };
    if has != wanted {
        return Err(at(refused("a tensor whose data are not as long as its shape"))
            .got(format!("{has} bytes for {:?}", tensor.dims))
            .wanted(format!("{wanted} bytes")));
    }
    Ok(tensor)
}

impl<'a> Place<'a> {
    fn add(&mut self, value: Value<'a>) -> Result<()> {
        let (mut key, mut text) = ("", "");
        ENTRY.read(value.bytes()?, |number, value| {
            *if number == 1 { &mut key } else { &mut text } = value.text()?;
            Ok(())
        })?;
        let number = || text.parse().map_err(|e| broken().at(quoted(key)).got(quoted(text)).wanted("a number").caused_by(e));
        match key {
            "location" => self.file = text,
            "offset" => self.offset = number()?,
            "length" => self.length = Some(number()?),
            other => return Err(broken().at("external_data").got(quoted(other)).wanted("location, offset, length")),
        }
        Ok(())
    }
}

/// Bytes of an element of ONNX's type `number`.
fn element_bytes(number: i64) -> Result<u64> {
    match number {
        2 | 3 | 9 => Ok(1),
        10 | 16 => Ok(2),
        1 | 6 => Ok(4),
        7 | 11 => Ok(8),
        other => Err(refused("an element type that the exporter does not write").got(format!("ONNX type {other}"))),
    }
}

fn declared(value: Value<'_>) -> Result<Declared<'_>> {
    let mut declared = Declared::default();
    let mut kind = None;
    VALUE_INFO.read(value.bytes()?, |number, value| {
        match number {
            1 => declared.name = value.text()?,
            2 => kind = Some(value.bytes()?),
            _ => {}
        }
        Ok(())
    })?;
    let at = |e: Error| e.at(format!("tensor {}", quoted(declared.name)));
    let mut tensor = None;
    TYPE.read(kind.unwrap_or_default(), |number, value| {
        if number == 1 {
            tensor = Some(value.bytes()?);
        }
        Ok(())
    })
    .map_err(at)?;
    let mut shape = None;
    TENSOR_TYPE
        .read(tensor.unwrap_or_default(), |number, value| {
            match number {
                1 => declared.dtype = Some(value.integer()?),
                _ => shape = Some(value.bytes()?),
            }
            Ok(())
        })
        .map_err(at)?;
    if let Some(bytes) = shape {
        let mut axes = Vec::new();
        SHAPE.read(bytes, |_, value| push(&mut axes, axis(value)?, MAX_AXES)).map_err(at)?;
        declared.shape = Some(axes);
    }
    Ok(declared)
}

/// A fixed length, or `None` for a dynamic axis.
fn axis(value: Value<'_>) -> Result<Option<i64>> {
    let mut fixed = None;
    DIMENSION.read(value.bytes()?, |number, value| {
        if number == 1 {
            fixed = Some(value.integer()?);
        }
        Ok(())
    })?;
    Ok(fixed)
}
