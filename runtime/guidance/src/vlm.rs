//! The vision-language model: images and a prompt in, tokens out, one at a time, greedily.
//!
//! Prompts are known in Warm, so every pass has a bound shape: one for each prompt length, and one
//! of a single row. The KV cache has memory of its own. A pass outputs the keys and values of its
//! own rows, which are copied to the next free slots of the cache; each weight is read once per
//! token and nothing is compacted. `export/drivewam_export/guidance/generate.py` is the reference
//! implementation of the same loop.

use crate::graph_regions::GraphRegions;
use crate::vlm_prompt::EncodedPrompt;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{Graph, MASKED};
use drivewam_core::guidance::VlmSpec as Facts;
use drivewam_core::manifest::Manifest;
use drivewam_core::tensor::TensorRole;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::profiler::ProfilerRange;
use drivewam_device::{Device, StridedCopy};
use drivewam_engine::{Binding, Engine};
use std::time::{Duration, Instant};

pub use crate::vlm_prompt::DecoderShapes;

/// What ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model, by an end token.
    EndToken,
    /// The limit on tokens.
    MaxTokens,
    /// The limit on time.
    Timeout,
}

/// The model before its memory is allocated.
#[derive(Debug)]
pub struct VlmPlan {
    facts: Facts,
    vision: GraphRegions,
    decoder: GraphRegions,
    prompts: Vec<EncodedPrompt>,
    slots: usize,
    max_new_tokens: usize,
}

impl VlmPlan {
    /// Plans the memory of the model that `manifest` names. `prompts`: token ids, with one image
    /// token for each image; `max_new_tokens`: the most tokens of an answer.
    ///
    /// # Errors
    /// `Manifest` for a bundle without a language model, or a prompt beyond its vocabulary;
    /// `Capacity` when the memory does not fit.
    pub fn new(planner: &mut Planner, manifest: &Manifest, prompts: &[Vec<u32>], max_new_tokens: usize) -> Result<Self> {
        let facts = manifest.guidance()?.vlm.clone();
        let DecoderShapes { prompts: lengths, slots } = DecoderShapes::new(&facts, prompts, max_new_tokens);
        let longest = lengths.iter().copied().max().unwrap_or(0).max(1);
        let vision = GraphRegions::new(planner, "vlm_vision", manifest.signature(Graph::VlmVision)?, 0, 0)?;
        let decoder = GraphRegions::new(planner, "vlm_decoder", manifest.signature(Graph::VlmDecoder)?, longest, slots)?;
        let prompts = prompts.iter().map(|ids| EncodedPrompt::new(&facts, ids)).collect::<Result<Vec<_>>>()?;
        Ok(Self { facts, vision, decoder, prompts, slots, max_new_tokens })
    }

