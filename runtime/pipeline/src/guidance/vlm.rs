//! The language model: pictures and a prompt in, tokens out, one at a time, the likeliest each.
//!
//! Prompts are known in Warm, so every pass has a bound shape: one for each length of a prompt, and one of a single row. Keys and values stand in a
//! memory of their own; a pass puts out those of its rows alone, which are copied into the next free slots, so each weight is read once per token and
//! nothing is compacted. Positions are computed here (core/guidance.rs). `export/drivewam_export/guidance/generate.py` is the same loop.

use super::bound::{Bindings, arena, copy};
use drivewam_core::arena::{ArenaPlan, Planner, Region};
use drivewam_core::bindings::{DEEPSTACK, Graph, IDS, IMAGE, IS_IMAGE, LOGITS, MASKED, MEM_BIAS, PATCHES, ROPE, layered};
use drivewam_core::guidance::Vlm as Facts;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::HostDevice;
use drivewam_engine::{Binding, Engine, Folder};
use std::time::{Duration, Instant};

/// A prompt, tokens and positions worked out.
#[derive(Debug)]
struct Prompt {
    binding: Binding,
    ids: Vec<f32>,
    is_image: Vec<f32>,
    rope: Vec<f32>,
    /// First row of each picture.
    pictures: Vec<usize>,
    /// Position of the first row behind it.
    behind: usize,
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

/// See the module's doc. Computes on the host.
#[derive(Debug)]
pub struct Vlm {
    facts: Facts,
    device: HostDevice,
    vision: Box<dyn Engine>,
    decoder: Box<dyn Engine>,
    seen: Binding,
    one: Binding,
    prompts: Vec<Prompt>,
    regions: Regions,
    slots: usize,
    used: usize,
    most_tokens: usize,
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
    /// Loads both graphs of `folder` by `open` and binds every shape. `prompts`: tokens with one image token for each of the prompt's pictures; `most_tokens`: of an answer. Warm.
    ///
    /// # Errors
    /// `Manifest` for a folder without a language model, or a prompt beyond its vocabulary; `Capacity` when the memory does not fit; `Engine` when a graph does
    /// not load, or puts out something else than the reference.
    pub fn new(folder: &Folder, open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>, prompts: &[Vec<u32>], most_tokens: usize) -> Result<Self> {
        let manifest = folder.manifest();
        let facts = manifest.guidance()?.vlm.clone();
        let longest = prompts.iter().map(|ids| rows_of(&facts, ids)).max().unwrap_or(0).max(1);
        let slots = longest + most_tokens;
        let mut planner = Planner::new();
        let mut vision = Bindings::plan(&mut planner, "vlm_vision", &manifest.signature(Graph::VlmVision)?, 0, 0)?;
        let mut decoder = Bindings::plan(&mut planner, "vlm_decoder", &manifest.signature(Graph::VlmDecoder)?, longest, slots)?;
        let plan: ArenaPlan = planner.finish(usize::MAX)?;
        let mut device = HostDevice::new(plan, 1)?;
        let levels = || (0..facts.deepstack).map(|level| layered(DEEPSTACK, level));
        let rows = |bench: &Bindings| {
            std::iter::once(IMAGE.to_owned()).chain(levels()).map(|name| bench.region(&name)).collect::<Result<Vec<_>>>()
        };
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
        let seen = vision.bind(open(Graph::VlmVision)?, &mut device, 0, 0)?;
        let one = decoder.bind(open(Graph::VlmDecoder)?, &mut device, 1, slots)?;
        let prompts = prompts.iter().map(|ids| prompt(&facts, ids, &mut decoder, &mut device, slots)).collect::<Result<Vec<_>>>()?;
        let (vision, decoder) = (vision.engine()?, decoder.engine()?);
        Ok(Self { facts, device, vision, decoder, seen, one, prompts, regions, slots, used: 0, most_tokens })
    }

