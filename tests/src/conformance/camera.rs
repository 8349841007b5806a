//! Resampling against a plain loop in f64.

use super::Make;
use drivewam_core::ErrorKind;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::dtype::DType;
use drivewam_device::{Device, Pictures, PixelFormat, ResampleWeights};

/// Tolerance: outputs are in [-1, 1], and sums of a few dozen f32 products.
const CLOSE: f64 = 2e-6;

fn picture(width: usize, height: usize) -> Vec<u8> {
    (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn camera(make: Make, width: usize, height: usize) -> (Box<dyn Device>, Region) {
    let mut planner = Planner::new();
    let to = planner.add("codec", "frames", DType::F32, &[3, height, width]).unwrap();
    ((make.device)(planner.finish(1 << 24).unwrap()).unwrap(), to)
}

fn resampled(make: Make, bytes: &[u8], from: [usize; 2], columns: &ResampleWeights, rows: &ResampleWeights) -> Vec<f32> {
    let (mut device, to) = camera(make, columns.outputs(), rows.outputs());
    device.open_camera(Pictures::rgb8(from[0], from[1]), columns.clone(), rows.clone()).unwrap();
    device.resample(bytes, to).unwrap();
    let mut out = vec![f32::NAN; to.len()];
    device.download(to, &mut out).unwrap();
    out
}

/// Inputs and weights of one output of Pillow's `BILINEAR` filter.
fn pillow(input: usize, output: usize, i: usize) -> Vec<(usize, f64)> {
    let scale = input as f64 / output as f64;
    let (reach, centre) = (scale.max(1.0), (i as f64 + 0.5) * scale);
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(input);
    let weights: Vec<f64> = (first..end).map(|j| (1.0 - ((j as f64 - centre + 0.5) / reach).abs()).max(0.0)).collect();
    let sum: f64 = weights.iter().sum();
    (first..end).zip(weights.into_iter().map(|w| w / sum)).collect()
}

/// Breaks if the filter is not widened where a picture shrinks, an axis is swapped, or a channel
/// goes to the plane of another.
pub fn a_picture_is_resampled_as_pillow_does_without_its_rounding(make: Make) {
    for ([width, height], [columns, rows]) in
        [([8, 6], [4, 3]), ([5, 7], [9, 4]), ([64, 48], [11, 7]), ([10, 3], [3, 10]), ([1, 1], [4, 2])]
    {
        let bytes = picture(width, height);
        let got =
            resampled(make, &bytes, [width, height], &ResampleWeights::triangle(width, columns), &ResampleWeights::triangle(height, rows));
        for channel in 0..3 {
            for y in 0..rows {
                for x in 0..columns {
                    let wanted: f64 = pillow(height, rows, y)
                        .iter()
                        .flat_map(|(j, down)| pillow(width, columns, x).into_iter().map(move |(i, across)| (i, *j, across * down)))
                        .map(|(i, j, weight)| weight * f64::from(bytes[(j * width + i) * 3 + channel]))
                        .sum();
                    let got = f64::from(got[(channel * rows + y) * columns + x]);
                    let wanted = wanted / 127.5 - 1.0;
                    assert!(
                        (got - wanted).abs() <= CLOSE,
                        "{width}x{height} to {columns}x{rows} at {x}, {y}, {channel}: {got} for {wanted}"
                    );
                }
            }
        }
    }
}

/// Breaks if luma or chroma is read from another pixel, or the colour matrix is another one.
pub fn yuv_is_turned_into_rgb_as_bt_601_says_before_it_is_weighted(make: Make) {
    let (width, height, columns, rows) = (8, 6, 3, 4);
    // Red, green and blue by the constants of the standard: 219 steps of luma, 224 of chroma; Kr
    // 0.299, Kb 0.114.
    let rgb = |luma: u8, u: u8, v: u8| -> [f64; 3] {
        let (luma, pb, pr) = ((f64::from(luma) - 16.0) / 219.0, (f64::from(u) - 128.0) / 224.0, (f64::from(v) - 128.0) / 224.0);
        let (red, blue) = (luma + 2.0 * (1.0 - 0.299) * pr, luma + 2.0 * (1.0 - 0.114) * pb);
        [red, (luma - 0.299 * red - 0.114 * blue) / 0.587, blue].map(|c| (c * 255.0).clamp(0.0, 255.0))
    };
    for format in [PixelFormat::Nv12, PixelFormat::Yuyv] {
        let pictures = Pictures { width, height, format };
        let bytes: Vec<u8> = picture(width, height).into_iter().take(pictures.bytes().unwrap()).collect();
        let pixel = |x: usize, y: usize| match format {
            PixelFormat::Nv12 => {
                let colour = &bytes[width * height..][y / 2 * width + x / 2 * 2..];
                rgb(bytes[y * width + x], colour[0], colour[1])
            }
            _ => {
                let pair = &bytes[(y * width + x / 2 * 2) * 2..];
                rgb(pair[2 * (x % 2)], pair[1], pair[3])
            }
        };
        let (mut device, to) = camera(make, columns, rows);
        device.open_camera(pictures, ResampleWeights::triangle(width, columns), ResampleWeights::triangle(height, rows)).unwrap();
        device.resample(&bytes, to).unwrap();
        let mut out = vec![f32::NAN; to.len()];
        device.download(to, &mut out).unwrap();
        for (i, got) in out.iter().enumerate() {
            let (channel, y, x) = (i / (columns * rows), i / columns % rows, i % columns);
            let weights = pillow(height, rows, y)
                .into_iter()
                .flat_map(|(j, down)| pillow(width, columns, x).into_iter().map(move |(i, across)| (i, j, across * down)));
            let wanted: f64 = weights.map(|(x, y, weight)| weight * pixel(x, y)[channel]).sum();
            // The usual constants have four to six digits.
            assert!((f64::from(*got) - (wanted / 127.5 - 1.0)).abs() <= 1e-5, "{format:?}, number {i}: {got} for {}", wanted / 127.5 - 1.0);
        }
        let odd = Pictures { width: 7, ..pictures };
        let error = device.open_camera(odd, ResampleWeights::triangle(7, columns), ResampleWeights::triangle(height, rows)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "an odd width has half a pair");
    }
}

/// Breaks if a picture of the model's own size is blurred or shifted.
pub fn equal_sizes_give_every_byte_exactly(make: Make) {
    let (width, height) = (16, 16);
    let bytes = picture(width, height);
    let got =
        resampled(make, &bytes, [width, height], &ResampleWeights::triangle(width, width), &ResampleWeights::triangle(height, height));
    for (i, byte) in bytes.iter().enumerate() {
        let (pixel, channel) = (i / 3, i % 3);
        assert_eq!(got[channel * width * height + pixel], f32::from(*byte) / 127.5 - 1.0, "pixel {pixel}, channel {channel}");
    }
}

/// Breaks if a reprojection repeats the border of the picture where the camera does not see.
pub fn what_the_camera_does_not_cover_is_black(make: Make) {
    let bytes = vec![255u8; 6 * 4 * 3];
    // The model's picture extends 1.5 columns beyond the camera's on each side, so the outer
    // columns are not covered.
    let columns = ResampleWeights::linear(6, 9, 1.0, -1.5);
    let got = resampled(make, &bytes, [6, 4], &columns, &ResampleWeights::triangle(4, 4));
    for row in got.chunks(9) {
        assert_eq!((row[0], row[8]), (-1.0, -1.0), "{row:?}");
        assert!(row[2..7].iter().all(|x| (x - 1.0).abs() < 1e-6), "{row:?}");
    }
}

/// Breaks if a picture of another size is read past its end, or work space is allocated in Run.
pub fn sizes_that_disagree_are_refused(make: Make) {
    let (mut device, to) = camera(make, 4, 3);
    let (columns, rows) = (ResampleWeights::triangle(8, 4), ResampleWeights::triangle(6, 3));
    let bytes = picture(8, 6);
    let usage = |result: drivewam_core::Result<()>, what: &str| assert_eq!(result.unwrap_err().kind(), ErrorKind::Usage, "{what}");
    usage(device.resample(&bytes, to), "before open_camera");
    usage(device.open_camera(Pictures::rgb8(7, 6), columns.clone(), rows.clone()), "weights beyond the width");
    usage(device.open_camera(Pictures::rgb8(8, 5), columns.clone(), rows.clone()), "weights beyond the height");
    let inconsistent = ResampleWeights { count: vec![3; 3], ..columns.clone() };
    usage(device.open_camera(Pictures::rgb8(8, 6), inconsistent, rows.clone()), "weights whose fields disagree");
    device.open_camera(Pictures::rgb8(8, 6), columns, rows).unwrap();
    device.resample(&bytes, to).unwrap();
    usage(device.resample(&bytes[3..], to), "a truncated picture");
    usage(device.resample(&picture(8, 9), to), "a larger picture than the camera was opened for");
    usage(device.resample(&bytes, to.part(0, 35).unwrap()), "a short region");
}
