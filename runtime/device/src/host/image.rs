//! Resampling of a picture: packed bytes to channel planes in [-1, 1], columns first, then rows, in
//! work space allocated in Warm.

use super::simd::Simd;
use crate::checks;
use crate::picture::{Pictures, PixelFormat};
use crate::resample::ResampleWeights;
use drivewam_core::{Error, ErrorKind, Result};

/// Red, green, blue.
const CHANNELS: usize = 3;

/// Weights and work space of one camera.
#[derive(Debug, Default)]
pub(crate) struct Resampler {
    pictures: Pictures,
    /// Bytes of a picture; `None` until a camera is opened.
    bytes: Option<usize>,
    columns: ResampleWeights,
    rows: ResampleWeights,
    /// `[height, columns, 3]`: every row of the picture at its final width.
    narrowed: Vec<f32>,
    /// `[width, 3]`: one line of a picture in RGB.
    line: Vec<f32>,
    /// `[columns, 3]`: one output row.
    row: Vec<f32>,
}

impl Resampler {
    /// Checks the weights and allocates the work space. Warm.
    pub(crate) fn open(pictures: Pictures, columns: ResampleWeights, rows: ResampleWeights) -> Result<Self> {
        let bytes = checks::camera(&pictures, &columns, &rows)?;
        let Pictures { width, height, .. } = pictures;
        let row = columns.outputs().checked_mul(CHANNELS);
        let narrowed = row.and_then(|row| row.checked_mul(height));
        let (Some(row), Some(narrowed)) = (row, narrowed) else {
            return Err(space(width, height));
        };
        let mut resampler = Self { pictures, bytes: Some(bytes), columns, rows, ..Self::default() };
        for (buffer, len) in [(&mut resampler.narrowed, narrowed), (&mut resampler.row, row), (&mut resampler.line, width * CHANNELS)] {
            buffer.try_reserve_exact(len).map_err(|e| space(width, height).caused_by(e))?;
            buffer.resize(len, 0.0);
        }
        Ok(resampler)
    }

    /// See [`crate::ImageOps::resample`].
    pub(crate) fn resample(&mut self, simd: Simd, picture: &[u8], to: &mut [f32]) -> Result<()> {
        let Self { pictures, bytes, columns, rows, narrowed, line, row } = self;
        let stride = columns.outputs() * CHANNELS;
        let plane = columns.outputs() * rows.outputs();
        if Some(picture.len()) != *bytes || to.len() != CHANNELS * plane {
            return Err(wrong(
                "the picture or its region has the wrong size",
                format!("{} bytes to {} elements", picture.len(), to.len()),
                format!("{bytes:?} bytes, {pictures:?}, to [3, {}, {}] of the open camera", rows.outputs(), columns.outputs()),
            ));
        }
        if plane == 0 {
            return Ok(());
        }
        for (y, out) in narrowed.chunks_exact_mut(stride).enumerate() {
            if pictures.format == PixelFormat::Rgb8 {
                // One loop over bytes, which the compiler vectorises.
                let bytes = &picture[y * line.len()..(y + 1) * line.len()];
                line.iter_mut().zip(bytes).for_each(|(x, byte)| *x = f32::from(*byte));
            } else {
                for (x, rgb) in line.chunks_exact_mut(CHANNELS).enumerate() {
                    rgb.copy_from_slice(&pictures.pixel(picture, x, y));
                }
            }
            for (i, out) in out.chunks_exact_mut(CHANNELS).enumerate() {
                let (first, weights) = columns.of(i);
                let mut sums = [0.0f32; CHANNELS];
                for (pixel, weight) in line[first * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += weight * value;
                    }
                }
                out.copy_from_slice(&sums);
            }
        }
        for r in 0..rows.outputs() {
            let (first, weights) = rows.of(r);
            row.fill(0.0);
            for (line, weight) in narrowed[first * stride..].chunks_exact(stride).zip(weights) {
                simd.add_scaled(row, line, *weight);
            }
            for (i, pixel) in row.chunks_exact(CHANNELS).enumerate() {
                for (channel, value) in pixel.iter().enumerate() {
                    to[channel * plane + r * columns.outputs() + i] = value / 127.5 - 1.0;
                }
            }
        }
        Ok(())
    }
}

fn space(width: usize, height: usize) -> Error {
    Error::new(ErrorKind::Capacity, "cannot allocate work space for pictures of this size").at("camera").got(format!("{width} x {height}"))
}

fn wrong(what: &str, got: String, wanted: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, what).at("camera").got(got).wanted(wanted)
}
