//! The token ids of the prompt of each route command. They are known before the ride, so every
//! decoder pass has a shape that is bound in Warm.

use crate::prompt_template::{PromptPiece, PromptTemplate};
use crate::tokenizer::Tokenizer;
use crate::vlm_prompt::DecoderShapes;
use drivewam_core::Result;
use drivewam_core::config::{Config, GuidanceConfig as Settings};
use drivewam_core::dims::Command;
use drivewam_core::guidance::VlmSpec as Facts;
use drivewam_core::manifest::Manifest;

/// What surrounds the default prompt: the chat format of Qwen's models.
const CHAT: [&str; 2] = ["<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"];

/// The prompt of each command.
#[derive(Debug)]
pub(crate) struct PromptTokens {
    /// Token ids per command, with one image token for each image.
    pub(crate) tokens: Vec<Vec<u32>>,
    /// Position of the bird's-eye plot among a prompt's images.
    pub(crate) plot_index: usize,
}

impl PromptTokens {
    /// Tokenizes the template of `settings`, or the default one, for each of `commands`.
    ///
    /// # Errors
    /// `Config` for an invalid template; errors of the tokenizer.
    pub(crate) fn new(settings: &Settings, facts: &Facts, tokenizer: &Tokenizer, commands: &[Command]) -> Result<Self> {
        let template = match &settings.prompt_template {
            Some(text) => PromptTemplate::parse(text),
            None => PromptTemplate::parse(&[CHAT[0], PromptTemplate::DEFAULT, CHAT[1]].concat()),
        };
        let template = template.map_err(|e| e.at("guidance.prompt_template"))?;
        let (mut tokens, mut images) = (Vec::new(), Vec::new());
        for &command in commands {
            let mut ids = Vec::new();
            images.clear();
            for piece in template.pieces(command) {
                if let PromptPiece::Text(text) = piece {
                    tokenizer.encode(text, &mut ids)?;
                } else {
                    images.push(piece == PromptPiece::Plot);
                    ids.extend([facts.vision_start_token, facts.image_token, facts.vision_end_token]);
                }
            }
            tokens.push(ids);
        }
        Ok(Self { tokens, plot_index: images.iter().position(|is_plot| *is_plot).unwrap_or(usize::MAX) })
    }
}

/// The decoder's shapes under `config`, with the content of the tokenizer file that `manifest`
/// names. Engines are built for these shapes.
///
/// # Errors
/// `Manifest` for a bundle without a language model, or a tokenizer of another model; `Config` for
/// an invalid template.
pub fn decoder_shapes(config: &Config, manifest: &Manifest, tokenizer: &[u8]) -> Result<DecoderShapes> {
    let facts = &manifest.guidance()?.vlm;
    let tokenizer = Tokenizer::of_graph(tokenizer, &facts.tokenizer, facts.vocabulary, &facts.special())?;
    let prompts = PromptTokens::new(&config.guidance, facts, &tokenizer, &config.model.text.commands)?;
    Ok(DecoderShapes::new(facts, &prompts.tokens, config.guidance.max_new_tokens))
}
