//! Pictures: packed bytes to channel planes in [-1, 1], columns first, then rows, in space that was made in Warm.

use super::simd::Simd;
use crate::shape;
use crate::taps::Taps;
use drivewam_core::{Error, ErrorKind, Result};

/// Red, green, blue.
const CHANNELS: usize = 3;

/// One camera's taps and work space.
#[derive(Debug, Default)]
pub(crate) struct Camera {
    /// Width and height of its pictures; zero until one is opened.
    size: [usize; 2],
    columns: Taps,
    rows: Taps,
    /// `[height, columns, 3]`: every row of the picture at its final width.
    narrowed: Vec<f32>,
    /// `[columns, 3]`: one output row.
    row: Vec<f32>,
}

impl Camera {
    /// For pictures of `width` by `height`. Warm.
    pub(crate) fn open(width: usize, height: usize, columns: Taps, rows: Taps) -> Result<Self> {
        shape::camera([width, height], &columns, &rows)?;
        let row = columns.outputs().checked_mul(CHANNELS);
        let narrowed = row.and_then(|row| row.checked_mul(height));
        let (Some(row), Some(narrowed)) = (row, narrowed) else {
            return Err(space(width, height));
        };
        let mut camera = Self { size: [width, height], columns, rows, ..Self::default() };
        for (buffer, len) in [(&mut camera.narrowed, narrowed), (&mut camera.row, row)] {
            buffer.try_reserve_exact(len).map_err(|e| space(width, height).caused_by(e))?;
            buffer.resize(len, 0.0);
        }
        Ok(camera)
    }

    /// See [`crate::Device::resample`].
    pub(crate) fn resample(&mut self, simd: Simd, picture: &[u8], to: &mut [f32]) -> Result<()> {
        let Self { size: [width, height], columns, rows, narrowed, row } = self;
        let (width, height) = (*width, *height);
        let stride = columns.outputs() * CHANNELS;
        let plane = columns.outputs() * rows.outputs();
        if Some(picture.len()) != width.checked_mul(height).and_then(|n| n.checked_mul(CHANNELS)) || to.len() != CHANNELS * plane {
            return Err(wrong(
                "a picture or its region of the wrong size",
                format!("{} bytes to {} numbers", picture.len(), to.len()),
                format!("[{height}, {width}, 3] to [3, {}, {}] of the open camera", rows.outputs(), columns.outputs()),
            ));
        }
        if plane == 0 {
            return Ok(());
        }
        for (line, out) in picture.chunks_exact(width * CHANNELS).zip(narrowed.chunks_exact_mut(stride)) {
            for (i, out) in out.chunks_exact_mut(CHANNELS).enumerate() {
                let (first, weights) = columns.of(i);
                let mut sums = [0.0f32; CHANNELS];
                for (pixel, weight) in line[first * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += weight * f32::from(*value);
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
    Error::new(ErrorKind::Capacity, "no work space for pictures of this size").at("camera").got(format!("{width} x {height}"))
}

fn wrong(what: &str, got: String, wanted: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, what).at("camera").got(got).wanted(wanted)
}
