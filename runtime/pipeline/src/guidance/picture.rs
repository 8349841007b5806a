//! A picture of the vehicle as the rows that `vlm_vision` reads: what the checkpoint's image processor does, to the bit.
//!
//! The processor is `Qwen2VLImageProcessorPil` of `transformers` 5.24 on Pillow 13 (`export/drivewam_export/guidance/pictures.py` writes its results
//! for the tests). With torchvision installed, `transformers` takes that instead; its resize has weights of 16 bits and is mostly one byte step
//! away, in one byte of 200, and more only where Pillow 13 takes the rows first.

mod resample;

use drivewam_core::{Error, ErrorKind, Result};
use resample::Bicubic;

const CHANNELS: usize = 3;
/// Longest side of a picture, pixels; its square is exact in f64, with room to spare.
const MOST_PIXELS: usize = 1 << 20;
/// Largest ratio of a picture's sides that the processor takes.
const MOST_ASPECT: f64 = 200.0;

/// The size (height, width) to which the processor brings a picture of `height` x `width`: multiples of `factor` (patch times merge) near the
/// picture's own shape, of `min_pixels` to `max_pixels` in all. Source: `smart_resize` of `transformers/models/qwen2_vl`.
///
/// # Errors
/// `Input` for a picture without pixels, larger than 2^20 on a side, or more than 200 times as long as wide; `Config` for a `factor` of zero or bounds
/// that contradict each other; as the processor does it, a long thin picture may end up above `max_pixels`.
pub fn smart_resize(height: usize, width: usize, factor: usize, min_pixels: usize, max_pixels: usize) -> Result<(usize, usize)> {
    let most = MOST_PIXELS * MOST_PIXELS;
    if !(1..=MOST_PIXELS).contains(&factor) || min_pixels == 0 || min_pixels > max_pixels || max_pixels > most {
        return Err(Error::new(ErrorKind::Config, "no bounds for the size of a picture")
            .got(format!("multiples of {factor}, {min_pixels} to {max_pixels} pixels"))
            .wanted(format!("multiples of 1 to {MOST_PIXELS}, 1 to {most} pixels")));
    }
    check_picture((height, width))?;
    let (long, short) = (height.max(width) as f64, height.min(width) as f64);
    if long / short > MOST_ASPECT {
        return Err(Error::new(ErrorKind::Input, "a picture of this shape is refused")
            .got(format!("{height} x {width} pixels"))
            .wanted(format!("at most {MOST_ASPECT} times as long as wide")));
    }
    let (h, w, step) = (height as f64, width as f64, factor as f64);
    let near = |side: f64| (side / step).round_ties_even() as usize * factor;
    let size = (near(h), near(w));
    Ok(if size.0 * size.1 > max_pixels {
        let shrink = (h * w / max_pixels as f64).sqrt();
        let fit = |side: f64| ((side / shrink / step).floor() as usize * factor).max(factor);
        (fit(h), fit(w))
    } else if size.0 * size.1 < min_pixels {
        let grow = (min_pixels as f64 / (h * w)).sqrt();
        let fit = |side: f64| (side * grow / step).ceil() as usize * factor;
        (fit(h), fit(w))
    } else {
        size
    })
}

fn check_picture((height, width): (usize, usize)) -> Result<()> {
    if (1..=MOST_PIXELS).contains(&height) && (1..=MOST_PIXELS).contains(&width) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Input, "a picture of this size is refused")
        .got(format!("{height} x {width} pixels"))
        .wanted(format!("1 to {MOST_PIXELS} pixels on a side")))
}

/// Packed RGB pictures of one size to `patches` [P, C*tp*ps*ps] f32 of one grid. Planned in Warm; [`Preprocessor::run`] allocates nothing.
///
/// The resize fills the grid and keeps no aspect ratio: [`smart_resize`] says which grid fits a camera.
#[derive(Debug)]
pub struct Preprocessor {
    from: (usize, usize),
    to: (usize, usize),
    patch: usize,
    temporal_patch: usize,
    merge: usize,
    resize: Bicubic,
    /// Normalised value of each byte, by channel.
    levels: [[f32; 256]; CHANNELS],
}

