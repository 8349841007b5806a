//! Cross-attention keys and values: the text's values, and the ego state divided by its scale.
//!
//! At head h, row r, channel d of layer l, the value is (1 + l / 10) times the text at (row r,
//! channel (h·D + d) mod Dt), or times the ego's feature d mod F divided by its scale. The key is
//! half of the value.

use super::slot::Slot;
use drivewam_core::bindings::Graph;
use drivewam_core::dims::{EgoFeature, Model};

pub(super) fn run(model: &Model, graph: Graph, inputs: &[Slot], outputs: &mut [Slot]) {
    let Some(input) = inputs.first() else { return };
    let (rows, width) = if graph == Graph::ContextText { (model.text_rows(), model.text.dim) } else { (model.ego.tokens, 0) };
    for (i, output) in outputs.iter_mut().enumerate() {
        // Outputs alternate between key and value.
        let factor = (1.0 + (i / 2) as f32 / 10.0) * if i % 2 == 0 { 0.5 } else { 1.0 };
        for (j, value) in output.data.iter_mut().enumerate() {
            let (h, r, d) = (j / (rows * model.head_dim), j / model.head_dim % rows, j % model.head_dim);
            let from = match graph {
                Graph::ContextText => input.data.get(r * width + (h * model.head_dim + d) % width).copied(),
                _ => feature(model, &input.data, d % model.ego.features.len()),
            };
            *value = factor * from.unwrap_or(0.0);
        }
    }
}

fn feature(model: &Model, ego: &[f32], at: usize) -> Option<f32> {
    Some(*ego.get(at)? / *model.ego.scale.get(at)? as f32)
}

/// The ego's speed, m/s, from the value of layer 0, head 0, row 0; 0 if the features do not contain
/// it.
pub(super) fn speed_mps(model: &Model, ego_v: &[f32]) -> f32 {
    let Some(at) = model.ego.features.iter().position(|f| *f == EgoFeature::SpeedMps).filter(|at| *at < model.head_dim) else { return 0.0 };
    ego_v.get(at).copied().unwrap_or(0.0) * model.ego.scale.get(at).map_or(0.0, |scale| *scale as f32)
}
