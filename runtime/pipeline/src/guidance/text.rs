//! The encoder of the guidance text: tokens in, the rows out that `context_text` reads.

use super::bound::{Bindings, arena};
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{Graph, IDS, MASKED, PAD_BIAS, TEXT};
use drivewam_core::guidance::TextEncoder as Facts;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::HostDevice;
use drivewam_engine::{Binding, Engine, Folder};

/// See the module's doc. Computes on the host.
#[derive(Debug)]
pub struct TextEncoder {
    facts: Facts,
    device: HostDevice,
    engine: Box<dyn Engine>,
    binding: Binding,
    ids: Region,
    pad_bias: Region,
    text: Region,
    dim: usize,
}

impl TextEncoder {
    /// Loads the graph of `folder` by `open` and binds it. Warm.
    ///
    /// # Errors
    /// `Manifest` for a folder without an encoder; `Engine` when the graph does not load, or puts out something else than the reference.
    pub fn new(folder: &Folder, open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>) -> Result<Self> {
        let manifest = folder.manifest();
        let facts = manifest.guidance()?.text.clone();
        let mut planner = Planner::new();
        let mut bench = Bindings::plan(&mut planner, "text_encode", &manifest.signature(Graph::TextEncode)?, 0, 0)?;
        let mut device = HostDevice::new(planner.finish(usize::MAX)?, 1)?;
        let binding = bench.bind(open(Graph::TextEncode)?, &mut device, 0, 0)?;
        let (ids, pad_bias, text) = (bench.region(IDS)?, bench.region(PAD_BIAS)?, bench.region(TEXT)?);
        Ok(Self { facts, device, engine: bench.engine()?, binding, ids, pad_bias, text, dim: manifest.model.text.dim })
    }

    /// T, the most tokens of a text.
    pub fn most_tokens(&self) -> usize {
        self.ids.len()
    }

    /// The rows `[tokens, Dt]` of a text, to the start of `rows`; the rest is left as it is. Does not allocate.
    ///
    /// # Errors
    /// `Input` for no token, or more than the graph reads; `Manifest` for one beyond the vocabulary; `Output` for a row that is not finite; `Usage` when `rows` is too
    /// short; `Engine`.
    pub fn encode(&mut self, tokens: &[u32], rows: &mut [f32]) -> Result<()> {
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
        let host = arena(&mut self.device)?;
        let padded = tokens.iter().copied().chain(std::iter::repeat(self.facts.pad_token));
        for (to, id) in host.f32_mut(self.ids)?.iter_mut().zip(padded) {
            *to = id as f32;
        }
        for (i, to) in host.f32_mut(self.pad_bias)?.iter_mut().enumerate() {
            *to = if i < tokens.len() { 0.0 } else { MASKED };
        }
        self.engine.run(self.binding, &mut self.device)?;
        let text = arena(&mut self.device)?.f32(self.text)?;
        let (Some(from), Some(to)) = (text.get(..tokens.len() * self.dim), rows.get_mut(..tokens.len() * self.dim)) else {
            return Err(Error::new(ErrorKind::Usage, "no room for the rows of a text")
                .at("guidance")
                .got(rows.len())
                .wanted(tokens.len() * self.dim));
        };
        if let Some(at) = from.iter().position(|x| !x.is_finite()) {
            return Err(Error::new(ErrorKind::Output, "a row of the text is not finite").at(format!("row {}", at / self.dim)));
        }
        to.copy_from_slice(from);
        Ok(())
    }

    /// Library, version and provider.
    pub fn describe(&self) -> String {
        self.engine.describe()
    }
}
