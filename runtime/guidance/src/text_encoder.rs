//! The text encoder graph: token ids in, embeddings for the policy's text graph out.

use crate::graph_regions::GraphRegions;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{Graph, MASKED};
use drivewam_core::guidance::TextEncoderSpec as Facts;
use drivewam_core::manifest::Manifest;
use drivewam_core::tensor::TensorRole;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_device::profiler::ProfilerRange;
use drivewam_engine::{Binding, Engine};

/// The encoder before its memory is allocated.
#[derive(Debug)]
pub struct TextEncoderPlan {
    facts: Facts,
    regions: GraphRegions,
    dim: usize,
}

impl TextEncoderPlan {
    /// Plans the memory of the encoder that `manifest` names.
    ///
    /// # Errors
    /// `Manifest` for a bundle without an encoder.
    pub fn new(planner: &mut Planner, manifest: &Manifest) -> Result<Self> {
        let facts = manifest.guidance()?.text.clone();
        let regions = GraphRegions::new(planner, "text_encode", manifest.signature(Graph::TextEncode)?, 0, 0)?;
        Ok(Self { facts, regions, dim: manifest.model.text.dim })
    }

    /// Binds the engine. Called in Warm.
    ///
    /// # Errors
    /// `Engine` when it does not bind, or differs from the reference.
    pub fn warm(self, mut engine: Box<dyn Engine>, device: &mut dyn Device, scratch: Option<Region>) -> Result<TextEncoderGraph> {
        let Self { facts, regions, dim } = self;
        let binding = regions.bind(engine.as_mut(), device, scratch, 0, 0)?;
        let [ids, pad_bias, text] = [TensorRole::Ids, TensorRole::PadBias, TensorRole::Text].map(|role| regions.region(role));
        let (ids, pad_bias, text) = (ids?, pad_bias?, text?);
        Ok(TextEncoderGraph { facts, engine, binding, ids, pad_bias, text, dim, input: vec![0.0; ids.len()] })
    }
}

/// The loaded encoder. Every call names the device that it was warmed on.
#[derive(Debug)]
pub struct TextEncoderGraph {
    facts: Facts,
    engine: Box<dyn Engine>,
    binding: Binding,
    ids: Region,
    pad_bias: Region,
    text: Region,
    /// Dt, numbers of an embedding.
    dim: usize,
    /// Host copy of an input, `[T]`.
    input: Vec<f32>,
}

impl TextEncoderGraph {
    /// T, the most tokens of a text.
    pub fn max_tokens(&self) -> usize {
        self.ids.len()
    }

    /// Writes the embeddings `[tokens, Dt]` of a text to the start of `embeddings`; the rest of it
    /// stays unchanged. Does not allocate.
    ///
    /// # Errors
    /// `Input` for no tokens, or more than the graph reads; `Manifest` for a token beyond the
    /// vocabulary; `Output` for an embedding that is not finite; `Usage` when `embeddings` is too
    /// short; `Engine` and `Device`.
    pub fn encode(&mut self, device: &mut dyn Device, tokens: &[u32], embeddings: &mut [f32]) -> Result<()> {
        let most = self.ids.len();
        if tokens.is_empty() || tokens.len() > most {
            return Err(Error::new(ErrorKind::Input, "the text encoder does not read a text of this length")
                .at("guidance")
                .got(format!("{} tokens", tokens.len()))
                .wanted(format!("1 to {most}")));
        }
        if let Some(odd) = tokens.iter().find(|&&id| id as usize >= self.facts.vocabulary) {
            return Err(Error::new(ErrorKind::Manifest, "a token is beyond the encoder's vocabulary: the tokenizer is another model's")
                .at("guidance.text.tokenizer")
                .got(odd)
                .wanted(format!("below {}", self.facts.vocabulary)));
        }
        let (len, capacity) = (tokens.len() * self.dim, embeddings.len());
        let Some(embeddings) = embeddings.get_mut(..len) else {
            return Err(Error::new(ErrorKind::Usage, "the buffer for the embeddings is too short")
                .at("guidance")
                .got(capacity)
                .wanted(len));
        };
        let _range = ProfilerRange::open(Graph::TextEncode.as_str());
        let padded = tokens.iter().copied().chain(std::iter::repeat(self.facts.pad_token));
        self.input.iter_mut().zip(padded).for_each(|(to, id)| *to = id as f32);
        device.upload(self.ids, &self.input)?;
        self.input.iter_mut().enumerate().for_each(|(i, to)| *to = if i < tokens.len() { 0.0 } else { MASKED });
        device.upload(self.pad_bias, &self.input)?;
        self.engine.run(self.binding, device)?;
        device.download(self.text, embeddings)?;
        match embeddings.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(Error::new(ErrorKind::Output, "an embedding of the text is not finite").at(format!("row {}", at / self.dim))),
            None => Ok(()),
        }
    }

    /// Library, version and provider of the engine.
    pub fn describe(&self) -> String {
        self.engine.describe()
    }
}
