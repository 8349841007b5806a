//! The language model: pictures and a prompt in, tokens out, one at a time, the likeliest each.
//!
//! Prompts are known in Warm, so every pass has a bound shape: one for each length of a prompt, and one of a single row. Keys and values stand in a
//! memory of their own; a pass puts out those of its rows alone, which are copied into the next free slots, so each weight is read once per token and
//! nothing is compacted. Positions are computed here (core/guidance.rs). `export/drivewam_export/guidance/generate.py` is the same loop.

use super::bound::Planned;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{DEEPSTACK, Graph, IDS, IMAGE, IS_IMAGE, LOGITS, MASKED, MEM_BIAS, PATCHES, ROPE, layered};
use drivewam_core::guidance::Vlm as Facts;
use drivewam_core::manifest::Manifest;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::profiler::ProfilerRange;
use drivewam_device::{Device, StridedCopy};
use drivewam_engine::{Binding, Engine};
use std::time::{Duration, Instant};

/// A prompt, tokens and positions worked out.
#[derive(Debug)]
struct Prompt {
    ids: Vec<f32>,
    is_image: Vec<f32>,
    rope: Vec<f32>,
    /// First row of each picture.
    pictures: Vec<usize>,
    /// Position of the first row behind it.
    behind: usize,
}

/// Lengths of the decoder's passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passes {
    /// N of each prompt; an answer's passes have one row.
    pub prompts: Vec<usize>,
    /// S of all.
    pub slots: usize,
}

impl Passes {
    /// Those of prompts with one image token for each picture, and answers of at most `most_tokens`.
    pub fn new(facts: &Facts, prompts: &[Vec<u32>], most_tokens: usize) -> Self {
        let prompts: Vec<usize> = prompts.iter().map(|ids| rows_of(facts, ids)).collect();
        let longest = prompts.iter().copied().max().unwrap_or(0).max(1);
        Self { prompts, slots: longest + most_tokens }
    }
}

/// What ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The model itself.
    End,
    /// The cap on tokens.
    Tokens,
    /// The cap on time.
    Time,
}

/// The model before there is memory.
#[derive(Debug)]
pub struct VlmPlan {
    facts: Facts,
    vision: Planned,
    decoder: Planned,
    prompts: Vec<Prompt>,
    slots: usize,
    most_tokens: usize,
}

impl VlmPlan {
    /// Plans the memory of the model that `manifest` speaks of. `prompts`: tokens with one image token for each of the prompt's pictures; `most_tokens`: of an answer.
    ///
    /// # Errors
    /// `Manifest` for a folder without a language model, or a prompt beyond its vocabulary; `Capacity` when the memory does not fit.
    pub fn new(planner: &mut Planner, manifest: &Manifest, prompts: &[Vec<u32>], most_tokens: usize) -> Result<Self> {
        let facts = manifest.guidance()?.vlm.clone();
        let Passes { prompts: lengths, slots } = Passes::new(&facts, prompts, most_tokens);
        let longest = lengths.iter().copied().max().unwrap_or(0).max(1);
        let vision = Planned::new(planner, "vlm_vision", manifest.signature(Graph::VlmVision)?, 0, 0)?;
        let decoder = Planned::new(planner, "vlm_decoder", manifest.signature(Graph::VlmDecoder)?, longest, slots)?;
        let prompts = prompts.iter().map(|ids| prompt(&facts, ids)).collect::<Result<Vec<_>>>()?;
        Ok(Self { facts, vision, decoder, prompts, slots, most_tokens })
    }

