//! The VLM of the engine bundle as a [`GuidanceModel`]: from a frame, a path and a prompt to two
//! sentences and their embeddings.

use crate::answer_check::{Checked, check};
use crate::bev::BevPlot;
use crate::image_processor::ImageProcessor;
use crate::model::{GenerateError, GuidanceAnswer, GuidanceModel, GuidanceRequest};
use crate::prompt_tokens::PromptTokens;
use crate::status::RejectReason;
use crate::text_embedder::TextEmbedder;
use crate::tokenizer::Tokenizer;
use crate::vlm::{StopReason, VlmGenerator, VlmPlan};
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::Graph;
use drivewam_core::config::GuidanceConfig as Settings;
use drivewam_core::dims::Command;
use drivewam_core::guidance::VlmImage;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::{Device, PixelFormat, SourceCamera};
use drivewam_engine::{Engine, EngineBundle};
use std::time::Duration;

/// The model before its memory is allocated: the prompts and the shapes of all passes are known.
#[derive(Debug)]
pub(crate) struct VlmGuidancePlan {
    vlm: VlmPlan,
    tokenizer: Tokenizer,
    plot_index: usize,
}

impl VlmGuidancePlan {
    /// Tokenizes the prompt of each of `commands`, and plans the model's memory.
    ///
    /// # Errors
    /// `Config` for an invalid template; `Manifest` for a bundle without the model, or with a
    /// tokenizer of another model.
    pub(crate) fn new(planner: &mut Planner, settings: &Settings, bundle: &EngineBundle, commands: &[Command]) -> Result<Self> {
        let facts = &bundle.manifest().guidance()?.vlm;
        let content = bundle.content(&facts.tokenizer)?;
        let tokenizer = Tokenizer::of_graph(content.as_slice(), &facts.tokenizer, facts.vocabulary, &facts.special())?;
        let PromptTokens { tokens: prompts, plot_index } = PromptTokens::new(settings, facts, &tokenizer, commands)?;
        let vlm = VlmPlan::new(planner, bundle.manifest(), &prompts, settings.max_new_tokens)?;
        Ok(Self { vlm, tokenizer, plot_index })
    }

    /// Loads the model. Called in Warm.
    ///
    /// # Errors
    /// `Config` for a camera whose images are not RGB; errors of the engines.
    pub(crate) fn warm(
        self,
        settings: &Settings,
        image: VlmImage,
        camera: SourceCamera,
        open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>,
        (mut device, scratch): (Box<dyn Device>, Option<Region>),
        embedder: TextEmbedder,
    ) -> Result<VlmGuidance> {
        if camera.format != PixelFormat::Rgb8 {
            return Err(Error::new(ErrorKind::Config, "the language model reads RGB images only")
                .at("guidance.mode")
                .got(format!("{:?}", camera.format)));
        }
        let Self { vlm, tokenizer, plot_index } = self;
        Ok(VlmGuidance {
            vlm: vlm.warm(open, device.as_mut(), scratch)?,
            device,
            tokenizer,
            camera: ImageProcessor::new((camera.height, camera.width), image)?,
            plot: BevPlot::new(image.height, image.width)?,
            plot_processor: ImageProcessor::new((image.height, image.width), image)?,
            plot_index,
            embedder,
            timeout: Duration::from_millis(u64::from(settings.timeout_ms)),
            tokens: Vec::with_capacity(settings.max_new_tokens),
        })
    }
}

/// The loaded VLM with everything around it.
#[derive(Debug)]
pub(crate) struct VlmGuidance {
    // Fields are dropped in order: engines before the device that they compute on.
    vlm: VlmGenerator,
    embedder: TextEmbedder,
    device: Box<dyn Device>,
    tokenizer: Tokenizer,
    camera: ImageProcessor,
    plot: BevPlot,
    plot_processor: ImageProcessor,
    /// Position of the plot among a prompt's images.
    plot_index: usize,
    timeout: Duration,
    /// Tokens of the answer.
    tokens: Vec<u32>,
}

impl VlmGuidance {
    /// Library, version and provider of the vision engine and the decoder engine.
    pub(crate) fn describe(&self) -> [String; 2] {
        self.vlm.describe()
    }
}

impl GuidanceModel for VlmGuidance {
    fn generate(&mut self, request: &GuidanceRequest, answer: &mut GuidanceAnswer) -> std::result::Result<(), GenerateError> {
        let Self { vlm, device, camera, plot, plot_processor, plot_index, tokens, .. } = self;
        let write_patches = |image: usize, patches: &mut [f32]| {
            if image == *plot_index { plot_processor.run(plot.draw(&request.path), patches) } else { camera.run(&request.frame, patches) }
        };
        let stopped = vlm.generate(device.as_mut(), request.prompt, write_patches, self.timeout, tokens)?;
        let generated = self.tokenizer.decode(&self.tokens)?;
        let checked = check(&generated);
        let text = checked.text().unwrap_or(&generated);
        push_within_capacity(&mut answer.text, text);
        if stopped != StopReason::EndToken {
            return Err(GenerateError::Rejected(RejectReason::Endless));
        }
        if let Checked::Rejected(violation) = checked {
            return Err(GenerateError::Rejected(RejectReason::Format(violation)));
        }
        let tokens = self.embedder.embed(self.device.as_mut(), text, &mut answer.embeddings)?;
        answer.tokens = tokens.ok_or(GenerateError::Rejected(RejectReason::TooLong))?;
        Ok(())
    }
}

/// Appends as much of `text` as fits into the capacity of `to`.
fn push_within_capacity(to: &mut String, text: &str) {
    let room = to.capacity() - to.len();
    let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    to.push_str(&text[..end]);
}
