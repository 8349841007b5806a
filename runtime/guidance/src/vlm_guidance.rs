//! From a frame, a path and a command to two sentences and their rows: the work of the guidance thread.

use crate::answer_check::{Checked, check};
use crate::bev::Plot;
use crate::image_processor::Preprocessor;
use crate::model::{Answer, Request, Speak, Unsaid};
use crate::prompt_tokens::Prompts;
use crate::status::Refusal;
use crate::text_encoder::TextEncoder;
use crate::tokenizer::Tokens;
use crate::vlm::{Ended, Vlm, VlmPlan};
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::Graph;
use drivewam_core::config::Guidance as Settings;
use drivewam_core::dims::Command;
use drivewam_core::guidance::Image;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::{Device, PixelFormat, SourceCamera};
use drivewam_engine::{Engine, Folder};
use std::time::Duration;

/// A text encoder and its tokenizer.
#[derive(Debug)]
pub(crate) struct Reader {
    encoder: TextEncoder,
    tokens: Tokens,
    end_token: u32,
    ids: Vec<u32>,
}

impl Reader {
    /// The encoder, warmed, and its tokenizer. Warm.
    pub(crate) fn new(folder: &Folder, encoder: TextEncoder) -> Result<Self> {
        let facts = &folder.manifest().guidance()?.text;
        let special = [facts.pad_token, facts.end_token];
        let tokens = Tokens::of_graph(folder.content(&facts.tokenizer)?.as_slice(), &facts.tokenizer, facts.vocabulary, &special)?;
        Ok(Self { ids: Vec::with_capacity(encoder.most_tokens() + 1), encoder, tokens, end_token: facts.end_token })
    }

    /// The rows of `text`, to the start of `rows`. Returns how many, none for a text that is too long.
    pub(crate) fn read(&mut self, device: &mut dyn Device, text: &str, rows: &mut [f32]) -> Result<Option<usize>> {
        self.ids.clear();
        self.tokens.encode(text, &mut self.ids)?;
        self.ids.push(self.end_token);
        if self.ids.len() > self.encoder.most_tokens() {
            return Ok(None);
        }
        self.encoder.encode(device, &self.ids, rows)?;
        Ok(Some(self.ids.len()))
    }

    /// T.
    pub(crate) fn most_tokens(&self) -> usize {
        self.encoder.most_tokens()
    }
}

/// The model before there is memory: its prompts are known, and so are its passes.
#[derive(Debug)]
pub(crate) struct SpeakerPlan {
    vlm: VlmPlan,
    tokens: Tokens,
    plot_comes: usize,
}

impl SpeakerPlan {
    /// Works out the prompt of each of `commands`, and plans the model's memory.
    ///
    /// # Errors
    /// `Config` for a template that is none; `Manifest` for a folder without the model, or with a tokenizer of another.
    pub(crate) fn new(planner: &mut Planner, settings: &Settings, folder: &Folder, commands: &[Command]) -> Result<Self> {
        let facts = &folder.manifest().guidance()?.vlm;
        let tokens = Tokens::of_graph(folder.content(&facts.tokenizer)?.as_slice(), &facts.tokenizer, facts.vocabulary, &facts.special())?;
        let Prompts { tokens: prompts, plot_comes } = Prompts::new(settings, facts, &tokens, commands)?;
        let vlm = VlmPlan::new(planner, folder.manifest(), &prompts, settings.most_tokens)?;
        Ok(Self { vlm, tokens, plot_comes })
    }

    /// Loads the model. Warm.
    ///
    /// # Errors
    /// `Config` for a camera that does not give RGB; of the engines.
    pub(crate) fn warm(
        self,
        settings: &Settings,
        image: Image,
        camera: SourceCamera,
        open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>,
        (mut device, scratch): (Box<dyn Device>, Option<Region>),
        reader: Reader,
    ) -> Result<Speaker> {
        if camera.format != PixelFormat::Rgb8 {
            return Err(Error::new(ErrorKind::Config, "the language model looks at RGB alone")
                .at("guidance.mode")
                .got(format!("{:?}", camera.format)));
        }
        let Self { vlm, tokens, plot_comes } = self;
        Ok(Speaker {
            vlm: vlm.warm(open, device.as_mut(), scratch)?,
            device,
            tokens,
            camera: Preprocessor::new((camera.height, camera.width), image)?,
            plot: Plot::new(image.height, image.width)?,
            plotted: Preprocessor::new((image.height, image.width), image)?,
            plot_comes,
            reader,
            most: Duration::from_millis(u64::from(settings.most_ms)),
            said: Vec::with_capacity(settings.most_tokens),
        })
    }
}

/// See the module's doc.
#[derive(Debug)]
pub(crate) struct Speaker {
    // Engines go before the device that they work on.
    vlm: Vlm,
    reader: Reader,
    device: Box<dyn Device>,
    tokens: Tokens,
    camera: Preprocessor,
    plot: Plot,
    plotted: Preprocessor,
    /// Which of a prompt's pictures is the plot.
    plot_comes: usize,
    most: Duration,
    said: Vec<u32>,
}

impl Speaker {
    /// Which engines.
    pub(crate) fn describe(&self) -> [String; 2] {
        self.vlm.describe()
    }
}

impl Speak for Speaker {
    fn speak(&mut self, request: &Request, answer: &mut Answer) -> std::result::Result<(), Unsaid> {
        let Self { vlm, device, camera, plot, plotted, plot_comes, said, .. } = self;
        let see = |picture: usize, patches: &mut [f32]| {
            if picture == *plot_comes { plotted.run(plot.draw(&request.path), patches) } else { camera.run(&request.frame, patches) }
        };
        let ended = vlm.answer(device.as_mut(), request.prompt, see, self.most, said)?;
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
        answer.tokens = self.reader.read(self.device.as_mut(), words, &mut answer.rows)?.ok_or(Unsaid::Refused(Refusal::TooLong))?;
        Ok(())
    }
}

/// As much of `words` as fits without growing `to`.
fn push_up_to(to: &mut String, words: &str) {
    let room = to.capacity() - to.len();
    let end = (0..=room.min(words.len())).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
    to.push_str(&words[..end]);
}
