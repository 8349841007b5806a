//! The image processor of the VLM: an image to the patches that the graph `vlm_vision` reads, equal
//! to the bit to the checkpoint's own processor.
//!
//! That is `Qwen2VLImageProcessorPil` of `transformers` 5.24 on Pillow 13
//! (`export/drivewam_export/guidance/pictures.py` writes its results for the tests). Where
//! torchvision is installed, `transformers` uses it instead: its resize has 16-bit weights and
//! differs in less than one byte of 100, mostly by one step, and by more only where Pillow 13
//! resizes the rows first.

mod resample;

use drivewam_core::guidance::VlmImage;
use drivewam_core::{Error, ErrorKind, Result};
use resample::Bicubic;

const CHANNELS: usize = 3;
/// Longest side of a source image, pixels.
const MAX_SIDE: usize = 1 << 20;

/// Packed RGB images of one size to `patches` `[P, 3·tp·ps·ps]` f32 of one grid. Planned in Warm;
/// [`ImageProcessor::run`] does not allocate.
///
/// The resize fills the grid and does not keep the aspect ratio.
#[derive(Debug)]
pub struct ImageProcessor {
    from: (usize, usize),
    image: VlmImage,
    resize: Bicubic,
    /// Normalised value of each byte, per channel.
    levels: [[f32; 256]; CHANNELS],
}

impl ImageProcessor {
    /// `from`: height and width of the source image, pixels; `image`: the input of the graph.
    ///
    /// # Errors
    /// `Input` for a source image without pixels or with more than 2^20 on a side; errors of
    /// [`VlmImage::check`].
    pub fn new(from: (usize, usize), image: VlmImage) -> Result<Self> {
        image.check()?;
        if ![from.0, from.1].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
            return Err(Error::new(ErrorKind::Input, "the image processor does not take an image of this size")
                .got(format!("{} x {} pixels", from.0, from.1))
                .wanted(format!("1 to {MAX_SIDE} pixels on a side")));
        }
        // As in the reference: to 0..1 in f64, rounded to f32, the rest in f32.
        let level = |channel: usize, value: usize| ((value as f64 * (1.0 / 255.0)) as f32 - image.mean[channel]) / image.std[channel];
        let levels = std::array::from_fn(|channel| std::array::from_fn(|value| level(channel, value)));
        Ok(Self { from, image, resize: Bicubic::plan(from, (image.height, image.width)), levels })
    }

    /// Writes the patches `[P, 3·tp·ps·ps]` of the image `rgb` `[H, W, 3]`: merge blocks in raster
    /// order, the patches of a block in raster order, a patch as (channel, frame, y, x) with the
    /// image repeated over its frames.
    ///
    /// # Errors
    /// `Input` for an image of another length, `Usage` for `patches` of another length; nothing is
    /// written then.
    pub fn run(&mut self, rgb: &[u8], patches: &mut [f32]) -> Result<()> {
        let VlmImage { width, patch, merge, .. } = self.image;
        let (wanted, rows, values) = (self.from.0 * self.from.1 * CHANNELS, self.image.patches(), self.image.patch_len());
        if rgb.len() != wanted {
            let wanted = format!("{wanted} bytes: RGB of {} x {} pixels", self.from.0, self.from.1);
            return Err(Error::new(ErrorKind::Input, "the image has another size than the camera's")
                .at("guidance")
                .got(format!("{} bytes", rgb.len()))
                .wanted(wanted));
        }
        if patches.len() != rows * values {
            return Err(Error::new(ErrorKind::Usage, "the buffer does not have the length of the patches")
                .at("guidance")
                .got(patches.len())
                .wanted(format!("{rows} x {values} values")));
        }
        self.resize.run(rgb);
        let (image, across) = (self.resize.image(), width / (patch * merge));
        for (index, row) in patches.chunks_exact_mut(values).enumerate() {
            let (block, within) = (index / (merge * merge), index % (merge * merge));
            let top = (block / across * merge + within / merge) * patch;
            let left = (block % across * merge + within % merge) * patch;
            for (channel, frames) in row.chunks_exact_mut(values / CHANNELS).enumerate() {
                let (first, copies) = frames.split_at_mut(patch * patch);
                for (y, line) in first.chunks_exact_mut(patch).enumerate() {
                    let start = ((top + y) * width + left) * CHANNELS;
                    for (value, pixel) in line.iter_mut().zip(image[start..].chunks_exact(CHANNELS)) {
                        *value = self.levels[channel][usize::from(pixel[channel])];
                    }
                }
                copies.chunks_exact_mut(first.len()).for_each(|copy| copy.copy_from_slice(first));
            }
        }
        Ok(())
    }

    /// The resized image of the last run, packed RGB of the graph's size; black before the first.
    pub fn resized(&self) -> &[u8] {
        self.resize.image()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: VlmImage = VlmImage { height: 32, width: 64, patch: 16, temporal_patch: 2, merge: 2, mean: [0.5; 3], std: [0.5; 3] };

    /// Breaks when a size or a number that would divide by zero, overflow or read past the image is
    /// accepted.
    #[test]
    fn what_cannot_be_planned_is_refused() {
        let refused = |from, image| ImageProcessor::new(from, image).unwrap_err().kind();
        for from in [(0, 30), (20, usize::MAX)] {
            assert_eq!(refused(from, IMAGE), ErrorKind::Input);
        }
        for image in [
            VlmImage { width: 48, ..IMAGE },
            VlmImage { height: 0, ..IMAGE },
            VlmImage { patch: 0, ..IMAGE },
            VlmImage { temporal_patch: 0, ..IMAGE },
            VlmImage { merge: 0, ..IMAGE },
            VlmImage { patch: usize::MAX, ..IMAGE },
            VlmImage { temporal_patch: usize::MAX, ..IMAGE },
            VlmImage { mean: [f32::NAN; 3], ..IMAGE },
            VlmImage { std: [0.0; 3], ..IMAGE },
            VlmImage { std: [0.5, f32::INFINITY, 0.5], ..IMAGE },
        ] {
            assert_eq!(refused((20, 30), image), ErrorKind::Manifest, "{image:?}");
        }
    }

    /// Breaks when an image or a buffer of another length is accepted, or the buffer is written.
    #[test]
    fn another_length_is_refused_and_nothing_written() {
        let mut processor = ImageProcessor::new((20, 30), IMAGE).unwrap();
        let mut patches = vec![7.0; IMAGE.patches() * IMAGE.patch_len()];
        assert_eq!(processor.run(&vec![0; 20 * 30 * 3 - 1], &mut patches).unwrap_err().kind(), ErrorKind::Input);
        assert_eq!(processor.run(&vec![0; 20 * 30 * 3], &mut patches[1..]).unwrap_err().kind(), ErrorKind::Usage);
        assert!(patches.iter().all(|x| *x == 7.0));
        processor.run(&vec![255; 20 * 30 * 3], &mut patches).unwrap();
        assert!(patches.iter().all(|x| *x == 1.0));
    }
}
