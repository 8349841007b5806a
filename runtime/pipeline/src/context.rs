//! What conditions a chunk: a text (guidance, or a fixed embedding per route command) and the ego
//! state.

use crate::regions::Regions;
use drivewam_core::arena::Region;
use drivewam_core::bindings::{self, MASKED};
use drivewam_core::config::Config;
use drivewam_core::dims::{Command, EgoFeature};
use drivewam_core::ego::EgoState;
use drivewam_core::tensor::TensorSpec;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_engine::{Binding, Engine, EngineBundle};
use drivewam_guidance::client::TextEmbedding;

/// The text of one command: embeddings `[T, Dt]`, and the bias of each row.
#[derive(Debug)]
struct CommandText {
    command: Command,
    rows: Vec<f32>,
    bias: Vec<f32>,
}

/// The text that the text graph read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CurrentText {
    Command(Command),
    Guidance(u64),
}

/// What the passes of one lane read.
#[derive(Debug)]
struct LaneContext {
    text_binding: Binding,
    ego_binding: Binding,
    text_bias: Region,
    current: Option<CurrentText>,
}

/// Both context graphs.
#[derive(Debug)]
pub(crate) struct Context {
    text: Box<dyn Engine>,
    ego: Box<dyn Engine>,
    lanes: Vec<LaneContext>,
    text_in: Region,
    ego_in: Region,
    texts: Vec<CommandText>,
    /// Buffers for the embeddings and the bias of a guidance text.
    rows: Vec<f32>,
    bias: Vec<f32>,
    dim: usize,
    padded_rows: usize,
    features: Vec<EgoFeature>,
    values: Vec<f32>,
}

