//! Which files are images, which are damaged, and which way up they are.

use super::*;
use crate::files::KIND;

/// 28 x 20 pixels each: baseline 4:2:0; progressive; with restart markers; both of these, grey.
const JPEGS: [(&str, &[u8]); 4] = [
    ("baseline", include_bytes!("baseline.jpg")),
    ("progressive", include_bytes!("progressive.jpg")),
    ("restarts", include_bytes!("restarts.jpg")),
    ("grey progressive restarts", include_bytes!("grey_progressive_restarts.jpg")),
];
const SIZE: (usize, usize) = (28, 20);

fn decode(bytes: &[u8], size: (usize, usize)) -> Result<Vec<u8>> {
    super::decode(Path::new("a.jpg"), bytes, size, 1 << 20)
}

/// Where each marker of `codes` stands.
fn markers(bytes: &[u8], codes: std::ops::RangeInclusive<u8>) -> Vec<usize> {
    (0..bytes.len() - 1).filter(|&i| bytes[i] == 0xff && codes.contains(&bytes[i + 1])).collect()
}

/// Breaks when a decoder's leniency decides: a scan that ends early is then filled with grey.
#[test]
fn a_jpeg_cut_anywhere_in_its_scans_is_refused_and_a_whole_one_is_not() {
    let mut failures = Vec::new();
    for (name, whole) in JPEGS {
        decode(whole, SIZE).unwrap_or_else(|e| panic!("{name}: {e}"));
        let scans = markers(whole, 0xda..=0xda)[0];
        for len in scans + 10..whole.len() - 2 {
            let cut = [&whole[..len], &[0xff, 0xd9]].concat();
            match decode(&cut, SIZE) {
                Ok(_) => failures.push(format!("{name}: {len} bytes and an end marker: decoded")),
                Err(e) if !(e.kind() == KIND && ["cut short", "corrupt"].iter().any(|w| e.to_string().contains(w))) => {
                    failures.push(format!("{name}: {len} bytes: {e}"));
                }
                Err(_) => {}
            }
            if decode(&whole[..len], SIZE).is_ok() {
                failures.push(format!("{name}: {len} bytes without an end marker: decoded"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Breaks when the scan goes on after a lost interval as if nothing was missing.
#[test]
fn a_jpeg_that_lacks_a_restart_interval_is_refused() {
    for (name, whole) in [JPEGS[2], JPEGS[3]] {
        let places = markers(whole, 0xd0..=0xd7);
        for pair in places.windows(2).filter(|pair| pair[1] - pair[0] < 300) {
            let without = [&whole[..pair[0]], &whole[pair[1]..]].concat();
            let said = decode(&without, SIZE).unwrap_err().to_string();
            assert!(said.contains("cut short") || said.contains("corrupt"), "{name} without {pair:?}: {said}");
        }
        let unmarked = [&whole[..places[0]], &whole[places[0] + 2..]].concat();
        assert!(decode(&unmarked, SIZE).is_err(), "{name} without its first restart marker");
    }
}

#[test]
fn bytes_after_the_end_of_an_image_are_not_looked_at() {
    for (name, whole) in JPEGS {
        let more = [whole, b"\xff\xd8 another image \xff\xda".as_slice()].concat();
        assert_eq!(decode(&more, SIZE).unwrap(), decode(whole, SIZE).unwrap(), "{name}");
    }
    let png = png(&[1, 2, 3, 4, 5, 6], 2, 1);
    assert_eq!(decode(&[png, vec![0xaa; 10]].concat(), (2, 1)).unwrap(), [1, 2, 3, 4, 5, 6]);
}

fn png(rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(rgb).unwrap();
    bytes
}

/// A chunk of a PNG, with its checksum.
fn chunk(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), content].concat();
    let crc = body
        .iter()
        .fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 }));
    [&(content.len() as u32).to_be_bytes(), body.as_slice(), &(!crc).to_be_bytes()].concat()
}

/// The bytes of an EXIF block that states an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    [b"II*\0\x08\0\0\0\x01\0".as_slice(), &entry, &[0; 4]].concat()
}

