//! The imagined frames, decoded, above the frames that then came.

use super::source::Source;
use crate::sheet::{GREY, INK, Sheet, write};
use anyhow::{Context, Result};
use drivewam::Ride;
use drivewam::ndarray::ArrayView3;
use drivewam::outcome::Outcome;
use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Rgb};
use std::path::Path;

/// Width of one picture in the sheet, pixels: at least this.
const TILE_WIDTH: usize = 320;
const GAP: usize = 8;
const HEAD: usize = 34;
const LABEL: usize = 24;

/// Pictures of one chunk: what was imagined, and what came.
pub(super) struct Imagined {
    title: String,
    source: (usize, usize),
    tile: (usize, usize),
    /// When each frame is due.
    due_ns: Vec<i64>,
    tolerance_ns: i64,
    t0_ns: i64,
    imagined: Vec<Vec<u8>>,
    came: Vec<Option<Vec<u8>>>,
}

impl Imagined {
    /// Decodes what the chunk of `outcome` imagined; the title counts time from `origin_ns`.
    ///
    /// # Errors
    /// The decoder fails.
    pub(super) fn new(ride: &mut Ride, source: &mut dyn Source, outcome: &Outcome, origin_ns: i64) -> Result<Self> {
        let model = &ride.config().model;
        let (width, height, period_ns) = (model.image.width, model.image.height, model.frame_period_ns());
        let tolerance_ns = i64::from(ride.config().ingest.frame_tolerance_ms) * 1_000_000;
        let times = TILE_WIDTH.div_ceil(width);
        let tile = (width * times, height * times);
        let frames = ride.future()?;
        let imagined: Vec<Vec<u8>> =
            frames.outer_iter().map(|frame| enlarge(&packed(frame), (width, height), tile)).collect::<Result<_>>()?;
        let due_ns: Vec<i64> = (1..=imagined.len() as i64).map(|i| outcome.t0_ns + i * period_ns).collect();
        let camera = source.large_picture().camera;
        let pixels = source.picture().len() / 3;
        // The small picture has the large one's proportions.
        let scale = ((camera.width * camera.height) as f64 / pixels.max(1) as f64).sqrt().round().max(1.0) as usize;
        Ok(Self {
            title: format!("chunk {} of rollout {}, t0 {:.1} s", outcome.chunk, outcome.rollout, (outcome.t0_ns - origin_ns) as f64 * 1e-9),
            source: (camera.width / scale, camera.height / scale),
            tile,
            came: vec![None; due_ns.len()],
            due_ns,
            tolerance_ns,
            t0_ns: outcome.t0_ns,
            imagined,
        })
    }

    /// Takes a frame that came, if it is one of those that were imagined.
    ///
    /// # Errors
    /// The picture has another size than the camera's.
    pub(super) fn came(&mut self, stamp_ns: i64, rgb: &[u8]) -> Result<()> {
        for (due_ns, came) in self.due_ns.iter().zip(&mut self.came) {
            if came.is_none() && (stamp_ns - due_ns).abs() <= self.tolerance_ns {
                *came = Some(enlarge(rgb, self.source, self.tile)?);
            }
        }
        Ok(())
    }

    /// Whether every frame has come, or can come no more.
    pub(super) fn is_complete(&self, now_ns: i64) -> bool {
        let late = self.due_ns.last().is_some_and(|due_ns| now_ns > due_ns + self.tolerance_ns);
        late || self.came.iter().all(Option::is_some)
    }

    /// Writes the sheet.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let (width, height) = self.tile;
        let count = self.imagined.len();
        let mut sheet = Sheet::new(count * (width + GAP) + GAP, HEAD + 2 * (LABEL + height + GAP));
        let blank = vec![235u8; width * height * 3];
        let left = |i: usize| GAP + i * (width + GAP);
        let tops = [HEAD + LABEL, HEAD + 2 * LABEL + height + GAP];
        for (i, (imagined, came)) in self.imagined.iter().zip(&self.came).enumerate() {
            sheet.put(imagined, width, left(i), tops[0]);
            sheet.put(came.as_deref().unwrap_or(&blank), width, left(i), tops[1]);
        }
        sheet.draw(|area| {
            write(area, &self.title, 16, &INK, GAP as i32, 10)?;
            for (i, (due_ns, came)) in self.due_ns.iter().zip(&self.came).enumerate() {
                let after_s = (due_ns - self.t0_ns) as f64 * 1e-9;
                write(area, &format!("imagined, t0 + {after_s:.0} s"), 13, &GREY, left(i) as i32, (tops[0] - 18) as i32)?;
                let words = if came.is_some() { "what came" } else { "nothing came: the drive ended" };
                write(area, words, 13, &GREY, left(i) as i32, (tops[1] - 18) as i32)?;
            }
            Ok(())
        })?;
        sheet.save(path)
    }
}

/// `[3, H, W]` in [-1, 1] to packed RGB.
fn packed(frame: ArrayView3<'_, f32>) -> Vec<u8> {
    let byte = |value: &f32| ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    frame.permuted_axes([1, 2, 0]).iter().map(byte).collect()
}

fn enlarge(rgb: &[u8], (width, height): (usize, usize), (to_width, to_height): (usize, usize)) -> Result<Vec<u8>> {
    let picture: ImageBuffer<Rgb<u8>, &[u8]> =
        ImageBuffer::from_raw(width as u32, height as u32, rgb).context("a picture of another size than the camera's")?;
    Ok(resize(&picture, to_width as u32, to_height as u32, FilterType::Triangle).into_raw())
}
