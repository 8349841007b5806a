//! The operators that a graph may use: those that the exporter writes, each with its attributes.
//!
//! None of them runs code that the file holds, none repeats another, and the shape of each result
//! follows from shapes and from a few integers ([`super::outputs`]). So a pass ends, and its memory
//! is known before it runs.

use drivewam_core::excerpt::quoted;
use drivewam_core::{Error, ErrorKind, Result};

/// An operator of ONNX's own set.
#[derive(Debug)]
pub(super) struct Operator {
    pub name: &'static str,
    /// The attributes that it may have.
    pub attributes: &'static [&'static str],
    /// How the shapes of its outputs follow from its inputs.
    pub rule: Rule,
}

/// A rule of shapes. The operators of one rule differ in what they compute, not in its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The shape of the first input.
    Same,
    /// The shapes of all inputs, broadcast together.
    Broadcast,
    Concat,
    Constant,
    ConstantOfShape,
    Conv,
    DepthToSpace,
    Expand,
    Flatten,
    Gather,
    Gemm,
    MatMul,
    Pad,
    Range,
    Reduce,
    Reshape,
    Shape,
    Slice,
    Split,
    Squeeze,
    Tile,
    Transpose,
    Unsqueeze,
}

const fn operator(name: &'static str, rule: Rule, attributes: &'static [&'static str]) -> Operator {
    Operator { name, attributes, rule }
}

static OPERATORS: [Operator; 42] = [
    operator("Add", Rule::Broadcast, &[]),
    operator("Cast", Rule::Same, &["to"]),
    operator("Clip", Rule::Same, &[]),
    operator("Concat", Rule::Concat, &["axis"]),
    operator("Constant", Rule::Constant, &["value"]),
    operator("ConstantOfShape", Rule::ConstantOfShape, &["value"]),
    operator("Conv", Rule::Conv, &["dilations", "group", "kernel_shape", "pads", "strides"]),
    operator("Cos", Rule::Same, &[]),
    operator("DepthToSpace", Rule::DepthToSpace, &["blocksize", "mode"]),
    operator("Div", Rule::Broadcast, &[]),
    operator("Equal", Rule::Broadcast, &[]),
    operator("Erf", Rule::Same, &[]),
    operator("Expand", Rule::Expand, &[]),
    operator("Flatten", Rule::Flatten, &["axis"]),
    operator("Gather", Rule::Gather, &["axis"]),
    operator("Gemm", Rule::Gemm, &["alpha", "beta", "transA", "transB"]),
    operator("Greater", Rule::Broadcast, &[]),
    operator("Identity", Rule::Same, &[]),
    operator("LayerNormalization", Rule::Same, &["axis", "epsilon", "stash_type"]),
    operator("MatMul", Rule::MatMul, &[]),
    operator("Mod", Rule::Broadcast, &["fmod"]),
    operator("Mul", Rule::Broadcast, &[]),
    operator("Pad", Rule::Pad, &["mode"]),
    operator("Pow", Rule::Broadcast, &[]),
    operator("Range", Rule::Range, &[]),
    operator("ReduceMean", Rule::Reduce, &["keepdims", "noop_with_empty_axes"]),
    operator("ReduceSum", Rule::Reduce, &["keepdims", "noop_with_empty_axes"]),
    operator("Reshape", Rule::Reshape, &["allowzero"]),
    operator("Shape", Rule::Shape, &[]),
    operator("Sigmoid", Rule::Same, &[]),
    operator("Sin", Rule::Same, &[]),
    operator("Slice", Rule::Slice, &[]),
    operator("Softmax", Rule::Same, &["axis"]),
    operator("Split", Rule::Split, &["axis", "num_outputs"]),
    operator("Sqrt", Rule::Same, &[]),
    operator("Squeeze", Rule::Squeeze, &[]),
    operator("Sub", Rule::Broadcast, &[]),
    operator("Tanh", Rule::Same, &[]),
    operator("Tile", Rule::Tile, &[]),
    operator("Transpose", Rule::Transpose, &["perm"]),
    operator("Unsqueeze", Rule::Unsqueeze, &[]),
    operator("Where", Rule::Broadcast, &[]),
];

/// The operator called `name`.
///
/// # Errors
/// `Manifest`, naming it, for one that is not on the list: control flow, operators of other
/// domains, and all that the exporter does not write.
pub(super) fn find(name: &str) -> Result<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.name == name).ok_or_else(|| {
        let known: Vec<&str> = OPERATORS.iter().map(|operator| operator.name).collect();
        Error::new(ErrorKind::Manifest, "an operator that the exporter does not write")
            .at("operator")
            .got(quoted(name))
            .wanted(format!("one of {}", known.join(", ")))
    })
}
