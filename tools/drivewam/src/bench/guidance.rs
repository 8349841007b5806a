//! Answers of the language model by itself, for a comparison that takes turns: the prompt is two pictures of noise and words that mean nothing.

use anyhow::{Result, bail};
use drivewam::guidance::vlm::{StopReason, VlmGenerator, VlmPlan};
use drivewam_core::arena::Planner;
use drivewam_core::config::Config;
use drivewam_device::HostDevice;
use drivewam_engine::{Folder, load};
use std::time::{Duration, Instant};

/// A loaded model with one prompt.
pub(super) struct Talk {
    vlm: VlmGenerator,
    device: HostDevice,
    said: Vec<u32>,
    noise: Vec<f32>,
}

impl Talk {
    /// A prompt of `words` tokens of text around two pictures, and answers of `tokens`.
    ///
    /// # Errors
    /// Of the folder and the engines.
    pub(super) fn new(config: &Config, folder: &Folder, words: usize, tokens: usize) -> Result<Self> {
        let facts = &folder.manifest().guidance()?.vlm;
        let special = |id: &u32| [facts.image_token, facts.vision_start_token, facts.vision_end_token].contains(id);
        let vocabulary = u32::try_from(facts.vocabulary)?;
        let text: Vec<u32> = (0..vocabulary).filter(|id| !special(id) && !facts.end_tokens.contains(id)).collect();
        let mut prompt: Vec<u32> = [facts.vision_start_token, facts.image_token, facts.vision_end_token].repeat(2);
        prompt.extend(text.iter().cycle().take(words));
        let open = |graph| load(&config.engine, folder, graph);
        let mut planner = Planner::new();
        let plan = VlmPlan::new(&mut planner, folder.manifest(), &[prompt], tokens)?;
        let mut device = HostDevice::new(planner.finish(usize::MAX)?, 1)?;
        let vlm = plan.warm(&open, &mut device, None)?;
        let len = u32::try_from(facts.image.patches() * facts.image.patch_len())?;
        let noise = (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0).collect();
        Ok(Self { vlm, device, said: Vec::with_capacity(tokens), noise })
    }

    /// Milliseconds of an answer.
    ///
    /// # Errors
    /// Of the engines; an answer that the model ended, which another contender's may not have been.
    pub(super) fn answer(&mut self) -> Result<f64> {
        let from = Instant::now();
        let see = |_: usize, patches: &mut [f32]| {
            patches.copy_from_slice(&self.noise);
            Ok(())
        };
        let ended = self.vlm.generate(&mut self.device, 0, see, Duration::from_secs(600), &mut self.said)?;
        if ended != StopReason::MaxTokens {
            bail!("the model ended its answer after {} tokens ({ended:?})", self.said.len());
        }
        Ok(from.elapsed().as_secs_f64() * 1e3)
    }

    /// What was said last.
    pub(super) fn said(&self) -> &[u32] {
        &self.said
    }

    /// Which engines.
    pub(super) fn describe(&self) -> [String; 2] {
        self.vlm.describe()
    }
}