    /// Loads both graphs by `open` and binds every shape. Warm.
    ///
    /// # Errors
    /// `Engine` when a graph does not load, or puts out something else than the reference.
    pub fn warm(self, open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>, device: &mut dyn Device, scratch: Option<Region>) -> Result<Vlm> {
        let Self { facts, vision, decoder, prompts, slots, most_tokens } = self;
        let levels = || (0..facts.deepstack).map(|level| layered(DEEPSTACK, level));
        let rows =
            |graph: &Planned| std::iter::once(IMAGE.to_owned()).chain(levels()).map(|name| graph.region(&name)).collect::<Result<Vec<_>>>();
        let cache = |stems: [&str; 2]| {
            let names = (0..facts.layers).flat_map(|layer| stems.map(|stem| layered(stem, layer)));
            names.map(|name| decoder.region(&name)).collect::<Result<Vec<_>>>()
        };
        let regions = Regions {
            patches: vision.region(PATCHES)?,
            seen: rows(&vision)?,
            read: rows(&decoder)?,
            ids: decoder.region(IDS)?,
            is_image: decoder.region(IS_IMAGE)?,
            rope: decoder.region(ROPE)?,
            bias: decoder.region(MEM_BIAS)?,
            logits: decoder.region(LOGITS)?,
            new: cache(["k", "v"])?,
            memory: cache(["mem_k", "mem_v"])?,
        };
        let mut seer = open(Graph::VlmVision)?;
        let seen = vision.bind(seer.as_mut(), device, scratch, 0, 0)?;
        let mut speaker = open(Graph::VlmDecoder)?;
        let one = decoder.bind(speaker.as_mut(), device, scratch, 1, slots)?;
        let mut bound: Vec<(usize, Binding)> = Vec::new();
        let prompts = prompts
            .into_iter()
            .map(|prompt| {
                let n = prompt.ids.len();
                let known = bound.iter().find(|(rows, _)| *rows == n).map(|(_, binding)| *binding);
                let binding = known.map_or_else(|| decoder.bind(speaker.as_mut(), device, scratch, n, slots), Ok)?;
                bound.push((n, binding));
                Ok((prompt, binding))
            })
            .collect::<Result<Vec<_>>>()?;
        let (patches, logits) = (vec![0.0; regions.patches.len()], vec![0.0; regions.logits.len()]);
        let row = vec![0.0; facts.head_dim];
        Ok(Vlm { facts, vision: seer, decoder: speaker, seen, one, prompts, regions, slots, used: 0, most_tokens, patches, logits, row })
    }
}

/// See the module's doc. Every call names the device that it was warmed on.
#[derive(Debug)]
pub struct Vlm {
    facts: Facts,
    vision: Box<dyn Engine>,
    decoder: Box<dyn Engine>,
    seen: Binding,
    one: Binding,
    prompts: Vec<(Prompt, Binding)>,
    regions: Regions,
    slots: usize,
    used: usize,
    most_tokens: usize,
    /// A picture on its way to the device.
    patches: Vec<f32>,
    /// What came back.
    logits: Vec<f32>,
    /// A row of positions on its way.
    row: Vec<f32>,
}

#[derive(Debug)]
struct Regions {
    patches: Region,
    /// What the vision graph put out: the picture's rows, then those of each deepstack level; and where the decoder reads them.
    seen: Vec<Region>,
    read: Vec<Region>,
    ids: Region,
    is_image: Region,
    rope: Region,
    bias: Region,
    logits: Region,
    /// Keys and values of each layer: of a pass, of the memory.
    new: Vec<Region>,
    memory: Vec<Region>,
}

impl Vlm {
    /// Answers prompt `which`, about pictures whose patches `see` writes, one after the other. Tokens go to `answer`, without the one that ended it. Does not allocate, if
    /// `answer` has room.
    ///
    /// # Errors
    /// `Usage` for a prompt that was not given in Warm; `Output` for logits that are not finite; of `see`, `Engine` and `Device`.
    pub fn answer(
        &mut self,
        device: &mut dyn Device,
        which: usize,
        mut see: impl FnMut(usize, &mut [f32]) -> Result<()>,
        most: Duration,
        answer: &mut Vec<u32>,
    ) -> Result<Ended> {
        let from = Instant::now();
        answer.clear();
        let pictures = self.prompts.get(which).map_or(0, |(prompt, _)| prompt.pictures.len());
        for picture in 0..pictures {
            see(picture, &mut self.patches)?;
            let _shown = ProfilerRange::open(Graph::VlmVision.as_str());
            device.upload(self.regions.patches, &self.patches)?;
            self.vision.run(self.seen, device)?;
            self.take_in(device, which, picture)?;
        }
        let mut place = self.prefill(device, which)?;
        loop {
            let token = self.likeliest(device)?;
            if self.facts.end_tokens.contains(&token) {
                return Ok(Ended::End);
            }
            answer.push(token);
            if answer.len() == self.most_tokens {
                return Ok(Ended::Tokens);
            }
            if from.elapsed() >= most {
                return Ok(Ended::Time);
            }
            self.step(device, token, place)?;
            place += 1;
        }
    }

    /// Library, version and provider, of both graphs.
    pub fn describe(&self) -> [String; 2] {
        [self.vision.describe(), self.decoder.describe()]
    }

    /// Copies what the vision graph saw to where the prompt reads its picture.
    fn take_in(&self, device: &mut dyn Device, which: usize, picture: usize) -> Result<()> {
        let first = self.prompts.get(which).and_then(|(prompt, _)| prompt.pictures.get(picture)).copied().ok_or_else(unknown)?;
        let len = self.facts.image.rows() * self.facts.width;
        for (from, to) in self.regions.seen.iter().zip(&self.regions.read) {
            device.copy(*from, to.part(first * self.facts.width, len)?, StridedCopy::contiguous(len))?;
        }
        Ok(())
    }

