//! An RGB image with its camera, and how colours are blended into it.

use drivewam_core::dims::Intrinsics;

/// A colour: red, green, blue, 0 to 255.
pub(crate) type Rgb = [f64; 3];

/// An image and the pinhole camera that sees it.
#[derive(Debug, Clone)]
pub struct Canvas {
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    /// Intrinsics of the camera.
    pub intrinsics: Intrinsics,
    /// RGB bytes, row by row.
    pub rgb: Vec<u8>,
    /// The centre line near the car; kept so that rendering does not allocate it again.
    pub(crate) centre_line: Vec<CentreLinePoint>,
}

/// A point of the lane's centre line in camera axes (forward, left).
#[derive(Debug, Clone, Copy)]
pub(crate) struct CentreLinePoint {
    /// Arc length.
    pub(crate) s_m: f64,
    pub(crate) x_m: f64,
    pub(crate) y_m: f64,
    /// Of its direction.
    pub(crate) sin: f64,
    pub(crate) cos: f64,
}

impl Canvas {
    /// A black image.
    pub fn new(width: usize, height: usize, intrinsics: Intrinsics) -> Self {
        Self { width, height, intrinsics, rgb: vec![0; width * height * 3], centre_line: Vec::with_capacity(128) }
    }

    /// Blends `colour` into a pixel with the weight `cover`.
    pub(crate) fn blend(&mut self, column: usize, row: usize, colour: Rgb, cover: f64) {
        let at = (row * self.width + column) * 3;
        for (byte, value) in self.rgb[at..at + 3].iter_mut().zip(colour) {
            *byte = (f64::from(*byte) + cover * (value - f64::from(*byte)) + 0.5).clamp(0.0, 255.0) as u8;
        }
    }

    /// Draws a rectangle given in fractional pixels; it covers its edge pixels partly.
    pub(crate) fn rectangle(&mut self, left: f64, top: f64, right: f64, bottom: f64, colour: Rgb) {
        let columns = (left.max(0.0) as usize)..(right.ceil().clamp(0.0, self.width as f64) as usize);
        let rows = (top.max(0.0) as usize)..(bottom.ceil().clamp(0.0, self.height as f64) as usize);
        for row in rows {
            let high = (bottom.min(row as f64 + 1.0) - top.max(row as f64)).clamp(0.0, 1.0);
            for column in columns.clone() {
                let wide = (right.min(column as f64 + 1.0) - left.max(column as f64)).clamp(0.0, 1.0);
                self.blend(column, row, colour, high * wide);
            }
        }
    }
}

/// 0 below `low`, 1 above `high`, linear between.
pub(crate) fn ramp(value: f64, low: f64, high: f64) -> f64 {
    ((value - low) / (high - low).max(1e-9)).clamp(0.0, 1.0)
}

/// The share of a pixel with the footprint `soft` that a stripe of half width `half` around
/// `centre` covers.
pub(crate) fn stripe(value: f64, centre: f64, half: f64, soft: f64) -> f64 {
    let inside = half - (value - centre).abs();
    ramp(inside, -0.5 * soft, 0.5 * soft) * (2.0 * half / (2.0 * half).max(soft))
}

/// The colour between `a` (`share` 0) and `b` (`share` 1).
pub(crate) fn mixed(a: Rgb, b: Rgb, share: f64) -> Rgb {
    [a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2])]
}
