//! What the model is asked under each route command, in its own tokens: known before the ride, so that every pass has a shape that was bound.

use crate::prompt_template::{Piece, Template};
use crate::tokenizer::Tokens;
use crate::vlm::Passes;
use drivewam_core::Result;
use drivewam_core::config::{Config, Guidance as Settings};
use drivewam_core::dims::Command;
use drivewam_core::guidance::Vlm as Facts;
use drivewam_core::manifest::Manifest;

/// What stands around a prompt where nobody says otherwise, in the chat of Qwen's models.
const CHAT: [&str; 2] = ["<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"];

/// The prompt of each command.
#[derive(Debug)]
pub(crate) struct Prompts {
    /// One image token for each picture.
    pub(crate) tokens: Vec<Vec<u32>>,
    /// Which of a prompt's pictures is the plot.
    pub(crate) plot_comes: usize,
}

impl Prompts {
    /// The template of `settings` for each of `commands`.
    ///
    /// # Errors
    /// `Config` for a template that is none; of the tokenizer.
    pub(crate) fn new(settings: &Settings, facts: &Facts, tokenizer: &Tokens, commands: &[Command]) -> Result<Self> {
        let template = match &settings.template {
            Some(text) => Template::parse(text),
            None => Template::parse(&[CHAT[0], Template::DEFAULT, CHAT[1]].concat()),
        };
        let template = template.map_err(|e| e.at("guidance.template"))?;
        let (mut tokens, mut pictures) = (Vec::new(), Vec::new());
        for &command in commands {
            let mut ids = Vec::new();
            pictures.clear();
            for piece in template.pieces(command) {
                if let Piece::Text(text) = piece {
                    tokenizer.encode(text, &mut ids)?;
                } else {
                    pictures.push(piece == Piece::Plot);
                    ids.extend([facts.vision_start_token, facts.image_token, facts.vision_end_token]);
                }
            }
            tokens.push(ids);
        }
        Ok(Self { tokens, plot_comes: pictures.iter().position(|is_plot| *is_plot).unwrap_or(usize::MAX) })
    }
}

/// Lengths of the decoder's passes under `config`, with the tokenizer that `manifest` names: what engines are built for.
///
/// # Errors
/// `Manifest` for a folder without a language model, or content that is not its tokenizer; `Config` for a template that is none.
pub fn passes(config: &Config, manifest: &Manifest, tokenizer: &[u8]) -> Result<Passes> {
    let facts = &manifest.guidance()?.vlm;
    let tokenizer = Tokens::of_graph(tokenizer, &facts.tokenizer, facts.vocabulary, &facts.special())?;
    let prompts = Prompts::new(&config.guidance, facts, &tokenizer, &config.model.text.commands)?;
    Ok(Passes::new(facts, &prompts.tokens, config.guidance.most_tokens))
}