impl Preprocessor {
    /// `from`, `to`: height and width in pixels of the camera's picture and of the graph's. `patch`, `temporal_patch`, `merge`: of `guidance.yaml`.
    /// `mean`, `std`: of the checkpoint's `preprocessor_config.json`, in units of a full channel (0 to 1).
    ///
    /// # Errors
    /// `Input` for a camera picture without pixels or larger than 2^20 on a side; `Manifest` for a graph's picture that is not made of whole merge
    /// blocks, and for a `mean` or `std` that nothing can be normalised by.
    pub fn new(
        from: (usize, usize),
        to: (usize, usize),
        patch: usize,
        temporal_patch: usize,
        merge: usize,
        mean: [f32; 3],
        std: [f32; 3],
    ) -> Result<Self> {
        check_picture(from)?;
        let refuse =
            |what: &str, got: String, wanted: String| Err(Error::new(ErrorKind::Manifest, what).at("guidance").got(got).wanted(wanted));
        let block = patch.checked_mul(merge).filter(|block| (1..=MOST_PIXELS).contains(block));
        let whole = |side: usize, block: usize| side <= MOST_PIXELS && side >= block && side.is_multiple_of(block);
        if !(1..=MOST_PIXELS).contains(&temporal_patch) || !block.is_some_and(|block| whole(to.0, block) && whole(to.1, block)) {
            let got =
                format!("{} x {} pixels, patches of {patch} pixels and {temporal_patch} frames, merged {merge} x {merge}", to.0, to.1);
            return refuse(
                "the picture of the graph is not made of merge blocks",
                got,
                "whole blocks of patch x merge pixels, at least one".into(),
            );
        }
        if mean.iter().chain(&std).any(|x| !x.is_finite()) || std.iter().any(|x| *x <= 0.0) {
            return refuse("pixels cannot be normalised", format!("mean {mean:?}, std {std:?}"), "finite numbers, std above zero".into());
        }
        // As the processor does it: to 0..1 in f64, rounded to f32, and the rest in f32.
        let level = |channel: usize, value: usize| ((value as f64 * (1.0 / 255.0)) as f32 - mean[channel]) / std[channel];
        let levels = std::array::from_fn(|channel| std::array::from_fn(|value| level(channel, value)));
        Ok(Self { from, to, patch, temporal_patch, merge, resize: Bicubic::plan(from, to), levels })
    }

    /// Rows P and values per row C*tp*ps*ps of `patches`.
    pub fn shape(&self) -> [usize; 2] {
        let area = self.patch * self.patch;
        [self.to.0 * self.to.1 / area, CHANNELS * self.temporal_patch * area]
    }

    /// Writes the rows of one picture: merge blocks in raster order, the patches of a block in raster order, a patch as (channel, frame, y, x) with
    /// the picture repeated over its frames. `rgb` [H, W, 3] is of the size `from`; `patches` is of [`Preprocessor::shape`].
    ///
    /// # Errors
    /// `Input` for a picture of another length, `Usage` for `patches` of another length; nothing is written then.
    pub fn run(&mut self, rgb: &[u8], patches: &mut [f32]) -> Result<()> {
        let (wanted, [rows, values]) = (self.from.0 * self.from.1 * CHANNELS, self.shape());
        if rgb.len() != wanted {
            let wanted = format!("{wanted} bytes: RGB of {} x {} pixels", self.from.0, self.from.1);
            return Err(Error::new(ErrorKind::Input, "a picture of another size")
                .at("guidance")
                .got(format!("{} bytes", rgb.len()))
                .wanted(wanted));
        }
        if patches.len() != rows * values {
            return Err(Error::new(ErrorKind::Usage, "no room for the patches of one picture")
                .at("guidance")
                .got(patches.len())
                .wanted(format!("{rows} x {values} values")));
        }
        self.resize.run(rgb);
        let (picture, across, merge) = (self.resize.picture(), self.to.1 / (self.patch * self.merge), self.merge);
        for (index, row) in patches.chunks_exact_mut(values).enumerate() {
            let (block, within) = (index / (merge * merge), index % (merge * merge));
            let top = (block / across * merge + within / merge) * self.patch;
            let left = (block % across * merge + within % merge) * self.patch;
            for (channel, frames) in row.chunks_exact_mut(values / CHANNELS).enumerate() {
                let (first, copies) = frames.split_at_mut(self.patch * self.patch);
                for (y, line) in first.chunks_exact_mut(self.patch).enumerate() {
                    let start = ((top + y) * self.to.1 + left) * CHANNELS;
                    for (value, pixel) in line.iter_mut().zip(picture[start..].chunks_exact(CHANNELS)) {
                        *value = self.levels[channel][usize::from(pixel[channel])];
                    }
                }
                copies.chunks_exact_mut(first.len()).for_each(|copy| copy.copy_from_slice(first));
            }
        }
        Ok(())
    }

