//! Text to embeddings: the tokenizer and the text encoder together.

use crate::text_encoder::TextEncoderGraph;
use crate::tokenizer::Tokenizer;
use drivewam_core::Result;
use drivewam_device::Device;
use drivewam_engine::EngineBundle;

/// A text encoder and its tokenizer.
#[derive(Debug)]
pub(crate) struct TextEmbedder {
    encoder: TextEncoderGraph,
    tokenizer: Tokenizer,
    end_token: u32,
    ids: Vec<u32>,
}

impl TextEmbedder {
    /// The warmed `encoder`, and its tokenizer from `bundle`. Called in Warm.
    ///
    /// # Errors
    /// `Manifest` for a bundle without an encoder, or with a tokenizer of another model.
    pub(crate) fn new(bundle: &EngineBundle, encoder: TextEncoderGraph) -> Result<Self> {
        let facts = &bundle.manifest().guidance()?.text;
        let special = [facts.pad_token, facts.end_token];
        let tokenizer = Tokenizer::of_graph(bundle.content(&facts.tokenizer)?.as_slice(), &facts.tokenizer, facts.vocabulary, &special)?;
        Ok(Self { ids: Vec::with_capacity(encoder.max_tokens() + 1), encoder, tokenizer, end_token: facts.end_token })
    }

    /// Writes the embeddings `[tokens, Dt]` of `text` to the start of `embeddings`. Returns the
    /// number of tokens; `None` for a text with more tokens than the encoder reads.
    pub(crate) fn embed(&mut self, device: &mut dyn Device, text: &str, embeddings: &mut [f32]) -> Result<Option<usize>> {
        self.ids.clear();
        self.tokenizer.encode(text, &mut self.ids)?;
        self.ids.push(self.end_token);
        if self.ids.len() > self.encoder.max_tokens() {
            return Ok(None);
        }
        self.encoder.encode(device, &self.ids, embeddings)?;
        Ok(Some(self.ids.len()))
    }

    /// T, the most tokens of a text.
    pub(crate) fn max_tokens(&self) -> usize {
        self.encoder.max_tokens()
    }
}