    /// The prompt's rows, as one pass over an empty memory. Returns the position behind them.
    fn prefill(&mut self, device: &mut dyn Device, which: usize) -> Result<usize> {
        let _shown = ProfilerRange::open(Graph::VlmDecoder.as_str());
        let (prompt, binding) = self.prompts.get(which).ok_or_else(unknown)?;
        device.fill(self.regions.bias, MASKED)?;
        device.upload(self.regions.ids, &prompt.ids)?;
        device.upload(self.regions.is_image, &prompt.is_image)?;
        device.upload(self.regions.rope, &prompt.rope)?;
        self.used = 0;
        self.decoder.run(*binding, device)?;
        let (rows, behind) = (prompt.ids.len(), prompt.behind);
        self.remember(device, rows)?;
        Ok(behind)
    }

    /// One row of text at position `place`.
    fn step(&mut self, device: &mut dyn Device, token: u32, place: usize) -> Result<()> {
        let _shown = ProfilerRange::open(Graph::VlmDecoder.as_str());
        device.upload(self.regions.ids, &[token as f32])?;
        device.upload(self.regions.is_image, &[0.0])?;
        self.facts.rope.row([place; 3], &mut self.row);
        device.upload(self.regions.rope, &self.row)?;
        self.decoder.run(self.one, device)?;
        self.remember(device, 1)
    }

    /// Copies the keys and values of a pass of `rows` rows into the next free slots: `[Hkv, rows, Dh]` into `[Hkv, S, Dh]`.
    fn remember(&mut self, device: &mut dyn Device, rows: usize) -> Result<()> {
        let (heads, width) = (self.facts.kv_heads, self.facts.head_dim);
        let heads_apart = StridedCopy { count: heads, len: rows * width, from_stride: rows * width, to_stride: self.slots * width };
        let reach = ((heads - 1) * self.slots + rows) * width;
        for (new, memory) in self.regions.new.iter().zip(&self.regions.memory) {
            device.copy(new.part(0, heads * rows * width)?, memory.part(self.used * width, reach)?, heads_apart)?;
        }
        device.fill(self.regions.bias.part(self.used, rows)?, 0.0)?;
        self.used += rows;
        Ok(())
    }

    /// Of equal logits the lowest token.
    fn likeliest(&mut self, device: &mut dyn Device) -> Result<u32> {
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
        u32::try_from(best.0).map_err(|e| Error::new(ErrorKind::Output, "a token beyond any vocabulary").caused_by(e))
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Usage, "a prompt that was not given in Warm").at("guidance")
}

/// Rows of a prompt once each image token stands for a whole image.
fn rows_of(facts: &Facts, ids: &[u32]) -> usize {
    ids.iter().map(|&id| if id == facts.image_token { facts.image.rows() } else { 1 }).sum()
}

/// Works out a prompt's rows.
fn prompt(facts: &Facts, tokens: &[u32]) -> Result<Prompt> {
    if let Some(odd) = tokens.iter().find(|&&id| id as usize >= facts.vocabulary) {
        return Err(Error::new(
            ErrorKind::Manifest,
            "a token of the prompt is beyond the model's vocabulary: the tokenizer is another model's",
        )
        .at("guidance.vlm.tokenizer")
        .got(odd)
        .wanted(format!("below {}", facts.vocabulary)));
    }
    let n = rows_of(facts, tokens);
    let [rows, columns] = facts.image.grid();
    let (mut ids, mut is_image, mut rope, mut pictures, mut place) = (Vec::new(), Vec::new(), vec![0.0; n * facts.head_dim], Vec::new(), 0);
    let mut turn = |at: usize, place: [usize; 3]| {
        if let Some(row) = rope.chunks_exact_mut(facts.head_dim).nth(at) {
            facts.rope.row(place, row);
        }
    };
    for &id in tokens {
        if id != facts.image_token {
            turn(ids.len(), [place; 3]);
            ids.push(id as f32);
            is_image.push(0.0);
            place += 1;
            continue;
        }
        pictures.push(ids.len());
        for row in 0..rows {
            for column in 0..columns {
                turn(ids.len(), [place, place + row, place + column]);
                ids.push(id as f32);
                is_image.push(1.0);
            }
        }
        place += rows.max(columns);
    }
    Ok(Prompt { ids, is_image, rope, pictures, behind: place })
}
