//! From a frame, a path and a command to two sentences and their rows: the work of the guidance thread.

use super::answer::{Checked, check};
use super::bev::Plot;
use super::picture::Preprocessor;
use super::post::{Answer, Request, Speak, Unsaid};
use super::prompt::{Piece, Template};
use super::text::TextEncoder;
use super::tokens::Tokens;
use super::vlm::{Ended, Vlm};
use crate::camera::SourceCamera;
use crate::telemetry::Refusal;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Guidance as Settings;
use drivewam_core::dims::Command;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::PixelFormat;
use drivewam_engine::{Engine, Folder};
use std::time::Duration;

/// What a prompt says where nobody says otherwise, in the chat of Qwen's models.
const CHAT: [&str; 2] = ["<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"];

/// A text encoder and its tokenizer.
#[derive(Debug)]
pub(super) struct Reader {
    encoder: TextEncoder,
    tokens: Tokens,
    end_token: u32,
    ids: Vec<u32>,
}

impl Reader {
    /// Loads both. Warm.
    pub(super) fn new(folder: &Folder, open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>) -> Result<Self> {
        let encoder = TextEncoder::new(folder, open)?;
        let facts = &folder.manifest().guidance()?.text;
        let tokens = tokenizer(folder, &facts.tokenizer, facts.vocabulary)?;
        Ok(Self { ids: Vec::with_capacity(encoder.most_tokens() + 1), encoder, tokens, end_token: facts.end_token })
    }

    /// The rows of `text`, to the start of `rows`. Returns how many, none for a text that is too long.
    pub(super) fn read(&mut self, text: &str, rows: &mut [f32]) -> Result<Option<usize>> {
        self.ids.clear();
        self.tokens.encode(text, &mut self.ids)?;
        self.ids.push(self.end_token);
        if self.ids.len() > self.encoder.most_tokens() {
            return Ok(None);
        }
        self.encoder.encode(&self.ids, rows)?;
        Ok(Some(self.ids.len()))
    }

    /// Which engine.
    pub(super) fn describe(&self) -> String {
        self.encoder.describe()
    }

    /// T.
    pub(super) fn most_tokens(&self) -> usize {
        self.encoder.most_tokens()
    }
}

/// See the module's doc.
#[derive(Debug)]
pub(super) struct Speaker {
    vlm: Vlm,
    tokens: Tokens,
    camera: Preprocessor,
    plot: Plot,
    plotted: Preprocessor,
    /// Which of a prompt's pictures is the plot.
    plot_comes: usize,
    reader: Reader,
    most: Duration,
    said: Vec<u32>,
}

impl Speaker {
    /// Loads the model and works out the prompt of each of `commands`. Warm.
    ///
    /// # Errors
    /// `Config` for a template that is none, or a camera that does not give RGB; `Manifest` for a folder without the models or with tokenizers of others; of the engines.
    pub(super) fn new(
        settings: &Settings,
        folder: &Folder,
        camera: SourceCamera,
        commands: &[Command],
        reader: Reader,
        open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>,
    ) -> Result<Self> {
        if camera.format != PixelFormat::Rgb8 {
            return Err(Error::new(ErrorKind::Config, "the language model looks at RGB alone")
                .at("guidance.mode")
                .got(format!("{:?}", camera.format)));
        }
        let facts = &folder.manifest().guidance()?.vlm;
        let tokens = tokenizer(folder, &facts.tokenizer, facts.vocabulary)?;
        let template = match &settings.template {
            Some(text) => Template::parse(text),
            None => Template::parse(&[CHAT[0], Template::DEFAULT, CHAT[1]].concat()),
        };
        let template = template.map_err(|e| e.at("guidance.template"))?;
        let mut pictures = Vec::new();
        let mut prompt = |command: Command| -> Result<Vec<u32>> {
            let mut ids = Vec::new();
            pictures.clear();
            for piece in template.pieces(command) {
                if let Piece::Text(text) = piece {
                    tokens.encode(text, &mut ids)?;
                } else {
                    pictures.push(piece == Piece::Plot);
                    ids.extend([facts.vision_start_token, facts.image_token, facts.vision_end_token]);
                }
            }
            Ok(ids)
        };
        let prompts = commands.iter().map(|&command| prompt(command)).collect::<Result<Vec<_>>>()?;
        let image = facts.image;
        Ok(Self {
            vlm: Vlm::new(folder, open, &prompts, settings.most_tokens)?,
            tokens,
            camera: Preprocessor::new((camera.height, camera.width), image)?,
            plot: Plot::new(image.height, image.width)?,
            plotted: Preprocessor::new((image.height, image.width), image)?,
            plot_comes: pictures.iter().position(|is_plot| *is_plot).unwrap_or(usize::MAX),
            reader,
            most: Duration::from_millis(u64::from(settings.most_ms)),
            said: Vec::with_capacity(settings.most_tokens),
        })
    }
}

impl Speaker {
    /// Which engines.
    pub(super) fn describe(&self) -> [String; 2] {
        self.vlm.describe()
    }
}

impl Speak for Speaker {
    fn speak(&mut self, request: &Request, answer: &mut Answer) -> std::result::Result<(), Unsaid> {
        let Self { vlm, camera, plot, plotted, plot_comes, said, .. } = self;
        let see = |picture: usize, patches: &mut [f32]| {
            if picture == *plot_comes { plotted.run(plot.draw(&request.path), patches) } else { camera.run(&request.frame, patches) }
        };
        let ended = vlm.answer(request.prompt, see, self.most, said)?;
        let text = self.tokens.decode(&self.said)?;
        let checked = check(&text);
        let words = checked.text().unwrap_or(&text);
        push_up_to(&mut answer.text, words);
        if ended != Ended::End {
            return Err(Unsaid::Refused(Refusal::Endless));
        }
        if let Checked::Refused(reason) = checked {
            return Err(Unsaid::Refused(Refusal::Form(reason)));
        }
        answer.tokens = self.reader.read(words, &mut answer.rows)?.ok_or(Unsaid::Refused(Refusal::TooLong))?;
        Ok(())
    }
}

/// As much of `words` as fits without growing `to`.
fn push_up_to(to: &mut String, words: &str) {
    let room = to.capacity() - to.len();
    let end = (0..=room.min(words.len())).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
    to.push_str(&words[..end]);
}

/// A tokenizer of the folder, whose numbers a graph of `vocabulary` entries can read.
fn tokenizer(folder: &Folder, file: &str, vocabulary: usize) -> Result<Tokens> {
    let tokens = Tokens::from_bytes(folder.content(file)?.as_slice()).map_err(|e| e.at(format!("{file:?}")))?;
    if tokens.vocabulary() > vocabulary {
        return Err(Error::new(ErrorKind::Manifest, "the tokenizer has more entries than the graph reads: it is another model's")
            .at(format!("{file:?}"))
            .got(tokens.vocabulary())
            .wanted(format!("at most {vocabulary}")));
    }
    Ok(tokens)
}
