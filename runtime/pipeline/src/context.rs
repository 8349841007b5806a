//! Room 3, what conditions a chunk: text (a fixed embedding per route command, until a guidance model speaks) and the ego state.

use crate::ingest::EgoState;
use crate::regions::Regions;
use drivewam_core::arena::Region;
use drivewam_core::bindings::{self, MASKED};
use drivewam_core::config::Config;
use drivewam_core::dims::{Command, EgoFeature};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_engine::{Binding, Engine, Folder};

/// The text of one command: rows `[T, Dt]`, and the bias of each row.
#[derive(Debug)]
struct Text {
    command: Command,
    rows: Vec<f32>,
    bias: Vec<f32>,
}

/// Both context graphs.
#[derive(Debug)]
pub(crate) struct Context {
    text: Box<dyn Engine>,
    ego: Box<dyn Engine>,
    text_binding: Binding,
    ego_binding: Binding,
    text_in: Region,
    text_bias: Region,
    ego_in: Region,
    texts: Vec<Text>,
    current: Option<Command>,
    features: Vec<EgoFeature>,
    values: Vec<f32>,
}

impl Context {
    /// Binds both graphs. Warm.
    ///
    /// # Errors
    /// `Manifest` for a command of the model that `folder` has no text for.
    pub(crate) fn new(
        [mut text, mut ego]: [Box<dyn Engine>; 2],
        config: &Config,
        folder: &Folder,
        regions: &Regions,
        device: &mut dyn Device,
    ) -> Result<Self> {
        let model = &config.model;
        let texts = model
            .text
            .commands
            .iter()
            .map(|&command| {
                let real = folder.text(command)?;
                let (mut rows, mut bias) = (real.values.clone(), vec![MASKED; model.text_rows()]);
                rows.resize(model.text_rows() * model.text.dim, 0.0);
                bias[..real.rows].fill(0.0);
                // The last row stands for all padding rows at once: the logarithm of their count is their weight in the softmax.
                if model.text.padded_rows > real.rows {
                    bias[model.text.max_rows] = libm::log((model.text.padded_rows - real.rows) as f64) as f32;
                }
                Ok(Text { command, rows, bias })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut bind = |engine: &mut dyn Engine| {
            let io = regions.io(&folder.manifest().signature(engine.graph())?, 0, |name| regions.get(name), |name| regions.get(name))?;
            engine.bind(device, &io)
        };
        let (text_binding, ego_binding) = (bind(text.as_mut())?, bind(ego.as_mut())?);
        Ok(Self {
            text_binding,
            ego_binding,
            text_in: regions.get(bindings::TEXT)?,
            text_bias: regions.get(bindings::TEXT_BIAS)?,
            ego_in: regions.get(bindings::EGO)?,
            texts,
            current: None,
            features: model.ego.features.clone(),
            values: vec![0.0; model.ego.features.len()],
            text,
            ego,
        })
    }

    /// What the chunk's passes read from now on. The text graph runs only when the command is another one.
    ///
    /// # Errors
    /// `Input` for a command that the model has no text for.
    pub(crate) fn set(&mut self, device: &mut dyn Device, command: Command, state: EgoState) -> Result<()> {
        if self.current != Some(command) {
            let text = self.texts.iter().find(|t| t.command == command).ok_or_else(|| {
                Error::new(ErrorKind::Input, "the model has no text for this route command").at("context").got(command.as_str())
            })?;
            self.current = None;
            device.upload(self.text_in, &text.rows)?;
            device.upload(self.text_bias, &text.bias)?;
            self.text.run(self.text_binding, device)?;
            self.current = Some(command);
        }
        for (value, &feature) in self.values.iter_mut().zip(&self.features) {
            *value = state.feature(feature) as f32;
        }
        device.upload(self.ego_in, &self.values)?;
        self.ego.run(self.ego_binding, device)
    }

    /// Library and version, of both graphs.
    pub(crate) fn describe(&self) -> [String; 2] {
        [self.text.describe(), self.ego.describe()]
    }
}
