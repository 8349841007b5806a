//! `memory.png`: what the memory holds at the end of a drive, over the frames that it saw.

use crate::figure::{Area, Figure, GREY, TEXT, write};
use anyhow::{Context, Result};
use drivewam::Ride;
use drivewam::outcome::Outcome;
use drivewam_core::dims::Model;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use ndarray::ArrayView3;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Frames per row of the figure, the width of one, and what lies around it, pixels.
const COLUMNS: usize = 5;
const TILE_WIDTH: usize = 224;
const GAP: usize = 10;
const HEAD: usize = 62;
const LABEL: usize = 22;
/// The newest frames that are kept, of all lanes: more than the memory reaches back.
const MOST: usize = 1024;
/// How bright a patch is of which nothing is held.
const DIMMED: f64 = 0.3;

/// A frame: the newest of a chunk.
struct Seen {
    lane: usize,
    rollout: u64,
    t0_ns: i64,
    /// As large as a tile.
    picture: RgbImage,
}

/// The frames that the memory saw.
#[derive(Default)]
pub(super) struct SeenFrames {
    /// By lane and by the chunk that they complete, of the newest rollout.
    frames: BTreeMap<(usize, u32), Seen>,
}

impl SeenFrames {
    /// Keeps the frame that `outcome` rests on: `rgb`, `width` pixels wide.
    ///
    /// # Errors
    /// The frame has no whole rows.
    pub(super) fn add(&mut self, outcome: &Outcome, rgb: &[u8], width: usize, model: &Model) -> Result<()> {
        let Some(t0_ns) = outcome.policy_t0_ns else { return Ok(()) };
        let height = rgb.len() / (3 * width.max(1));
        let frame = RgbImage::from_raw(width as u32, height as u32, rgb.to_vec()).context("the frame has no whole rows")?;
        let picture = resize(&frame, TILE_WIDTH as u32, tile_height(model) as u32, FilterType::Triangle);
        let (lane, rollout) = (outcome.lane, outcome.rollout);
        self.frames.retain(|_, seen| seen.lane != lane || seen.rollout == rollout);
        if self.frames.len() == MOST {
            self.frames.pop_first();
        }
        // A plan of chunk c rests on the observed chunk c − 1.
        let chunk = u32::try_from(outcome.chunk.saturating_sub(1)).unwrap_or(u32::MAX);
        self.frames.insert((lane, chunk), Seen { lane, rollout, t0_ns, picture });
        Ok(())
    }

    /// Draws the frames of the lane of `last`, each patch as bright as the share of layers and head
    /// sets that hold its token. Writes nothing before the first frame.
    ///
    /// # Errors
    /// The device fails; the file cannot be written.
    pub(super) fn draw(&self, ride: &mut Ride, last: &Outcome, path: &Path) -> Result<()> {
        let held = held(ride)?;
        let model = &ride.config().model;
        let of_lane = self.frames.iter().filter(|((lane, _), _)| *lane == last.lane);
        let remembered: Vec<(u32, &Seen)> =
            of_lane.map(|((_, chunk), seen)| (*chunk, seen)).filter(|(chunk, _)| held.keys().any(|(of, _)| of == chunk)).collect();
        let Some((_, newest)) = remembered.last() else { return Ok(()) };
        let (tile, rows) = (tile_height(model), remembered.len().div_ceil(COLUMNS));
        let width = GAP + COLUMNS * (TILE_WIDTH + GAP);
        let mut figure = Figure::new(width, HEAD + rows * (tile + LABEL + GAP));
        let place = |i: usize| (GAP + (i % COLUMNS) * (TILE_WIDTH + GAP), HEAD + (i / COLUMNS) * (tile + LABEL + GAP));
        for (i, (chunk, seen)) in remembered.iter().enumerate() {
            let lit = lit(&seen.picture, model, |token| held.get(&(*chunk, token)).copied().unwrap_or(0.0));
            let (left, top) = place(i);
            figure.put(ArrayView3::from_shape((tile, TILE_WIDTH, 3), lit.as_raw())?, left, top + LABEL);
        }
        let newest_ns = newest.t0_ns;
        figure.draw(|area| {
            head(area, last.lane, remembered.len())?;
            for (i, (_, seen)) in remembered.iter().enumerate() {
                let (left, top) = place(i);
                let age_s = (newest_ns - seen.t0_ns) as f64 * 1e-9;
                let age = if age_s == 0.0 { "now".to_owned() } else { format!("{age_s:.0} s ago") };
                write(area, &age, 13, &TEXT, left as i32, top as i32 + 3)?;
            }
            Ok(())
        })?;
        figure.save(path)
    }
}

fn tile_height(model: &Model) -> usize {
    (TILE_WIDTH * model.image.height).div_ceil(model.image.width.max(1)).max(1)
}

fn head(area: &Area<'_>, lane: usize, frames: usize) -> Result<()> {
    let title = format!("the memory of lane {lane} at the end of the drive: tokens of {frames} chunks, each with its newest frame");
    write(area, &title, 15, &TEXT, GAP as i32, 12)?;
    write(area, "bright: held by all layers and head sets; dark: held by none", 13, &GREY, GAP as i32, 36)
}

/// The share of layers and head sets that hold each video token, by chunk and token.
fn held(ride: &mut Ride) -> Result<HashMap<(u32, u32), f64>> {
    let (layers, video) = (ride.config().model.layers, 0..ride.config().slots().0);
    let (mut counts, mut tables) = (HashMap::<(u32, u32), f64>::new(), 0);
    for layer in 0..layers {
        let table = ride.memory_table(layer)?;
        for set in 0..table.sets() {
            tables += 1;
            for slot in table.pool(set, video.clone())?.iter().filter(|slot| slot.valid) {
                *counts.entry((slot.chunk, slot.token)).or_default() += 1.0;
            }
        }
    }
    Ok(counts.into_iter().map(|(token, count)| (token, count / f64::from(tables))).collect())
}

/// `picture` with each patch as bright as `share` of its token says.
fn lit(picture: &RgbImage, model: &Model, share: impl Fn(u32) -> f64) -> RgbImage {
    let (columns, rows) = (model.latent.width / model.patch[2], model.latent.height / model.patch[1]);
    let (width, height) = picture.dimensions();
    let mut lit = picture.clone();
    for (x, y, pixel) in lit.enumerate_pixels_mut() {
        let (column, row) = (x as usize * columns / width as usize, y as usize * rows / height as usize);
        let bright = DIMMED + (1.0 - DIMMED) * share((row * columns + column) as u32).clamp(0.0, 1.0);
        pixel.0 = pixel.0.map(|level| (f64::from(level) * bright) as u8);
    }
    lit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::tests::tiny;

    /// Breaks when a token lights another patch than its own.
    #[test]
    fn a_token_lights_the_patch_that_it_stands_for() {
        let model = tiny().model;
        let (columns, rows) = (model.latent.width / model.patch[2], model.latent.height / model.patch[1]);
        let picture = RgbImage::from_pixel(70, 40, image::Rgb([200; 3]));
        let token = (2 * columns + 3) as u32;
        let lit = lit(&picture, &model, |of| if of == token { 1.0 } else { 0.0 });
        let middle = |column: usize, row: usize| {
            lit.get_pixel((70 * (2 * column + 1) / (2 * columns)) as u32, (40 * (2 * row + 1) / (2 * rows)) as u32).0[0]
        };
        assert_eq!((middle(3, 2), middle(2, 2), middle(3, 1)), (200, 60, 60));
    }
}