    /// Answers prompt `which`, about pictures whose patches `see` writes, one after the other. Tokens go to `answer`, without the one that ended it. Does not allocate, if
    /// `answer` has room.
    ///
    /// # Errors
    /// `Usage` for a prompt that was not given in Warm; `Output` for logits that are not finite; of `see`, `Engine` and `Device`.
    pub fn answer(
        &mut self,
        which: usize,
        mut see: impl FnMut(usize, &mut [f32]) -> Result<()>,
        most: Duration,
        answer: &mut Vec<u32>,
    ) -> Result<Ended> {
        let from = Instant::now();
        answer.clear();
        let pictures = self.prompts.get(which).map_or(0, |prompt| prompt.pictures.len());
        for picture in 0..pictures {
            see(picture, arena(&mut self.device)?.f32_mut(self.regions.patches)?)?;
            self.vision.run(self.seen, &mut self.device)?;
            self.take_in(which, picture)?;
        }
        let mut place = self.prefill(which)?;
        loop {
            let token = self.likeliest()?;
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
            self.step(token, place)?;
            place += 1;
        }
    }

    /// Library, version and provider, of both graphs.
    pub fn describe(&self) -> [String; 2] {
        [self.vision.describe(), self.decoder.describe()]
    }

    /// Copies what the vision graph saw to where the prompt reads its picture.
    fn take_in(&mut self, which: usize, picture: usize) -> Result<()> {
        let first = self.prompts.get(which).and_then(|prompt| prompt.pictures.get(picture)).copied().ok_or_else(unknown)?;
        let len = self.facts.image.rows() * self.facts.width;
        for (from, to) in self.regions.seen.iter().zip(&self.regions.read) {
            copy(&mut self.device, *from, to.part(first * self.facts.width, len)?)?;
        }
        Ok(())
    }

    /// The prompt's rows, as one pass over an empty memory. Returns the position behind them.
    fn prefill(&mut self, which: usize) -> Result<usize> {
        let prompt = self.prompts.get(which).ok_or_else(unknown)?;
        let host = arena(&mut self.device)?;
        host.f32_mut(self.regions.bias)?.fill(MASKED);
        for (region, rows) in
            [(self.regions.ids, &prompt.ids), (self.regions.is_image, &prompt.is_image), (self.regions.rope, &prompt.rope)]
        {
            let (to, _) = host.f32_mut(region)?.split_at_mut(rows.len());
            to.copy_from_slice(rows);
        }
        self.used = 0;
        self.decoder.run(prompt.binding, &mut self.device)?;
        let (rows, behind) = (prompt.ids.len(), prompt.behind);
        self.remember(rows)?;
        Ok(behind)
    }

    /// One row of text at position `place`.
    fn step(&mut self, token: u32, place: usize) -> Result<()> {
        let host = arena(&mut self.device)?;
        let first = |region: Region, len| region.part(0, len);
        host.f32_mut(first(self.regions.ids, 1)?)?.fill(token as f32);
        host.f32_mut(first(self.regions.is_image, 1)?)?.fill(0.0);
        self.facts.rope.row([place; 3], host.f32_mut(first(self.regions.rope, self.facts.head_dim)?)?);
        self.decoder.run(self.one, &mut self.device)?;
        self.remember(1)
    }

    /// Copies the keys and values of a pass of `rows` rows into the next free slots.
    fn remember(&mut self, rows: usize) -> Result<()> {
        let width = self.facts.head_dim;
        for (new, memory) in self.regions.new.iter().zip(&self.regions.memory) {
            for head in 0..self.facts.kv_heads {
                let from = new.part(head * rows * width, rows * width)?;
                copy(&mut self.device, from, memory.part((head * self.slots + self.used) * width, rows * width)?)?;
            }
        }
        arena(&mut self.device)?.f32_mut(self.regions.bias.part(self.used, rows)?)?.fill(0.0);
        self.used += rows;
        Ok(())
    }

    /// Of equal logits the lowest token.
    fn likeliest(&mut self) -> Result<u32> {
        let logits = arena(&mut self.device)?.f32(self.regions.logits)?;
        let mut best = (0usize, f32::NEG_INFINITY);
        for (token, &logit) in logits.iter().enumerate() {
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

/// Works out a prompt's rows and binds a pass of their number.
fn prompt(facts: &Facts, tokens: &[u32], decoder: &mut Bindings, device: &mut HostDevice, slots: usize) -> Result<Prompt> {
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
    let binding = decoder.bind_again(device, n, slots)?;
    Ok(Prompt { binding, ids, is_image, rope, pictures, behind: place })
}