impl Context {
    /// Binds both graphs. Called in Warm.
    ///
    /// # Errors
    /// `Manifest` for a command of the model without a text in `bundle`.
    pub(crate) fn new(
        [mut text, mut ego]: [Box<dyn Engine>; 2],
        config: &Config,
        bundle: &EngineBundle,
        regions: &Regions,
        device: &mut dyn Device,
    ) -> Result<Self> {
        let model = &config.model;
        let texts = model
            .text
            .commands
            .iter()
            .map(|&command| {
                let real = bundle.text(command)?;
                let (mut rows, mut bias) = (real.values.clone(), vec![MASKED; model.text_rows()]);
                rows.resize(model.text_rows() * model.text.dim, 0.0);
                set_bias(&mut bias, real.rows, model.text.padded_rows);
                Ok(CommandText { command, rows, bias })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut bind = |engine: &mut dyn Engine, lane: usize| {
            let region = |spec: &TensorSpec| regions.of_lane(lane, &spec.name);
            let io = regions.io(&bundle.manifest().signature(engine.graph())?, 0, region, region)?;
            engine.bind(device, &io)
        };
        let mut lane = |lane: usize| -> Result<LaneContext> {
            let (text_binding, ego_binding) = (bind(text.as_mut(), lane)?, bind(ego.as_mut(), lane)?);
            Ok(LaneContext { text_binding, ego_binding, text_bias: regions.of_lane(lane, bindings::TEXT_BIAS)?, current: None })
        };
        Ok(Self {
            lanes: (0..config.lanes.count).map(&mut lane).collect::<Result<_>>()?,
            text_in: regions.get(bindings::TEXT)?,
            ego_in: regions.get(bindings::EGO)?,
            texts,
            rows: vec![0.0; model.text_rows() * model.text.dim],
            bias: vec![MASKED; model.text_rows()],
            dim: model.text.dim,
            padded_rows: model.text.padded_rows,
            features: model.ego.features.clone(),
            values: vec![0.0; model.ego.features.len()],
            text,
            ego,
        })
    }

    /// Sets what the passes of lane `lane` read from now on: the text `guidance`, or without one
    /// the text of `command`, and the ego state. The text graph runs only when the text differs
    /// from the lane's last one.
    ///
    /// # Errors
    /// `Input` for a command without a text, also where `guidance` is given; `Usage` for a text of
    /// more rows than the model reads; errors of the engines.
    pub(crate) fn set(
        &mut self,
        device: &mut dyn Device,
        lane: usize,
        command: Command,
        guidance: Option<TextEmbedding<'_>>,
        state: EgoState,
    ) -> Result<()> {
        let text = self.texts.iter().find(|t| t.command == command).ok_or_else(|| {
            Error::new(ErrorKind::Input, "the model has no text for this route command").at("context").got(command.as_str())
        })?;
        let wanted = guidance.as_ref().map_or(CurrentText::Command(command), |text| CurrentText::Guidance(text.number));
        let lane = &mut self.lanes[lane];
        if lane.current != Some(wanted) {
            let (rows, bias) = match guidance {
                Some(TextEmbedding { embeddings, tokens, .. }) => {
                    let len = tokens * self.dim;
                    let (Some(from), true) = (embeddings.get(..len), len <= self.rows.len()) else {
                        return Err(Error::new(ErrorKind::Usage, "the guidance text has more rows than the model reads")
                            .at("context")
                            .got(tokens));
                    };
                    let (to, rest) = self.rows.split_at_mut(len);
                    to.copy_from_slice(from);
                    rest.fill(0.0);
                    set_bias(&mut self.bias, tokens, self.padded_rows);
                    (&self.rows, &self.bias)
                }
                None => (&text.rows, &text.bias),
            };
            lane.current = None;
            device.upload(self.text_in, rows)?;
            device.upload(lane.text_bias, bias)?;
            self.text.run(lane.text_binding, device)?;
            lane.current = Some(wanted);
        }
        for (value, &feature) in self.values.iter_mut().zip(&self.features) {
            *value = state.feature(feature) as f32;
        }
        device.upload(self.ego_in, &self.values)?;
        self.ego.run(lane.ego_binding, device)
    }

    /// Library and version of both engines.
    pub(crate) fn describe(&self) -> [String; 2] {
        [self.text.describe(), self.ego.describe()]
    }
}

/// The attention bias of a text with `real` rows. All padding rows are equal, so the last row
/// stands for all of them: its bias, the logarithm of their count, gives it their weight in the
/// softmax.
fn set_bias(bias: &mut [f32], real: usize, padded_rows: usize) {
    bias.fill(MASKED);
    bias[..real].fill(0.0);
    if let (true, Some(last)) = (padded_rows > real, bias.last_mut()) {
        *last = libm::log((padded_rows - real) as f64) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The softmax of `logits` with `bias` over `values`, summed.
    fn attend(logits: &[f64], bias: &[f32], values: &[f64]) -> f64 {
        let weights: Vec<f64> = logits.iter().zip(bias).map(|(logit, bias)| libm::exp(logit + f64::from(*bias))).collect();
        weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>() / weights.iter().sum::<f64>()
    }

    /// Breaks when the row for all padding has another weight than the padding rows together, or
    /// the rows between are visible. Texts of all lengths, compared with every padding row written
    /// out.
    #[test]
    fn merged_padding_counts_as_all_of_it() {
        let (rows, padded) = (17, 512);
        for real in 1..rows {
            let row = |i: usize| (libm::sin(i as f64 * 1.7) * 3.0, libm::cos(i as f64 * 2.3));
            let padding = (0.4, -2.5);
            let written_out: Vec<(f64, f64)> = (0..padded).map(|i| if i < real { row(i) } else { padding }).collect();
            let merged: Vec<(f64, f64)> = (0..rows)
                .map(|i| {
                    if i < real {
                        row(i)
                    } else if i + 1 == rows {
                        padding
                    } else {
                        (9.0, 1e6)
                    }
                })
                .collect();
            let mut bias = vec![0.0; rows];
            set_bias(&mut bias, real, padded);
            let split = |rows: &[(f64, f64)]| -> (Vec<f64>, Vec<f64>) { rows.iter().copied().unzip() };
            let ((logits, values), (all_logits, all_values)) = (split(&merged), split(&written_out));
            let (got, wanted) = (attend(&logits, &bias, &values), attend(&all_logits, &vec![0.0; padded], &all_values));
            assert!((got - wanted).abs() < 1e-6 * wanted.abs(), "{real} rows: {got}, wanted {wanted}");
        }
    }
}