/// Breaks when an orientation is not applied, or not the way that EXIF defines it: the pixel of the
/// upright image at x, y stands in the stored one, of w x h, at the place that the table gives.
#[test]
fn the_orientation_of_an_image_is_applied_wherever_it_stands_in_the_file() {
    type Place = fn(usize, usize, usize, usize) -> (usize, usize);
    let table: [(u8, Place); 8] = [
        (1, |x, y, _, _| (x, y)),
        (2, |x, y, w, _| (w - 1 - x, y)),
        (3, |x, y, w, h| (w - 1 - x, h - 1 - y)),
        (4, |x, y, _, h| (x, h - 1 - y)),
        (5, |x, y, _, _| (y, x)),
        (6, |x, y, _, h| (y, h - 1 - x)),
        (7, |x, y, w, h| (w - 1 - y, h - 1 - x)),
        (8, |x, y, w, _| (w - 1 - y, x)),
    ];
    let (w, h) = (3, 2);
    let stored: Vec<u8> = (0..18).map(|i| i * 10).collect();
    let plain = png(&stored, 3, 2);
    for (orientation, place) in table {
        let (width, height) = if orientation >= 5 { (h, w) } else { (w, h) };
        let upright: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| {
                let (u, v) = place(x, y, w, h);
                stored[3 * (v * w + u)..3 * (v * w + u) + 3].to_vec()
            })
            .collect();
        // Behind the header, and behind the pixels.
        for at in [33, plain.len() - 12] {
            let turned = [&plain[..at], &chunk(*b"eXIf", &exif(orientation)), &plain[at..]].concat();
            assert_eq!(decode(&turned, (width, height)).unwrap(), upright, "{orientation} at {at}");
            assert_eq!(size(Path::new("a"), &turned, 100).unwrap(), (width, height));
        }
        let (name, jpeg) = JPEGS[0];
        let segment = [b"\xff\xe1\0\x22Exif\0\0".as_slice(), &exif(orientation)].concat();
        let turned = [&jpeg[..2], &segment, &jpeg[2..]].concat();
        let (w, h) = SIZE;
        let (width, height) = if orientation >= 5 { (h, w) } else { (w, h) };
        let (stored, got) = (decode(jpeg, SIZE).unwrap(), decode(&turned, (width, height)).unwrap());
        for (x, y) in [(0, 0), (width - 1, 0), (3, height - 2)] {
            let (u, v) = place(x, y, w, h);
            assert_eq!(got[3 * (y * width + x)..][..3], stored[3 * (v * w + u)..][..3], "{name} {orientation} at {x}, {y}");
        }
        if orientation >= 5 {
            let said = decode(&turned, SIZE).unwrap_err().to_string();
            assert!(said.contains("got 20x28, wanted 28x20"), "{said}");
        }
    }
}

/// Breaks when a profile or a text is unpacked, however large it becomes, or when `eXIf` has no
/// limit.
#[test]
fn a_png_s_profile_and_texts_are_skipped_and_its_exif_has_a_limit() {
    let mut bytes = Vec::new();
    let mut info = png::Info::with_size(2, 1);
    info.color_type = png::ColorType::Rgb;
    info.icc_profile = Some(vec![7; 1 << 20].into());
    let mut encoder = png::Encoder::with_info(&mut bytes, info).unwrap();
    encoder.add_ztxt_chunk("Comment".to_owned(), "x".repeat(1 << 20)).unwrap();
    encoder.write_header().unwrap().write_image_data(&[1, 2, 3, 4, 5, 6]).unwrap();
    assert!(bytes.windows(4).any(|w| w == b"iCCP") && bytes.windows(4).any(|w| w == b"zTXt"));
    assert_eq!(decode(&bytes, (2, 1)).unwrap(), [1, 2, 3, 4, 5, 6]);
    let reader = png_reader(Path::new("a"), &bytes, 100).unwrap();
    assert!(reader.info().icc_profile.is_none() && reader.info().compressed_latin1_text.is_empty());
    let plain = png(&[0; 6], 2, 1);
    let large = [&plain[..33], &chunk(*b"eXIf", &vec![0; 4 << 20]), &plain[33..]].concat();
    assert!(decode(&large, (2, 1)).unwrap_err().to_string().contains("limits are exceeded"));
}

#[test]
fn grey_deep_and_cut_pngs_become_rgb_or_are_refused() {
    let encode = |color, depth, data: &[u8]| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        bytes
    };
    use png::{BitDepth, ColorType};
    for (bytes, rgb) in [
        (encode(ColorType::Grayscale, BitDepth::Eight, &[7, 9]), [7, 7, 7, 9, 9, 9]),
        (encode(ColorType::GrayscaleAlpha, BitDepth::Eight, &[7, 0, 9, 0]), [7, 7, 7, 9, 9, 9]),
        (encode(ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 0, 4, 5, 6, 255]), [1, 2, 3, 4, 5, 6]),
        (encode(ColorType::Rgb, BitDepth::Sixteen, &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]), [1, 2, 3, 4, 5, 6]),
        (encode(ColorType::Grayscale, BitDepth::One, &[0b0100_0000]), [0, 0, 0, 255, 255, 255]),
    ] {
        assert_eq!(decode(&bytes, (2, 1)).unwrap(), rgb);
        for len in 8..bytes.len() - 1 {
            assert!(decode(&bytes[..len], (2, 1)).is_err(), "{len} of {} bytes", bytes.len());
        }
    }
}

/// Breaks when damaged bytes make the check of the scans panic, loop or take long.
#[test]
fn random_changes_of_a_jpeg_never_panic() {
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for (_, whole) in JPEGS {
        for _ in 0..2000 {
            let mut bytes = whole.to_vec();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            let _ = decode(&bytes, SIZE);
            let _ = jpeg_scans::check(&bytes);
        }
    }
}