    /// Loads both graphs with `open` and binds every shape. Called in Warm.
    ///
    /// # Errors
    /// `Engine` when a graph does not load, or differs from the reference.
    pub fn warm(
        self,
        open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>,
        device: &mut dyn Device,
        scratch: Option<Region>,
    ) -> Result<VlmGenerator> {
        let Self { facts, vision, decoder, prompts, slots, max_new_tokens } = self;
        let image_embeds = |graph: &GraphRegions| {
            let levels = (0..facts.deepstack).map(TensorRole::Deepstack);
            std::iter::once(TensorRole::Image).chain(levels).map(|role| graph.region(role)).collect::<Result<Vec<_>>>()
        };
        let cache = |[k, v]: [fn(usize) -> TensorRole; 2]| {
            let roles = (0..facts.layers).flat_map(|layer| [k(layer), v(layer)]);
            roles.map(|role| decoder.region(role)).collect::<Result<Vec<_>>>()
        };
        let regions = Regions {
            patches: vision.region(TensorRole::Patches)?,
            vision_embeds: image_embeds(&vision)?,
            decoder_embeds: image_embeds(&decoder)?,
            ids: decoder.region(TensorRole::Ids)?,
            is_image: decoder.region(TensorRole::IsImage)?,
            rope: decoder.region(TensorRole::Rope)?,
            bias: decoder.region(TensorRole::MemBias)?,
            logits: decoder.region(TensorRole::Logits)?,
            new_kv: cache([TensorRole::K, TensorRole::V])?,
            kv_cache: cache([TensorRole::MemK, TensorRole::MemV])?,
        };
        let mut vision_engine = open(Graph::VlmVision)?;
        let vision_binding = vision.bind(vision_engine.as_mut(), device, scratch, 0, 0)?;
        let mut decoder_engine = open(Graph::VlmDecoder)?;
        let step_binding = decoder.bind(decoder_engine.as_mut(), device, scratch, 1, slots)?;
        let mut bound: Vec<(usize, Binding)> = Vec::new();
        let prompts = prompts
            .into_iter()
            .map(|prompt| {
                let n = prompt.ids.len();
                let known = bound.iter().find(|(rows, _)| *rows == n).map(|(_, binding)| *binding);
                let binding = known.map_or_else(|| decoder.bind(decoder_engine.as_mut(), device, scratch, n, slots), Ok)?;
                bound.push((n, binding));
                Ok((prompt, binding))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(VlmGenerator {
            vision: vision_engine,
            decoder: decoder_engine,
            vision_binding,
            step_binding,
            prompts,
            slots,
            used: 0,
            max_new_tokens,
            patches: vec![0.0; regions.patches.len()],
            logits: vec![0.0; regions.logits.len()],
            rope_row: vec![0.0; facts.head_dim],
            regions,
            facts,
        })
    }
}

/// The loaded model. Every call names the device that it was warmed on.
#[derive(Debug)]
pub struct VlmGenerator {
    facts: Facts,
    vision: Box<dyn Engine>,
    decoder: Box<dyn Engine>,
    vision_binding: Binding,
    step_binding: Binding,
    prompts: Vec<(EncodedPrompt, Binding)>,
    regions: Regions,
    /// Slots of the KV cache, and those that are filled.
    slots: usize,
    used: usize,
    max_new_tokens: usize,
    /// Host copies of an image's patches, of the logits and of one row of the rotary table.
    patches: Vec<f32>,
    logits: Vec<f32>,
    rope_row: Vec<f32>,
}

#[derive(Debug)]
struct Regions {
    patches: Region,
    /// Outputs of the vision graph: the image's embeddings, then those of each deepstack level.
    vision_embeds: Vec<Region>,
    /// Inputs of the decoder, in the same order.
    decoder_embeds: Vec<Region>,
    ids: Region,
    is_image: Region,
    rope: Region,
    bias: Region,
    logits: Region,
    /// Keys and values of a pass, then of the cache, layer by layer.
    new_kv: Vec<Region>,
    kv_cache: Vec<Region>,
}

impl VlmGenerator {
    /// Answers the prompt `prompt`. `write_patches` writes the patches of each of its images, in
    /// order, given the image's index. `answer` receives the tokens without the end token. Does not
    /// allocate if `answer` has capacity.
    ///
    /// # Errors
    /// `Usage` for a prompt that was not given in Warm; `Output` for logits that are not finite;
    /// errors of `write_patches`; `Engine` and `Device`.
    pub fn generate(
        &mut self,
        device: &mut dyn Device,
        prompt: usize,
        mut write_patches: impl FnMut(usize, &mut [f32]) -> Result<()>,
        timeout: Duration,
        answer: &mut Vec<u32>,
    ) -> Result<StopReason> {
        let start = Instant::now();
        answer.clear();
        let images = self.prompts.get(prompt).map_or(0, |(prompt, _)| prompt.images.len());
        for image in 0..images {
            write_patches(image, &mut self.patches)?;
            let _range = ProfilerRange::open(Graph::VlmVision.as_str());
            device.upload(self.regions.patches, &self.patches)?;
            self.vision.run(self.vision_binding, device)?;
            self.scatter_image_embeds(device, prompt, image)?;
        }
        let mut position = self.prefill(device, prompt)?;
        loop {
            let token = self.argmax(device)?;
            if self.facts.end_tokens.contains(&token) {
                return Ok(StopReason::EndToken);
            }
            answer.push(token);
            if answer.len() == self.max_new_tokens {
                return Ok(StopReason::MaxTokens);
            }
            if start.elapsed() >= timeout {
                return Ok(StopReason::Timeout);
            }
            self.step(device, token, position)?;
            position += 1;
        }
    }

    /// Library, version and provider of the vision engine and the decoder engine.
    pub fn describe(&self) -> [String; 2] {
        [self.vision.describe(), self.decoder.describe()]
    }

    /// Copies the vision graph's outputs to the rows of image `image` in the decoder's inputs.
    fn scatter_image_embeds(&self, device: &mut dyn Device, prompt: usize, image: usize) -> Result<()> {
        let first = self.prompts.get(prompt).and_then(|(prompt, _)| prompt.images.get(image)).copied().ok_or_else(unknown)?;
        let len = self.facts.image.rows() * self.facts.width;
        for (from, to) in self.regions.vision_embeds.iter().zip(&self.regions.decoder_embeds) {
            device.copy(*from, to.part(first * self.facts.width, len)?, StridedCopy::contiguous(len))?;
        }
        Ok(())
    }

    /// Runs the whole prompt as one pass over an empty cache. Returns the position after it.
    fn prefill(&mut self, device: &mut dyn Device, prompt: usize) -> Result<usize> {
        let _range = ProfilerRange::open(Graph::VlmDecoder.as_str());
        let (prompt, binding) = self.prompts.get(prompt).ok_or_else(unknown)?;
        device.fill(self.regions.bias, MASKED)?;
        device.upload(self.regions.ids, &prompt.ids)?;
        device.upload(self.regions.is_image, &prompt.is_image)?;
        device.upload(self.regions.rope, &prompt.rope)?;
        self.used = 0;
        self.decoder.run(*binding, device)?;
        let (rows, next_position) = (prompt.ids.len(), prompt.next_position);
        self.append_kv(device, rows)?;
        Ok(next_position)
    }

    /// Runs one text row at `position`.
    fn step(&mut self, device: &mut dyn Device, token: u32, position: usize) -> Result<()> {
        let _range = ProfilerRange::open(Graph::VlmDecoder.as_str());
        device.upload(self.regions.ids, &[token as f32])?;
        device.upload(self.regions.is_image, &[0.0])?;
        self.facts.rope.row([position; 3], &mut self.rope_row);
        device.upload(self.regions.rope, &self.rope_row)?;
        self.decoder.run(self.step_binding, device)?;
        self.append_kv(device, 1)
    }

    /// Copies the keys and values of a pass, `[Hkv, rows, Dh]`, to the next free slots of the cache
    /// `[Hkv, S, Dh]`, and unmasks those slots.
    fn append_kv(&mut self, device: &mut dyn Device, rows: usize) -> Result<()> {
        let (heads, width) = (self.facts.kv_heads, self.facts.head_dim);
        let per_head = StridedCopy { count: heads, len: rows * width, from_stride: rows * width, to_stride: self.slots * width };
        let span = ((heads - 1) * self.slots + rows) * width;
        for (new, cache) in self.regions.new_kv.iter().zip(&self.regions.kv_cache) {
            device.copy(new.part(0, heads * rows * width)?, cache.part(self.used * width, span)?, per_head)?;
        }
        device.fill(self.regions.bias.part(self.used, rows)?, 0.0)?;
        self.used += rows;
        Ok(())
    }

    /// The token of the largest logit; of equal logits, the lowest token.
    fn argmax(&mut self, device: &mut dyn Device) -> Result<u32> {
        device.download(self.regions.logits, &mut self.logits)?;
        let mut best = (0usize, f32::NEG_INFINITY);
        for (token, &logit) in self.logits.iter().enumerate() {
            if !logit.is_finite() {
                return Err(Error::new(ErrorKind::Output, "a logit is not finite").at(format!("token {token}")).got(logit));
            }
            if logit > best.1 {
                best = (token, logit);
            }
        }
        u32::try_from(best.0).map_err(|e| Error::new(ErrorKind::Output, "the token index does not fit 32 bits").caused_by(e))
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Usage, "the prompt was not prepared in Warm").at("guidance")
}
