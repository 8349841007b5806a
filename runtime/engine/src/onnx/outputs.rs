//! What a step makes: the rule of its operator, and the integers of small tensors.

use super::graph::MAX_AXES;
use super::inputs::Inputs;
use super::integers;
use super::operators::Rule;
use super::shapes::matmul;
use super::step::{Known, Shaped, broadcast, lengths};

/// The outputs of the node; and the elements of the scratch that it needs beside them.
pub(super) fn outputs(inputs: &Inputs<'_>) -> Shaped<(Vec<Known>, u64)> {
    let one = |shape: Vec<u64>| Ok((vec![Known::of(shape)], 0));
    let mut made: (Vec<Known>, u64) = match inputs.step.operator.rule {
        Rule::Same => one(inputs.shape(0)?.to_vec()),
        Rule::Broadcast => one(inputs.broadcast()?),
        Rule::Concat => one(inputs.concat()?),
        Rule::Constant => Ok((vec![inputs.step.value.clone().ok_or("no value")?], 0)),
        Rule::ConstantOfShape => one(lengths(inputs.needed_ints(0)?)?),
        Rule::Conv => inputs.conv(),
        Rule::DepthToSpace => one(inputs.depth_to_space()?),
        Rule::Expand => one(broadcast(&[inputs.shape(0)?, &lengths(inputs.needed_ints(1)?)?])?),
        Rule::Flatten => one(inputs.flatten()?),
        Rule::Gather => one(inputs.gather()?),
        Rule::Gemm => one(inputs.gemm()?),
        Rule::MatMul => one(matmul(inputs.shape(0)?, inputs.shape(1)?)?),
        Rule::Pad => one(inputs.pad()?),
        Rule::Range => one(vec![inputs.range()?]),
        Rule::Reduce => one(inputs.reduce()?),
        Rule::Reshape => one(inputs.reshape()?),
        Rule::Shape => one(vec![inputs.shape(0)?.len() as u64]),
        Rule::Slice => one(inputs.slice()?),
        Rule::Split => inputs.split(),
        Rule::Squeeze => one(inputs.squeeze()?),
        Rule::Tile => one(inputs.tile()?),
        Rule::Transpose => one(inputs.transpose()?),
        Rule::Unsqueeze => one(inputs.unsqueeze()?),
    }?;
    if made.0.len() != inputs.step.outputs.len() {
        return Err(format!("{} outputs, {} wanted", inputs.step.outputs.len(), made.0.len()));
    }
    if let Some(long) = made.0.iter().find(|known| known.shape.len() > MAX_AXES) {
        return Err(format!("{} axes, at most {MAX_AXES} wanted", long.shape.len()));
    }
    if let [known] = made.0.as_mut_slice()
        && known.ints.is_none()
    {
        known.ints = integers::of(inputs, &known.shape);
    }
    Ok(made)
}
