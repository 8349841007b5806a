//! The files of a recording, each by itself.

use crate::changes::{binary_change, cases, change, changed};
use crate::heap;
use drivewam_recording::{Limits, content, format};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};
use proptest::prelude::*;
use std::io::Cursor;

const LIMITS: Limits = Limits { max_image_pixels: 1 << 12, max_pose_gap_ms: 150, min_drive_ns: 0 };
/// Most heap memory of a parser, bytes: what a picture of `max_image_pixels` takes, and the tables
/// of its decoder.
const MAX_HEAP: u64 = 16 << 20;

/// A picture of 24 x 16 pixels as PNG, as JPEG, and as a JPEG in gray.
fn pictures() -> Vec<Vec<u8>> {
    let rgb: Vec<u8> = (0..24 * 16 * 3u32).map(|i| (i * 37 % 251) as u8).collect();
    let picture = image::RgbImage::from_raw(24, 16, rgb).unwrap();
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).unwrap();
    let (mut jpeg, mut grey) = (Vec::new(), Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, 80).encode(&picture, 24, 16, ExtendedColorType::Rgb8).unwrap();
    JpegEncoder::new_with_quality(&mut grey, 80).encode(&picture.as_raw()[..24 * 16], 24, 16, ExtendedColorType::L8).unwrap();
    vec![png.into_inner(), jpeg, grey]
}

/// What a parser returned: the error's text, if it refused the file.
fn said<T>(result: drivewam_core::Result<T>) -> Option<String> {
    result.err().map(|e| e.to_string())
}

/// A parser. Returns its error's text, if it refuses the file.
type Parser = Box<dyn Fn(&[u8]) -> Option<String>>;

/// One parser, and a file that it accepts.
struct Seed {
    parse: Parser,
    file: Vec<u8>,
    is_text: bool,
}

fn seeds() -> Vec<Seed> {
    let header = "schema: 1\ncamera: {width: 24, height: 16, fx_px: 20.0, fy_px: 20.0, cx_px: 12.0, cy_px: 8.0, height_m: 1.5, \
                  ahead_m: 1.0, pitch_rad: 0.01, distortion: {model: opencv, k1: 0.1, k2: 0.0, p1: 0.0, p2: 0.0, k3: 0.0}}\n\
                  frames: {format: files}\nsource: {kind: test}\n";
    let tables = [
        (format::FRAMES, "1000000000,0.png\n2000000000,\"a b.png\"\n"),
        (format::POSES, "1000000000,0,0,0\n1100000000,0.5,-1e-3,3.14\n"),
        (format::EGO, "1000000000,5,0,0\n1100000000,5.5,-0.25,0.01\n"),
        (format::COMMANDS, "1000000000,straight\n2500000000,left\n"),
    ];
    let mut seeds = vec![Seed { parse: Box::new(|bytes| said(content::camera(bytes, LIMITS))), file: header.into(), is_text: true }];
    for (table, rows) in tables {
        let file = [table.header_line(), rows.to_owned()].concat().into_bytes();
        seeds.push(Seed { parse: Box::new(move |bytes| said(content::stamps(&table, bytes))), file, is_text: true });
    }
    for picture in pictures() {
        let parse = |bytes: &[u8]| match content::image_size(bytes, LIMITS.max_image_pixels) {
            Ok(size) => said(content::pixels(bytes, size, LIMITS.max_image_pixels)),
            Err(e) => Some(e.to_string()),
        };
        seeds.push(Seed { parse: Box::new(parse), file: picture, is_text: false });
    }
    seeds
}

/// Breaks if a changed file of a recording makes its parser panic, overflow a small stack, take
/// more memory than a picture needs, or repeat more than an excerpt of it.
#[test]
fn any_bytes_are_a_file_of_a_recording_or_refused() {
    let check = || {
        let seeds = seeds();
        for seed in &seeds {
            assert_eq!((seed.parse)(&seed.file), None, "a seed must be valid");
        }
        let began = std::time::Instant::now();
        let strategy = (0..seeds.len(), prop::collection::vec(change(), 1..5), prop::collection::vec(binary_change(), 1..5));
        let config = cases(20_000);
        let (count, mut most) = (config.cases, std::cell::Cell::new(0));
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let result = runner.run(&strategy, |(seed, of_text, of_bytes)| {
            let seed = &seeds[seed];
            let bytes = changed(seed.file.clone(), if seed.is_text { &of_text } else { &of_bytes });
            let (said, heap) = heap::peak(|| (seed.parse)(&bytes));
            most.set(most.get().max(heap));
            prop_assert!(heap <= MAX_HEAP, "{heap} bytes of heap");
            let said = said.unwrap_or_default();
            prop_assert!(said.len() < 8192 && !said.contains(char::is_control), "{said:?}");
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{e}"));
        println!(
            "{count} changed files of {} seeds in {:.1} s; at most {} bytes of heap",
            seeds.len(),
            began.elapsed().as_secs_f64(),
            most.get_mut()
        );
    };
    let small = std::thread::Builder::new().name("small-stack".into()).stack_size(1 << 20).spawn(check).unwrap();
    small.join().unwrap();
}
