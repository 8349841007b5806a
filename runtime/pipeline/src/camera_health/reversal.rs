//! Whether pictures come in reversed order: while the car drives forward, the scene must grow.
//!
//! Of two pictures about a metre apart, the earlier one enlarged resembles the later one more than
//! the later one enlarged resembles the earlier one. On recorded and simulated roads this held for
//! more than nine pairs of ten; a car ahead that pulls away made up to twelve exceptions in a row.

use drivewam_core::pose::{Pose2, wrap};
use drivewam_device::SourceCamera;

/// Size of a thumbnail, pixels.
const WIDTH: usize = 96;
const HEIGHT: usize = 54;
/// Samples of a thumbnail's pixel, per axis.
const SAMPLES: usize = 3;
/// Distance between two pictures that are compared, m: less shows no growth, and more shows
/// different things.
const APART_M: (f64, f64) = (0.8, 2.5);
/// The largest turn between them, rad.
const TURN_RAD: f64 = 0.05;
/// Factors by which a picture may grow.
const ZOOMS: [f32; 9] = [1.01, 1.02, 1.04, 1.07, 1.1, 1.15, 1.2, 1.3, 1.4];
/// A difference of resemblance that counts.
const MARGIN: f32 = 0.0005;
/// Pairs in a row that shrink, for one doubt.
pub(super) const PAIRS: u32 = 15;

/// Compares each picture with the last one about a metre before it.
#[derive(Debug)]
pub(super) struct ReversalCheck {
    /// Thumbnails: brightness, row by row.
    before: Vec<f32>,
    now: Vec<f32>,
    zoomed: Vec<f32>,
    /// Where the picture in `before` was taken.
    place: Option<Pose2>,
    /// Pairs in a row that shrink.
    shrinking: u32,
}

impl ReversalCheck {
    pub(super) fn new() -> Self {
        let blank = || vec![0.0; WIDTH * HEIGHT];
        Self { before: blank(), now: blank(), zoomed: blank(), place: None, shrinking: 0 }
    }

    /// Looks at a picture taken at `pose` while the car drove at `speed_mps`.
    pub(super) fn see(&mut self, camera: &SourceCamera, picture: &[u8], pose: Pose2, speed_mps: f64) {
        let moved_m = self.place.map_or(f64::INFINITY, |place| place.distance_m(&pose));
        if moved_m < APART_M.0 {
            return;
        }
        let turn = self.place.map_or(0.0, |place| wrap(pose.yaw_rad - place.yaw_rad).abs());
        self.place = Some(pose);
        if moved_m > APART_M.1 || turn > TURN_RAD || speed_mps <= 0.0 {
            return shrink(camera, picture, &mut self.before);
        }
        shrink(camera, picture, &mut self.now);
        let grows = resemblance(&self.before, &self.now, &mut self.zoomed);
        let shrinks = resemblance(&self.now, &self.before, &mut self.zoomed);
        self.shrinking = if shrinks - grows > MARGIN { self.shrinking + 1 } else { 0 };
        std::mem::swap(&mut self.before, &mut self.now);
    }

    /// Pairs in a row that shrink.
    pub(super) fn shrinking(&self) -> u32 {
        self.shrinking
    }

    /// Forgets the picture.
    pub(super) fn clear(&mut self) {
        (self.place, self.shrinking) = (None, 0);
    }
}

/// Writes the thumbnail of a picture.
fn shrink(camera: &SourceCamera, picture: &[u8], out: &mut [f32]) {
    let pictures = camera.pictures();
    let place = |i: usize, count: usize, size: usize| (2 * i + 1) * size / (2 * count);
    for (i, out) in out.iter_mut().enumerate() {
        let (column, row) = (i % WIDTH, i / WIDTH);
        let mut sum = 0.0;
        for sample in 0..SAMPLES * SAMPLES {
            let x = place(column * SAMPLES + sample % SAMPLES, WIDTH * SAMPLES, camera.width);
            let y = place(row * SAMPLES + sample / SAMPLES, HEIGHT * SAMPLES, camera.height);
            sum += pictures.luma(picture, x, y);
        }
        *out = sum / (SAMPLES * SAMPLES) as f32;
    }
}

/// The best correlation of `from`, enlarged about its centre, with `to`.
fn resemblance(from: &[f32], to: &[f32], zoomed: &mut [f32]) -> f32 {
    let best = ZOOMS.into_iter().map(|zoom| {
        enlarge(from, zoom, zoomed);
        correlation(zoomed, to)
    });
    best.fold(f32::MIN, f32::max)
}

/// Enlarges `from` about its centre, between pixels by bilinear interpolation.
fn enlarge(from: &[f32], zoom: f32, out: &mut [f32]) {
    let source = |i: usize, size: usize| {
        let centre = (size - 1) as f32 / 2.0;
        let at = (i as f32 - centre) / zoom + centre;
        let whole = (at as usize).min(size - 2);
        (whole, at - whole as f32)
    };
    for (row, line) in out.chunks_exact_mut(WIDTH).enumerate() {
        let (y, down) = source(row, HEIGHT);
        let [upper, lower] = [y, y + 1].map(|y| &from[y * WIDTH..(y + 1) * WIDTH]);
        for (column, out) in line.iter_mut().enumerate() {
            let (x, right) = source(column, WIDTH);
            let between = |line: &[f32]| line[x] * (1.0 - right) + line[x + 1] * right;
            *out = between(upper) * (1.0 - down) + between(lower) * down;
        }
    }
}

/// Pearson's correlation; 0 where one of both has no contrast.
fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let count = a.len() as f32;
    let [mean_a, mean_b] = [a, b].map(|x| x.iter().sum::<f32>() / count);
    let (mut products, mut squares_a, mut squares_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        products += a * b;
        squares_a += a * a;
        squares_b += b * b;
    }
    let scale = (squares_a * squares_b).sqrt();
    if scale > 0.0 { products / scale } else { 0.0 }
}
