//! The encoder of the guidance text: tokens in, the rows out that `context_text` reads.

use super::bound::Planned;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{Graph, IDS, MASKED, PAD_BIAS, TEXT};
use drivewam_core::guidance::TextEncoder as Facts;
use drivewam_core::manifest::Manifest;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_device::profiler::ProfilerRange;
use drivewam_engine::{Binding, Engine};

/// The encoder before there is memory.
#[derive(Debug)]
pub struct TextPlan {
    facts: Facts,
    planned: Planned,
    dim: usize,
}

impl TextPlan {
    /// Plans the memory of the encoder that `manifest` speaks of.
    ///
    /// # Errors
    /// `Manifest` for a folder without an encoder.
    pub fn new(planner: &mut Planner, manifest: &Manifest) -> Result<Self> {
        let facts = manifest.guidance()?.text.clone();
        let planned = Planned::new(planner, "text_encode", manifest.signature(Graph::TextEncode)?, 0, 0)?;
        Ok(Self { facts, planned, dim: manifest.model.text.dim })
    }

    /// Binds the engine. Warm.
    ///
    /// # Errors
    /// `Engine` when it does not bind, or puts out something else than the reference.
    pub fn warm(self, mut engine: Box<dyn Engine>, device: &mut dyn Device, scratch: Option<Region>) -> Result<TextEncoder> {
        let Self { facts, planned, dim } = self;
        let binding = planned.bind(engine.as_mut(), device, scratch, 0, 0)?;
        let (ids, pad_bias, text) = (planned.region(IDS)?, planned.region(PAD_BIAS)?, planned.region(TEXT)?);
        Ok(TextEncoder { facts, engine, binding, ids, pad_bias, text, dim, input: vec![0.0; ids.len()] })
    }
}

/// See the module's doc. Every call names the device that it was warmed on.
#[derive(Debug)]
pub struct TextEncoder {
    facts: Facts,
    engine: Box<dyn Engine>,
    binding: Binding,
    ids: Region,
    pad_bias: Region,
    text: Region,
    dim: usize,
    /// On its way to the device.
    input: Vec<f32>,
}

impl TextEncoder {
    /// T, the most tokens of a text.
    pub fn most_tokens(&self) -> usize {
        self.ids.len()
    }

    /// The rows `[tokens, Dt]` of a text, to the start of `rows`; what is behind them stays as it is. Does not allocate.
    ///
    /// # Errors
    /// `Input` for no token, or more than the graph reads; `Manifest` for one beyond the vocabulary; `Output` for a row that is not finite; `Usage` when `rows` is too
    /// short; `Engine` and `Device`.
    pub fn encode(&mut self, device: &mut dyn Device, tokens: &[u32], rows: &mut [f32]) -> Result<()> {
        let most = self.ids.len();
        if tokens.is_empty() || tokens.len() > most {
            return Err(Error::new(ErrorKind::Input, "a text of another length than the encoder reads")
                .at("guidance")
                .got(format!("{} tokens", tokens.len()))
                .wanted(format!("1 to {most}")));
        }
        if let Some(odd) = tokens.iter().find(|&&id| id as usize >= self.facts.vocabulary) {
            return Err(Error::new(ErrorKind::Manifest, "a token beyond the encoder's vocabulary: the tokenizer is another model's")
                .at("guidance.text.tokenizer")
                .got(odd)
                .wanted(format!("below {}", self.facts.vocabulary)));
        }
        let (len, room) = (tokens.len() * self.dim, rows.len());
        let Some(rows) = rows.get_mut(..len) else {
            return Err(Error::new(ErrorKind::Usage, "no room for the rows of a text").at("guidance").got(room).wanted(len));
        };
        let _shown = ProfilerRange::open(Graph::TextEncode.as_str());
        let padded = tokens.iter().copied().chain(std::iter::repeat(self.facts.pad_token));
        self.input.iter_mut().zip(padded).for_each(|(to, id)| *to = id as f32);
        device.upload(self.ids, &self.input)?;
        self.input.iter_mut().enumerate().for_each(|(i, to)| *to = if i < tokens.len() { 0.0 } else { MASKED });
        device.upload(self.pad_bias, &self.input)?;
        self.engine.run(self.binding, device)?;
        device.download(self.text, rows)?;
        match rows.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(Error::new(ErrorKind::Output, "a row of the text is not finite").at(format!("row {}", at / self.dim))),
            None => Ok(()),
        }
    }

    /// Library, version and provider.
    pub fn describe(&self) -> String {
        self.engine.describe()
    }
}
