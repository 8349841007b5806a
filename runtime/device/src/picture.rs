//! Camera pictures: their size and pixel format.

use drivewam_core::{Error, ErrorKind, Result};

/// How the bytes of a picture are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PixelFormat {
    /// `[height, width, 3]`: red, green, blue.
    #[default]
    Rgb8,
    /// A plane of Y `[height, width]`, then interleaved U and V `[height/2, width/2, 2]`.
    Nv12,
    /// `[height, width/2, 4]`: Y, U, Y, V.
    Yuyv,
}

/// The pictures of one camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pictures {
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    /// Pixel format.
    pub format: PixelFormat,
}

impl Pictures {
    /// Packed RGB of this size.
    pub fn rgb8(width: usize, height: usize) -> Self {
        Self { width, height, format: PixelFormat::Rgb8 }
    }

    /// Bytes of one picture.
    ///
    /// # Errors
    /// `Usage` when the size does not suit the format (odd where two pixels share a colour), or
    /// does not fit an address.
    pub fn bytes(&self) -> Result<usize> {
        let Self { width, height, format } = *self;
        let even = |n: usize| n.is_multiple_of(2);
        let (fits, times, of) = match format {
            PixelFormat::Rgb8 => (true, 3, 1),
            PixelFormat::Nv12 => (even(width) && even(height), 3, 2),
            PixelFormat::Yuyv => (even(width), 2, 1),
        };
        let bytes = width.checked_mul(height).and_then(|n| n.checked_mul(times)).map(|n| n / of).filter(|_| fits);
        bytes.ok_or_else(|| {
            Error::new(ErrorKind::Usage, "the pixel format does not allow this picture size")
                .at("camera")
                .got(format!("{width} x {height} {format:?}"))
                .wanted("an even width for yuyv, and an even height too for nv12")
        })
    }

    /// Brightness of a pixel, 0 to 255, of a picture of [`Pictures::bytes`] bytes.
    pub fn luma(&self, picture: &[u8], x: usize, y: usize) -> f32 {
        let [red, green, blue] = self.pixel(picture, x, y);
        0.299 * red + 0.587 * green + 0.114 * blue
    }

    /// Red, green and blue of a pixel, 0 to 255, of a picture of [`Pictures::bytes`] bytes. YUV is
    /// BT.601 limited range, as cameras deliver it.
    pub fn pixel(&self, picture: &[u8], x: usize, y: usize) -> [f32; 3] {
        let at = |i: usize| f32::from(picture.get(i).copied().unwrap_or_default());
        let (luma, u, v) = match self.format {
            PixelFormat::Rgb8 => return [0, 1, 2].map(|channel| at((y * self.width + x) * 3 + channel)),
            PixelFormat::Nv12 => {
                let chroma = self.height * self.width + y / 2 * self.width + x / 2 * 2;
                (at(y * self.width + x), at(chroma), at(chroma + 1))
            }
            PixelFormat::Yuyv => {
                let pair = (y * self.width + x / 2 * 2) * 2;
                (at(pair + x % 2 * 2), at(pair + 1), at(pair + 3))
            }
        };
        let (bright, blue, red) = (1.164_383_6 * (luma - 16.0), u - 128.0, v - 128.0);
        [bright + 1.596_026_8 * red, bright - 0.391_762_3 * blue - 0.812_967_6 * red, bright + 2.017_232_1 * blue]
            .map(|c| c.clamp(0.0, 255.0))
    }
}
