//! Times the language model alone. The prompt is two images of noise and arbitrary tokens.

use anyhow::{Result, bail};
use drivewam::guidance::vlm::{StopReason, VlmGenerator, VlmPlan};
use drivewam_core::arena::Planner;
use drivewam_core::config::Config;
use drivewam_device::HostDevice;
use drivewam_engine::{EngineBundle, load};
use std::time::{Duration, Instant};

/// A loaded language model with one prompt.
pub(super) struct VlmBench {
    vlm: VlmGenerator,
    device: HostDevice,
    generated: Vec<u32>,
    noise: Vec<f32>,
}

impl VlmBench {
    /// A prompt of two images and `text_tokens` tokens of text; each answer has `answer_tokens`.
    ///
    /// # Errors
    /// The folder has no language model; an engine cannot be loaded.
    pub(super) fn new(config: &Config, bundle: &EngineBundle, text_tokens: usize, answer_tokens: usize) -> Result<Self> {
        let facts = &bundle.manifest().guidance()?.vlm;
        let special = |id: &u32| [facts.image_token, facts.vision_start_token, facts.vision_end_token].contains(id);
        let vocabulary = u32::try_from(facts.vocabulary)?;
        let text: Vec<u32> = (0..vocabulary).filter(|id| !special(id) && !facts.end_tokens.contains(id)).collect();
        let mut prompt: Vec<u32> = [facts.vision_start_token, facts.image_token, facts.vision_end_token].repeat(2);
        prompt.extend(text.iter().cycle().take(text_tokens));
        let open = |graph| load(&config.engine, bundle, graph);
        let mut planner = Planner::new();
        let plan = VlmPlan::new(&mut planner, bundle.manifest(), &[prompt], answer_tokens)?;
        let mut device = HostDevice::new(planner.finish(usize::MAX)?, 1)?;
        let vlm = plan.warm(&open, &mut device, None)?;
        let len = u32::try_from(facts.image.patches() * facts.image.patch_len())?;
        let noise = (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0).collect();
        Ok(Self { vlm, device, generated: Vec::with_capacity(answer_tokens), noise })
    }

    /// Generates one answer and returns its milliseconds.
    ///
    /// # Errors
    /// An engine fails; the model ended the answer before its last token, so that the time would
    /// not compare with that of other implementations.
    pub(super) fn generate(&mut self) -> Result<f64> {
        let start = Instant::now();
        let fill_patches = |_: usize, patches: &mut [f32]| {
            patches.copy_from_slice(&self.noise);
            Ok(())
        };
        let ended = self.vlm.generate(&mut self.device, 0, fill_patches, Duration::from_secs(600), &mut self.generated)?;
        if ended != StopReason::MaxTokens {
            bail!("the model ended its answer after {} tokens ({ended:?})", self.generated.len());
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    /// Tokens of the last answer.
    pub(super) fn generated(&self) -> &[u32] {
        &self.generated
    }

    /// Descriptions of the engines.
    pub(super) fn describe(&self) -> [String; 2] {
        self.vlm.describe()
    }
}
