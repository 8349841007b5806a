//! Pictures of a recording: the size is read and judged first, and only then are pixels made.

use super::RecordedCamera;
use super::files::{bad, read_bounded};
use drivewam_core::Result;
use image::{ImageFormat, ImageReader};
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

/// Longest picture file.
const MAX_FILE_BYTES: u64 = 1 << 28;
/// Room that a decoder may take beside the pixels themselves.
const DECODER_BYTES: u64 = 1 << 24;
/// The end of a JPEG.
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Width and height by the file's header, refused above `max_pixels`.
pub(super) fn size(path: &Path, max_pixels: u64) -> Result<(usize, usize)> {
    measure(path, &read_bounded(path, MAX_FILE_BYTES)?, max_pixels).map(|(_, width, height)| (width, height))
}

fn measure(path: &Path, bytes: &[u8], max_pixels: u64) -> Result<(ImageFormat, usize, usize)> {
    let format = match bytes {
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        [0xff, 0xd8, ..] => ImageFormat::Jpeg,
        _ => return Err(bad(path, "not a picture").wanted("PNG or JPEG")),
    };
    let (width, height) =
        ImageReader::with_format(Cursor::new(bytes), format).into_dimensions().map_err(|e| bad(path, "a corrupt picture").caused_by(e))?;
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(bad(path, "a picture above the limit of pixels")
            .got(format!("{width}x{height}"))
            .wanted(format!("at most {max_pixels} pixels (`ingest.max_image_pixels`)")));
    }
    Ok((format, width as usize, height as usize))
}

/// Decodes a PNG or JPEG of exactly the camera's size.
pub(super) fn decode(path: &Path, camera: RecordedCamera, max_pixels: u64, rgb: &mut Vec<u8>) -> Result<()> {
    let bytes = read_bounded(path, MAX_FILE_BYTES)?;
    let (format, width, height) = measure(path, &bytes, max_pixels)?;
    if (width, height) != (camera.width, camera.height) {
        return Err(bad(path, "a picture of another size than the camera's")
            .got(format!("{width}x{height}"))
            .wanted(format!("{}x{}", camera.width, camera.height)));
    }
    if format == ImageFormat::Jpeg {
        // The decoder fills what a truncated file lacks with grey instead of refusing it.
        let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        if !bytes.get(..end).is_some_and(|b| b.ends_with(&END_OF_IMAGE)) {
            return Err(bad(path, "a picture that is cut short").got(format!("{} bytes without an end marker", bytes.len())));
        }
    }
    let mut reader = ImageReader::with_format(Cursor::new(&bytes), format);
    let mut limits = image::Limits::default();
    limits.max_image_width = u32::try_from(width).ok();
    limits.max_image_height = u32::try_from(height).ok();
    limits.max_alloc = Some((width as u64 * height as u64).saturating_mul(8).saturating_add(DECODER_BYTES));
    reader.limits(limits);
    let picture = reader.decode().map_err(|e| bad(path, "a corrupt picture").caused_by(e))?;
    *rgb = picture.into_rgb8().into_raw();
    Ok(())
}

/// Reads frame `index` of a raw file of RGB bytes.
pub(super) fn read_raw(path: &Path, index: u64, camera: RecordedCamera, rgb: &mut Vec<u8>) -> Result<()> {
    let bytes = camera.width * camera.height * 3;
    rgb.resize(bytes, 0);
    let fail = |e: std::io::Error| bad(path, "a frame cannot be read").got(format!("frame {index}")).caused_by(e);
    let mut file = File::open(path).map_err(fail)?;
    file.seek(SeekFrom::Start(index * bytes as u64)).map_err(fail)?;
    file.read_exact(rgb).map_err(fail)
}
