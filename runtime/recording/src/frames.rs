//! The images of a recording. The size of an image file is read from its header and checked before
//! any pixel is decoded.

use crate::camera::RecordedCamera;
use crate::files::{bad, read_bounded};
use drivewam_core::{Error, ErrorKind, Result};
use image::{ImageFormat, ImageReader};
use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Size limit of an image file.
const MAX_FILE_BYTES: u64 = 1 << 28;
/// Memory that a decoder may use beside the pixels.
const DECODER_BYTES: u64 = 1 << 24;
/// The last two bytes of a JPEG.
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Where the images are stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FrameStore {
    /// One PNG or JPEG file per frame.
    Files(Vec<PathBuf>),
    /// One file of RGB bytes, and the index of each frame in it.
    Raw { path: PathBuf, indices: Vec<u64> },
}

impl FrameStore {
    /// Decodes frame `index` into `rgb`: packed rows, `width * height * 3` bytes.
    ///
    /// # Errors
    /// `Input`: no such frame, or a file that is missing, too large, of another size than the
    /// camera's images, corrupt or truncated.
    pub(crate) fn decode(&self, index: usize, camera: RecordedCamera, max_pixels: u64, rgb: &mut Vec<u8>) -> Result<()> {
        let missing = |count: usize| Error::new(ErrorKind::Input, "no such frame").got(index).wanted(format!("below {count}"));
        match self {
            Self::Files(paths) => decode_file(paths.get(index).ok_or_else(|| missing(paths.len()))?, camera, max_pixels, rgb),
            Self::Raw { path, indices } => read_raw(path, *indices.get(index).ok_or_else(|| missing(indices.len()))?, camera, rgb),
        }
    }
}

/// Width and height of an image file.
///
/// # Errors
/// `Input`: the file is unreadable, no PNG or JPEG, or an image of more than `max_pixels`.
pub(crate) fn image_size(path: &Path, max_pixels: u64) -> Result<(usize, usize)> {
    read_size(path, &read_bounded(path, MAX_FILE_BYTES)?, max_pixels).map(|(_, width, height)| (width, height))
}

fn read_size(path: &Path, bytes: &[u8], max_pixels: u64) -> Result<(ImageFormat, usize, usize)> {
    let format = match bytes {
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        [0xff, 0xd8, ..] => ImageFormat::Jpeg,
        _ => return Err(bad(path, "not an image").wanted("PNG or JPEG")),
    };
    let (width, height) = ImageReader::with_format(Cursor::new(bytes), format)
        .into_dimensions()
        .map_err(|e| bad(path, "the image is corrupt").caused_by(e))?;
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(bad(path, "the image has too many pixels")
            .got(format!("{width}x{height}"))
            .wanted(format!("at most {max_pixels} pixels (`ingest.max_image_pixels`)")));
    }
    Ok((format, width as usize, height as usize))
}

/// Decodes a PNG or JPEG file of exactly the camera's size.
fn decode_file(path: &Path, camera: RecordedCamera, max_pixels: u64, rgb: &mut Vec<u8>) -> Result<()> {
    let bytes = read_bounded(path, MAX_FILE_BYTES)?;
    let (format, width, height) = read_size(path, &bytes, max_pixels)?;
    if (width, height) != (camera.width, camera.height) {
        return Err(bad(path, "the image does not have the camera's size")
            .got(format!("{width}x{height}"))
            .wanted(format!("{}x{}", camera.width, camera.height)));
    }
    if format == ImageFormat::Jpeg {
        // The decoder fills the missing part of a truncated file with grey and reports no error.
        let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        if !bytes.get(..end).is_some_and(|b| b.ends_with(&END_OF_IMAGE)) {
            return Err(bad(path, "the image is truncated").got(format!("{} bytes without an end marker", bytes.len())));
        }
    }
    let mut reader = ImageReader::with_format(Cursor::new(&bytes), format);
    let mut limits = image::Limits::default();
    limits.max_image_width = u32::try_from(width).ok();
    limits.max_image_height = u32::try_from(height).ok();
    limits.max_alloc = Some((width as u64 * height as u64).saturating_mul(8).saturating_add(DECODER_BYTES));
    reader.limits(limits);
    let image = reader.decode().map_err(|e| bad(path, "the image is corrupt").caused_by(e))?;
    *rgb = image.into_rgb8().into_raw();
    Ok(())
}

/// Reads frame `index` of a file of RGB bytes. A positional read reports a file that was truncated
/// meanwhile as an error; a memory mapping would end the process.
fn read_raw(path: &Path, index: u64, camera: RecordedCamera, rgb: &mut Vec<u8>) -> Result<()> {
    let bytes = camera.width * camera.height * 3;
    rgb.resize(bytes, 0);
    let fail = |e: std::io::Error| bad(path, "cannot read the frame").got(format!("frame {index}")).caused_by(e);
    let file = File::open(path).map_err(fail)?;
    file.read_exact_at(rgb, index * bytes as u64).map_err(fail)
}