    /// The resized picture of the last run, packed RGB of the size `to`; black before the first.
    pub fn resized(&self) -> &[u8] {
        self.resize.picture()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: [f32; 3] = [0.5; 3];

    fn refused(
        from: (usize, usize),
        to: (usize, usize),
        patch: usize,
        temporal: usize,
        merge: usize,
        mean: [f32; 3],
        std: [f32; 3],
    ) -> ErrorKind {
        Preprocessor::new(from, to, patch, temporal, merge, mean, std).unwrap_err().kind()
    }

    /// Breaks when a size or a number that would divide by zero, overflow or read past the picture is planned.
    #[test]
    fn what_cannot_be_planned_is_refused() {
        let (from, to) = ((20, 30), (32, 64));
        assert_eq!(refused((0, 30), to, 16, 2, 2, HALF, HALF), ErrorKind::Input);
        assert_eq!(refused((20, usize::MAX), to, 16, 2, 2, HALF, HALF), ErrorKind::Input);
        for (to, patch, temporal, merge) in [
            ((32, 48), 16, 2, 2),
            ((0, 64), 16, 2, 2),
            (to, 0, 2, 2),
            (to, 16, 0, 2),
            (to, 16, 2, 0),
            (to, usize::MAX, 2, 2),
            (to, 16, usize::MAX, 2),
        ] {
            assert_eq!(refused(from, to, patch, temporal, merge, HALF, HALF), ErrorKind::Manifest, "{to:?} {patch} {temporal} {merge}");
        }
        for (mean, std) in [([f32::NAN; 3], HALF), (HALF, [0.0; 3]), (HALF, [0.5, f32::INFINITY, 0.5])] {
            assert_eq!(refused(from, to, 16, 2, 2, mean, std), ErrorKind::Manifest);
        }
    }

    /// Breaks when a picture or a buffer of another length is taken, or the buffer is touched all the same.
    #[test]
    fn another_length_is_refused_and_nothing_written() {
        let mut made = Preprocessor::new((20, 30), (32, 64), 16, 2, 2, HALF, HALF).unwrap();
        let [rows, values] = made.shape();
        let mut patches = vec![7.0; rows * values];
        assert_eq!(made.run(&vec![0; 20 * 30 * 3 - 1], &mut patches).unwrap_err().kind(), ErrorKind::Input);
        assert_eq!(made.run(&vec![0; 20 * 30 * 3], &mut patches[1..]).unwrap_err().kind(), ErrorKind::Usage);
        assert!(patches.iter().all(|x| *x == 7.0));
        made.run(&vec![255; 20 * 30 * 3], &mut patches).unwrap();
        assert!(patches.iter().all(|x| *x == 1.0));
    }

    /// Breaks when bounds or pictures that the arithmetic cannot hold get an answer.
    #[test]
    fn sizes_without_an_answer_are_refused() {
        for (h, w, factor, least, most) in
            [(10, 10, 0, 1, 100), (10, 10, 32, 0, 100), (10, 10, 32, 101, 100), (10, 10, usize::MAX, 1, 100), (10, 10, 32, 1, usize::MAX)]
        {
            assert_eq!(smart_resize(h, w, factor, least, most).unwrap_err().kind(), ErrorKind::Config, "{h} {w} {factor} {least} {most}");
        }
        for (h, w) in [(0, 10), (10, 0), (usize::MAX, 10), (1, 201)] {
            assert_eq!(smart_resize(h, w, 32, 1024, 1 << 20).unwrap_err().kind(), ErrorKind::Input, "{h} {w}");
        }
        smart_resize(1 << 20, 1 << 20, 32, 1, 1 << 40).unwrap();
        smart_resize(1, 200, 1 << 20, 1 << 40, 1 << 40).unwrap();
    }
}
