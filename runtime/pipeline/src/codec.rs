//! The video codec: frames to a latent and, for inspection, a latent to frames.

use crate::regions::{Regions, key};
use drivewam_core::arena::Region;
use drivewam_core::bindings::{self, Graph};
use drivewam_core::config::Config;
use drivewam_core::dims::Model;
use drivewam_core::manifest::Manifest;
use drivewam_core::tensor::{TensorRole, TensorSpec};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_engine::{Binding, Engine};

/// The streaming encoder. Its causal cache is double-buffered: a run never reads the regions that
/// it writes.
#[derive(Debug)]
pub(crate) struct Encoder {
    first: Box<dyn Engine>,
    chunk: Box<dyn Engine>,
    lanes: Vec<LaneFrames>,
    latent: Region,
    values: Vec<f32>,
}

/// The frames and the causal cache of one lane.
#[derive(Debug)]
struct LaneFrames {
    first_binding: Binding,
    /// Reading cache 0 and writing cache 1, and the reverse.
    bindings: [Binding; 2],
    turn: usize,
    first_frame: Region,
    frames: Vec<Region>,
}

impl Encoder {
    /// Binds both graphs for every lane. Called in Warm.
    pub(crate) fn new(
        [mut first, mut chunk]: [Box<dyn Engine>; 2],
        config: &Config,
        manifest: &Manifest,
        regions: &Regions,
        device: &mut dyn Device,
    ) -> Result<Self> {
        let model = &config.model;
        let signatures = [manifest.signature(first.graph())?, manifest.signature(chunk.graph())?];
        let mut lanes = Vec::with_capacity(config.lanes.count);
        for lane in 0..config.lanes.count {
            let cache = |spec: &TensorSpec, turn: usize| match spec.role {
                Some(TensorRole::CacheIn(i) | TensorRole::CacheOut(i)) => regions.of_lane(lane, &key::cache(turn, i)),
                _ => regions.of_lane(lane, &spec.name),
            };
            let first_frame = regions.of_lane(lane, key::FIRST_FRAME)?;
            let io = regions.io(&signatures[0], 0, |_| Ok(first_frame), |spec| cache(spec, 0))?;
            let first_binding = first.bind(device, &io)?;
            let mut bind = |turn: usize| {
                let io = regions.io(&signatures[1], 0, |spec| cache(spec, turn), |spec| cache(spec, 1 - turn))?;
                chunk.bind(device, &io)
            };
            let bindings = [bind(0)?, bind(1)?];
            let frames = regions.of_lane(lane, bindings::FRAMES)?;
            let one = frames.len() / model.image.frames_per_latent;
            let frames = (0..model.image.frames_per_latent).map(|i| frames.part(i * one, one)).collect::<Result<_>>()?;
            lanes.push(LaneFrames { first_binding, bindings, turn: 0, first_frame, frames });
        }
        let latent = regions.get(bindings::LATENT)?;
        Ok(Self { first, chunk, lanes, latent, values: vec![0.0; model.latent_len()] })
    }

    /// The region of a frame of lane `lane`: the first one of a rollout, or frame `slot` of a
    /// chunk.
    pub(crate) fn frame(&self, lane: usize, slot: Option<usize>) -> Result<Region> {
        let LaneFrames { first_frame, frames, .. } = &self.lanes[lane];
        match slot {
            None => Ok(*first_frame),
            Some(slot) => frames.get(slot).copied().ok_or_else(|| Error::new(ErrorKind::Usage, "a chunk has no such frame").got(slot)),
        }
    }

    /// Encodes the first frame of a lane's rollout to a latent `[Cz, Hz, Wz]`; the cache begins
    /// anew.
    pub(crate) fn encode_first(&mut self, device: &mut dyn Device, lane: usize) -> Result<&[f32]> {
        let lane = &mut self.lanes[lane];
        self.first.run(lane.first_binding, device)?;
        lane.turn = 0;
        self.download(device)
    }

    /// Encodes the frames of a lane's chunk to a latent `[Cz, Hz, Wz]`.
    pub(crate) fn encode(&mut self, device: &mut dyn Device, lane: usize) -> Result<&[f32]> {
        let lane = &mut self.lanes[lane];
        self.chunk.run(lane.bindings[lane.turn], device)?;
        lane.turn = 1 - lane.turn;
        self.download(device)
    }

