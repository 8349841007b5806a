//! The intrinsics of a pinhole camera, and the range in which they are those of a camera.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A pinhole camera without distortion. Axes: x right, y down, z forward. The centre of the first
/// pixel is (0.5, 0.5).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intrinsics {
    /// The horizontal focal length, pixels: 0.1 to 20 times the width of the image.
    pub fx_px: f64,
    /// The vertical focal length, pixels: 0.1 to 20 times the height of the image.
    pub fy_px: f64,
    /// The principal point, pixels from the left edge of the image: in the image, or outside of it
    /// by at most half its width.
    pub cx_px: f64,
    /// The principal point, pixels from the upper edge of the image: in the image, or outside of it
    /// by at most half its height.
    pub cy_px: f64,
}

/// Focal lengths, as shares of the image's side: fields of view of 3 to 157 degrees.
const FOCAL: RangeInclusive<f64> = 0.1..=20.0;
/// The principal point, as shares of the image's side: a cropped image may not hold it.
const CENTRE: RangeInclusive<f64> = -0.5..=1.5;

impl Intrinsics {
    /// Checks that these are intrinsics of a camera whose images have `width` by `height` pixels.
    ///
    /// # Errors
    /// Of `kind`, with the key below `section`, for a number out of its range or not finite.
    pub fn check(&self, [width, height]: [usize; 2], kind: ErrorKind, section: &str) -> Result<()> {
        let focal = "a positive number of pixels, 0.1 to 20 times the image's side";
        let centre = "pixels, -0.5 to 1.5 times the image's side";
        for (key, value, side, range, wanted) in [
            ("fx_px", self.fx_px, width, FOCAL, focal),
            ("fy_px", self.fy_px, height, FOCAL, focal),
            ("cx_px", self.cx_px, width, CENTRE, centre),
            ("cy_px", self.cy_px, height, CENTRE, centre),
        ] {
            // A NaN is outside of every range.
            if !range.contains(&(value / side as f64)) {
                return Err(Error::new(kind, "out of range")
                    .at(format!("{section}.{key}"))
                    .got(value)
                    .wanted(format!("{wanted}, which has {side}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: Intrinsics = Intrinsics { fx_px: 56.0, fy_px: 56.0, cx_px: 56.0, cy_px: 32.0 };

    /// Breaks when a camera of metres, of millimetres or of another image's size is taken, or when
    /// the message does not name the number.
    #[test]
    fn intrinsics_of_no_camera_are_refused_by_key() {
        CAMERA.check([112, 64], ErrorKind::Config, "model.camera").unwrap();
        for (key, odd) in [
            ("fx_px", Intrinsics { fx_px: 0.004, ..CAMERA }),
            ("fx_px", Intrinsics { fx_px: f64::NAN, ..CAMERA }),
            ("fy_px", Intrinsics { fy_px: -56.0, ..CAMERA }),
            ("fy_px", Intrinsics { fy_px: 1e300, ..CAMERA }),
            ("cx_px", Intrinsics { cx_px: 960.0, ..CAMERA }),
            ("cy_px", Intrinsics { cy_px: f64::INFINITY, ..CAMERA }),
            ("cy_px", Intrinsics { cy_px: -33.0, ..CAMERA }),
        ] {
            let error = odd.check([112, 64], ErrorKind::Config, "model.camera").unwrap_err();
            let said = error.to_string();
            assert!(
                error.kind() == ErrorKind::Config && said.contains(&format!("model.camera.{key}")) && said.contains("wanted"),
                "{said}"
            );
        }
    }
}
