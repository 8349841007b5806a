//! `future/*.png`: the frames that a chunk imagined, decoded, above the frames that came.

use super::source::Source;
use crate::figure::{Figure, GREY, TEXT, write};
use anyhow::{Context, Result};
use drivewam::Ride;
use drivewam::outcome::Outcome;
use drivewam_core::config::FlowConfig;
use drivewam_core::flow::schedule::video_steps;
use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Rgb};
use ndarray::{Array3, ArrayView3};
use std::path::Path;

/// Minimum width of one frame in the figure, pixels.
const TILE_WIDTH: usize = 320;
const GAP: usize = 8;
const HEAD: usize = 34;
const LABEL: usize = 24;

/// The imagined frames of one chunk, and those that came.
pub(super) struct Imagined {
    title: String,
    /// Height and width of the frames of the source, pixels.
    source: [usize; 2],
    /// Height and width of a frame in the figure, pixels.
    tile: [usize; 2],
    /// Stamp at which each frame is due.
    due_ns: Vec<i64>,
    tolerance_ns: i64,
    t0_ns: i64,
    /// `[height, width, 3]` each, as large as `tile`.
    imagined: Vec<Array3<u8>>,
    came: Vec<Option<Array3<u8>>>,
}

impl Imagined {
    /// Decodes what the chunk of `outcome` imagined. The title counts time from `origin_ns`.
    ///
    /// # Errors
    /// The decoder fails.
    pub(super) fn new(ride: &mut Ride, source: &mut dyn Source, outcome: &Outcome, origin_ns: i64) -> Result<Self> {
        let model = &ride.config().model;
        let (width, height, period_ns) = (model.image.width, model.image.height, model.frame_period_ns());
        let tolerance_ns = i64::from(ride.config().ingest.frame_tolerance_ms) * 1_000_000;
        let scale = TILE_WIDTH.div_ceil(width);
        let tile = [height * scale, width * scale];
        let imagined: Vec<Array3<u8>> =
            ride.future()?.outer_iter().map(|frame| enlarge(to_rgb(frame).view(), tile)).collect::<Result<_>>()?;
        let t0_ns = outcome.policy_t0_ns.unwrap_or(outcome.anchor_ns);
        let due_ns: Vec<i64> = (1..=imagined.len() as i64).map(|i| t0_ns + i * period_ns).collect();
        let camera = source.large_image().camera;
        let pixels = source.frame().len() / 3;
        // The small image has the large one's proportions.
        let scale = ((camera.width * camera.height) as f64 / pixels.max(1) as f64).sqrt().round().max(1.0) as usize;
        Ok(Self {
            title: format!(
                "chunk {} of rollout {}, t0 {:.1} s; {}",
                outcome.chunk,
                outcome.rollout,
                (t0_ns - origin_ns) as f64 * 1e-9,
                denoised(&ride.config().flow)
            ),
            source: [camera.height / scale, camera.width / scale],
            tile,
            came: vec![None; due_ns.len()],
            due_ns,
            tolerance_ns,
            t0_ns,
            imagined,
        })
    }

    /// Stores a frame that came, if an imagined one is due at its stamp.
    ///
    /// # Errors
    /// `rgb` does not have the size of the source's frames.
    pub(super) fn add(&mut self, stamp_ns: i64, rgb: &[u8]) -> Result<()> {
        for (due_ns, came) in self.due_ns.iter().zip(&mut self.came) {
            if came.is_none() && (stamp_ns - due_ns).abs() <= self.tolerance_ns {
                let frame = ArrayView3::from_shape((self.source[0], self.source[1], 3), rgb)?;
                *came = Some(enlarge(frame, self.tile)?);
            }
        }
        Ok(())
    }

    /// Whether every frame has come, or is overdue at `now_ns`.
    pub(super) fn is_complete(&self, now_ns: i64) -> bool {
        let late = self.due_ns.last().is_some_and(|due_ns| now_ns > due_ns + self.tolerance_ns);
        late || self.came.iter().all(Option::is_some)
    }

    /// Writes the figure.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let [height, width] = self.tile;
        let count = self.imagined.len();
        let mut figure = Figure::new(count * (width + GAP) + GAP, HEAD + 2 * (LABEL + height + GAP));
        let blank = Array3::from_elem((height, width, 3), 235);
        let left = |i: usize| GAP + i * (width + GAP);
        let tops = [HEAD + LABEL, HEAD + 2 * LABEL + height + GAP];
        for (i, (imagined, came)) in self.imagined.iter().zip(&self.came).enumerate() {
            figure.put(imagined.view(), left(i), tops[0]);
            figure.put(came.as_ref().unwrap_or(&blank).view(), left(i), tops[1]);
        }
        figure.draw(|area| {
            write(area, &self.title, 16, &TEXT, GAP as i32, 10)?;
            for (i, (due_ns, came)) in self.due_ns.iter().zip(&self.came).enumerate() {
                let after_s = (due_ns - self.t0_ns) as f64 * 1e-9;
                write(area, &format!("imagined, t0 + {after_s:.0} s"), 13, &GREY, left(i) as i32, (tops[0] - 18) as i32)?;
                let label = if came.is_some() { "recorded" } else { "no frame: the drive ended" };
                write(area, label, 13, &GREY, left(i) as i32, (tops[1] - 18) as i32)?;
            }
            Ok(())
        })?;
        figure.save(path)
    }
}

/// How far the video was denoised, and what of it is shown.
fn denoised(flow: &FlowConfig) -> String {
    let steps = video_steps(flow.video.steps, flow.video.shift, flow.video.end);
    match steps.last().map_or(1.0, |step| step.tau_next) {
        end if end > 0.0 => format!("denoised to flow time {end:.2}, shown: its estimate of the data (flow time 0)"),
        _ => "denoised to flow time 0 (data)".to_owned(),
    }
}

/// Converts `[3, H, W]` in [-1, 1] to RGB `[H, W, 3]`.
fn to_rgb(frame: ArrayView3<'_, f32>) -> Array3<u8> {
    let byte = |value: f32| ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    frame.permuted_axes([1, 2, 0]).as_standard_layout().mapv(byte)
}

/// Resizes an RGB image `[H, W, 3]` in standard layout.
fn enlarge(image: ArrayView3<'_, u8>, [height, width]: [usize; 2]) -> Result<Array3<u8>> {
    let (rows, columns, _) = image.dim();
    let pixels = image.to_slice().context("the image is not in standard layout")?;
    let buffer: ImageBuffer<Rgb<u8>, &[u8]> =
        ImageBuffer::from_raw(columns as u32, rows as u32, pixels).context("the image does not have its camera's size")?;
    let resized = resize(&buffer, width as u32, height as u32, FilterType::Triangle).into_raw();
    Ok(Array3::from_shape_vec((height, width, 3), resized)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when channels and pixels are mixed up, or a value outside [-1, 1] wraps.
    #[test]
    fn a_decoded_frame_becomes_interleaved_rgb() {
        let frame = [-1.0, 1.0, 0.0, 0.0, 9.0, -9.0];
        let rgb = to_rgb(ArrayView3::from_shape((3, 1, 2), &frame).unwrap());
        assert_eq!(rgb.as_slice(), Some(&[0, 128, 255, 255, 128, 0][..]));
    }
}