    fn download(&mut self, device: &mut dyn Device) -> Result<&[f32]> {
        device.download(self.latent, &mut self.values)?;
        match self.values.iter().position(|x| !x.is_finite()) {
            Some(i) => Err(Error::new(ErrorKind::Output, "a latent is not finite").at(format!("encode: number {i}")).got(self.values[i])),
            None => Ok(&self.values),
        }
    }

    /// Library and version of both engines.
    pub(crate) fn describe(&self) -> [String; 2] {
        [self.first.describe(), self.chunk.describe()]
    }
}

/// The decoder, for inspection of the imagined video.
#[derive(Debug)]
pub(crate) struct Decoder {
    engine: Box<dyn Engine>,
    binding: Binding,
    latent: Region,
    frames: Region,
    values: Vec<f32>,
}

impl Decoder {
    /// Binds the graph. Called in Warm.
    ///
    /// # Errors
    /// `Manifest` for a decoder with a causal cache: filling it would mean decoding earlier chunks.
    pub(crate) fn new(mut engine: Box<dyn Engine>, manifest: &Manifest, regions: &Regions, device: &mut dyn Device) -> Result<Self> {
        let caches = manifest.caches(Graph::VaeDecode);
        if !caches.is_empty() {
            return Err(Error::new(ErrorKind::Manifest, "a decoder with a causal cache cannot decode a single chunk")
                .at("graphs.vae_decode")
                .got(format!("{} caches", caches.len()))
                .wanted("none"));
        }
        let (latent, frames) = (regions.get(key::DECODE_LATENT)?, regions.get(key::DECODED)?);
        let io = regions.io(&manifest.signature(engine.graph())?, 0, |_| Ok(latent), |_| Ok(frames))?;
        Ok(Self { binding: engine.bind(device, &io)?, engine, latent, frames, values: vec![0.0; frames.len()] })
    }

    /// Frames `[F, 3, H, W]` in [-1, 1] of a normalised latent.
    pub(crate) fn decode(&mut self, device: &mut dyn Device, latent: &[f32]) -> Result<&[f32]> {
        device.upload(self.latent, latent)?;
        self.engine.run(self.binding, device)?;
        device.download(self.frames, &mut self.values)?;
        Ok(&self.values)
    }
}

/// Writes a latent `[Cz, Hz, Wz]` as token rows `[Nv, W]`: a row is a patch as (channel, row,
/// column). The padding of a row is not written.
pub(crate) fn patchify(model: &Model, latent: &[f32], rows: &mut [f32]) {
    each_number(model, |number, token| rows[token] = latent[number]);
}

/// The inverse of [`patchify`].
pub(crate) fn unpatchify(model: &Model, rows: &[f32], latent: &mut [f32]) {
    each_number(model, |number, token| latent[number] = rows[token]);
}

/// Calls `with` for every number of a latent, with its index in the latent and in the token rows.
fn each_number(model: &Model, mut with: impl FnMut(usize, usize)) {
    let ([_, ph, pw], (height, width)) = (model.patch, (model.latent.height, model.latent.width));
    for channel in 0..model.latent.channels {
        for y in 0..height {
            for x in 0..width {
                let token = (y / ph) * (width / pw) + x / pw;
                let inside = (channel * ph + y % ph) * pw + x % pw;
                with((channel * height + y) * width + x, token * model.token_width() + inside);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpatchify_undoes_patchify_and_a_row_is_one_patch() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml");
        let model = crate::load_config(&path, &[]).unwrap().model;
        let latent: Vec<f32> = (0..model.latent_len()).map(|i| i as f32).collect();
        let mut rows = vec![0.0; model.video_tokens() * model.token_width()];
        patchify(&model, &latent, &mut rows);
        // Token 8 is row 1, column 1 of the grid of patches; channel 1 begins at number 4 of its
        // row.
        let corner = (model.latent.height + 2) * model.latent.width + 2;
        assert_eq!(rows[8 * 96 + 4..8 * 96 + 8], [corner, corner + 1, corner + 14, corner + 15].map(|i| i as f32));
        let mut back = vec![0.0; latent.len()];
        unpatchify(&model, &rows, &mut back);
        assert_eq!(back, latent);
    }
}
