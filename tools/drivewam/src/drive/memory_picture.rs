//! `memory.png`: what the memory holds at the end of a drive, over the frames that it saw.

use crate::memory_figure;
use anyhow::{Context, Result};
use drivewam::Ride;
use drivewam::outcome::Outcome;
use drivewam_core::dims::Model;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use std::collections::BTreeMap;
use std::path::Path;

/// The newest frames that are kept, of all lanes: more than the memory reaches back.
const MOST: usize = 1024;

/// The frames that the memory saw: by lane and by the chunk that each completes, of the lane's
/// newest rollout.
#[derive(Default)]
pub(super) struct SeenFrames {
    /// With the number of the rollout; of the model's size.
    frames: BTreeMap<(usize, u32), (u64, Vec<u8>)>,
}

impl SeenFrames {
    /// Keeps the frame that `outcome` rests on: `rgb`, `width` pixels wide.
    ///
    /// # Errors
    /// The frame has no whole rows.
    pub(super) fn add(&mut self, outcome: &Outcome, rgb: &[u8], width: usize, model: &Model) -> Result<()> {
        if outcome.policy_t0_ns.is_none() {
            return Ok(());
        }
        let height = rgb.len() / (3 * width.max(1));
        let frame = RgbImage::from_raw(width as u32, height as u32, rgb.to_vec()).context("the frame has no whole rows")?;
        let small = resize(&frame, model.image.width as u32, model.image.height as u32, FilterType::Triangle).into_raw();
        self.frames.retain(|(lane, _), (rollout, _)| *lane != outcome.lane || *rollout == outcome.rollout);
        if self.frames.len() == MOST {
            self.frames.pop_first();
        }
        // A plan of chunk c rests on the observed chunk c − 1.
        let chunk = u32::try_from(outcome.chunk.saturating_sub(1)).unwrap_or(u32::MAX);
        self.frames.insert((outcome.lane, chunk), (outcome.rollout, small));
        Ok(())
    }

    /// Draws the memory of the lane of `last`. Writes nothing before the first frame.
    ///
    /// # Errors
    /// The device fails; the file cannot be written.
    pub(super) fn draw(&self, ride: &mut Ride, last: &Outcome, path: &Path) -> Result<()> {
        let held = memory_figure::held(ride)?;
        let title = format!(
            "memory of lane {} at the end: newest frame of each chunk; brightness of a patch: share of layers that hold it",
            last.lane
        );
        let frame = |chunk| Ok(self.frames.get(&(last.lane, chunk)).map(|(_, rgb)| rgb.clone()));
        memory_figure::draw(&title, &held, &ride.config().model, frame, path)
    }
}
