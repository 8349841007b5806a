//! The vehicle's front camera, from which the model's picture is resampled.

use crate::picture::{Pictures, PixelFormat};
use drivewam_core::dims::{Intrinsics, Model};
use drivewam_core::{Error, ErrorKind, Result};

/// How a camera is mounted on the car.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceMount {
    /// Yaw, radians, left positive.
    pub yaw_rad: f64,
    /// Pitch, radians, down positive.
    pub pitch_rad: f64,
    /// Roll, radians, positive where the camera's right side is down.
    pub roll_rad: f64,
    /// Height of the optical centre above the road, metres.
    pub height_m: f64,
}

/// The vehicle's front camera. Its pictures are resampled as a pinhole's; mount and distortion are
/// compared with those of the training alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceCamera {
    /// Width of its pictures, pixels.
    pub width: usize,
    /// Height of its pictures, pixels.
    pub height: usize,
    /// In pixels of a picture of this size.
    pub intrinsics: Intrinsics,
    /// Pixel format of its pictures.
    pub format: PixelFormat,
    /// How it is mounted; `None` where that is not known.
    pub mount: Option<SourceMount>,
    /// How far the lens moves the picture's edge from where a pinhole shows it, as a share of the
    /// picture's width. 0: no distortion.
    pub distortion_share: f64,
}

impl SourceCamera {
    /// A pinhole camera of packed RGB pictures, whose mount is not known.
    pub fn rgb8(width: usize, height: usize, intrinsics: Intrinsics) -> Self {
        Self { width, height, intrinsics, format: PixelFormat::Rgb8, mount: None, distortion_share: 0.0 }
    }

    /// The camera that the model was trained for.
    pub fn of_model(model: &Model) -> Self {
        Self::rgb8(model.image.width, model.image.height, model.camera)
    }

    /// Size and pixel format of its pictures.
    pub fn pictures(&self) -> Pictures {
        Pictures { width: self.width, height: self.height, format: self.format }
    }

    /// Horizontal and vertical field of view, radians.
    pub fn fov_rad(&self) -> [f64; 2] {
        let Intrinsics { fx_px, fy_px, cx_px, cy_px } = self.intrinsics;
        let angle = |size: usize, f: f64, c: f64| libm::atan(c / f) + libm::atan((size as f64 - c) / f);
        [angle(self.width, fx_px, cx_px), angle(self.height, fy_px, cy_px)]
    }

    /// Checks the picture's size against `most_pixels` (`ingest.max_image_pixels`), and the
    /// intrinsics.
    ///
    /// # Errors
    /// `Input` for a picture without pixels or with too many of them, and for intrinsics out of
    /// range ([`Intrinsics::check`]).
    pub fn check(&self, most_pixels: u64) -> Result<()> {
        let pixels = (self.width as u64).checked_mul(self.height as u64);
        if self.width == 0 || self.height == 0 || pixels.is_none_or(|p| p > most_pixels) {
            return Err(Error::new(ErrorKind::Input, "the camera's picture is too large or empty")
                .at("camera")
                .got(format!("{} x {} pixels", self.width, self.height))
                .wanted(format!("1 to {most_pixels} pixels (ingest.max_image_pixels)")));
        }
        self.intrinsics.check([self.width, self.height], ErrorKind::Input, "camera")
    }
}
