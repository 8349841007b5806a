//! PNG and JPEG files: their size before any pixel is decoded, and their pixels as RGB.
//!
//! A file decodes whole or not at all. What a camera wrote about the direction of the image (EXIF
//! orientation) is applied. Colour profiles and texts are skipped without being unpacked, and bytes
//! after the end of the image are not looked at.

use crate::files::bad;
use crate::jpeg_scans;
use drivewam_core::excerpt::one_line;
use drivewam_core::{Error, Result};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use std::io::Cursor;
use std::path::Path;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// What a file may hold beside 8 bytes a pixel: metadata, and data after the end of the image.
const MAX_EXTRA_BYTES: u64 = 1 << 24;
/// Memory of the PNG decoder beside the pixels: a row of samples, and `eXIf`.
const PNG_BYTES: usize = 1 << 21;

/// The size limit of an image file of `pixels`.
pub(crate) fn max_file_bytes(pixels: u64) -> u64 {
    pixels.saturating_mul(8).saturating_add(MAX_EXTRA_BYTES)
}

/// Width and height of the image in `bytes`, the content of `path`, as it will be decoded.
///
/// # Errors
/// `Input`: no PNG or JPEG, corrupt, or an image of more than `max_pixels`.
pub(crate) fn size(path: &Path, bytes: &[u8], max_pixels: u64) -> Result<(usize, usize)> {
    match format(path, bytes)? {
        Format::Png => {
            let mut reader = png_reader(path, bytes, max_pixels)?;
            reader.finish().map_err(|e| corrupt(path, &e))?;
            Ok(turned_size(reader.info().width as usize, reader.info().height as usize, png_orientation(&reader)))
        }
        Format::Jpeg => {
            let (decoder, width, height) = jpeg_decoder(path, bytes, max_pixels)?;
            Ok(turned_size(width, height, jpeg_orientation(&decoder)))
        }
    }
}

/// Decodes the image in `bytes`, the content of `path`, which must be `width` x `height`, into
/// packed rows of RGB.
///
/// # Errors
/// As [`size`], and for an image of another size.
pub(crate) fn decode(path: &Path, bytes: &[u8], (width, height): (usize, usize), max_pixels: u64) -> Result<Vec<u8>> {
    let fits = |(w, h): (usize, usize)| {
        // The direction of a PNG may stand behind its pixels, so either way passes for now.
        if (w, h) == (width, height) || (h, w) == (width, height) {
            return Ok(());
        }
        Err(wrong_size(path, (w, h), (width, height)))
    };
    let (rgb, stored, orientation) = match format(path, bytes)? {
        Format::Png => {
            let mut reader = png_reader(path, bytes, max_pixels)?;
            let stored = (reader.info().width as usize, reader.info().height as usize);
            fits(stored)?;
            let rgb = png_pixels(path, &mut reader)?;
            let orientation = png_orientation(&reader);
            (rgb, stored, orientation)
        }
        Format::Jpeg => {
            let (mut decoder, w, h) = jpeg_decoder(path, bytes, max_pixels)?;
            fits((w, h))?;
            jpeg_scans::check(bytes).map_err(|e| e.at(format!("{path:?}")))?;
            let orientation = jpeg_orientation(&decoder);
            (decoder.decode().map_err(|e| corrupt(path, &e))?, (w, h), orientation)
        }
    };
    let turned = turned_size(stored.0, stored.1, orientation);
    if turned != (width, height) {
        return Err(wrong_size(path, turned, (width, height)));
    }
    if orientation == Orientation::NoTransforms {
        return Ok(rgb);
    }
    let image = RgbImage::from_raw(stored.0 as u32, stored.1 as u32, rgb).ok_or_else(|| bad(path, "the image is corrupt"))?;
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    Ok(image.into_rgb8().into_raw())
}

enum Format {
    Png,
    Jpeg,
}

fn format(path: &Path, bytes: &[u8]) -> Result<Format> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Ok(Format::Png),
        [0xff, 0xd8, ..] => Ok(Format::Jpeg),
        _ => Err(bad(path, "not an image").wanted("PNG or JPEG")),
    }
}

fn corrupt(path: &Path, error: &dyn std::fmt::Display) -> Error {
    bad(path, "the image is corrupt").caused_by(one_line(error))
}

fn wrong_size(path: &Path, got: (usize, usize), wanted: (usize, usize)) -> Error {
    bad(path, "the image does not have the camera's size").got(format!("{}x{}", got.0, got.1)).wanted(format!("{}x{}", wanted.0, wanted.1))
}

fn check_pixels(path: &Path, width: usize, height: usize, max_pixels: u64) -> Result<()> {
    if (width as u64).saturating_mul(height as u64) <= max_pixels {
        return Ok(());
    }
    Err(bad(path, "the image has too many pixels")
        .got(format!("{width}x{height}"))
        .wanted(format!("at most {max_pixels} pixels (`ingest.max_image_pixels`)")))
}

fn turned_size(width: usize, height: usize, orientation: Orientation) -> (usize, usize) {
    match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

/// The orientation of an EXIF block; none where it does not state one.
fn orientation(exif: Option<&[u8]>) -> Orientation {
    let block = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    block.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

type Png<'a> = png::Reader<Cursor<&'a [u8]>>;

/// A reader of which the header and everything before the pixels has been read.
fn png_reader<'a>(path: &Path, bytes: &'a [u8], max_pixels: u64) -> Result<Png<'a>> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: PNG_BYTES });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let info = decoder.read_header_info().map_err(|e| corrupt(path, &e))?;
    check_pixels(path, info.width as usize, info.height as usize, max_pixels)?;
    decoder.read_info().map_err(|e| corrupt(path, &e))
}

fn png_orientation(reader: &Png<'_>) -> Orientation {
    orientation(reader.info().exif_metadata.as_deref())
}

/// Decodes the pixels, and reads on to the end of the image.
fn png_pixels(path: &Path, reader: &mut Png<'_>) -> Result<Vec<u8>> {
    let bytes = reader.output_buffer_size().ok_or_else(|| bad(path, "the image has too many pixels"))?;
    let mut samples = vec![0; bytes];
    let frame = reader.next_frame(&mut samples).map_err(|e| corrupt(path, &e))?;
    samples.truncate(frame.buffer_size());
    reader.finish().map_err(|e| corrupt(path, &e))?;
    // Alpha is dropped: a camera has none.
    Ok(match frame.color_type {
        png::ColorType::Grayscale => samples.iter().flat_map(|&grey| [grey; 3]).collect(),
        png::ColorType::GrayscaleAlpha => samples.chunks_exact(2).flat_map(|pixel| [pixel[0]; 3]).collect(),
        png::ColorType::Rgba => samples.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        _ => samples,
    })
}

type Jpeg<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// A decoder that has read the header, with width and height.
fn jpeg_decoder<'a>(path: &Path, bytes: &'a [u8], max_pixels: u64) -> Result<(Jpeg<'a>, usize, usize)> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| corrupt(path, &e))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| bad(path, "the image is corrupt").got("no frame"))?;
    check_pixels(path, width, height, max_pixels)?;
    Ok((decoder, width, height))
}

fn jpeg_orientation(decoder: &Jpeg<'_>) -> Orientation {
    orientation(decoder.exif().map(Vec::as_slice))
}

#[cfg(test)]
mod tests;
