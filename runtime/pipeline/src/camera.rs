//! How the vehicle's picture becomes the model's: resampling planned once, by the two cameras' intrinsics.

use drivewam_core::config::{CameraConfig as Settings, CameraFit};
use drivewam_core::dims::{Intrinsics, Model};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::{Pictures, PixelFormat, Taps};

/// The vehicle's front camera: pinhole, no distortion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceCamera {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// In pixels of a picture of this size.
    pub intrinsics: Intrinsics,
    /// How its pictures are packed.
    pub format: PixelFormat,
}

impl SourceCamera {
    /// The model's own camera.
    pub fn of_model(model: &Model) -> Self {
        Self { width: model.image.width, height: model.image.height, intrinsics: model.camera, format: PixelFormat::Rgb8 }
    }

    /// Its pictures.
    pub fn pictures(&self) -> Pictures {
        Pictures { width: self.width, height: self.height, format: self.format }
    }

    /// Horizontal and vertical field of view, radians.
    pub fn fov_rad(&self) -> [f64; 2] {
        let Intrinsics { fx_px, fy_px, cx_px, cy_px } = self.intrinsics;
        let angle = |size: usize, f: f64, c: f64| libm::atan(c / f) + libm::atan((size as f64 - c) / f);
        [angle(self.width, fx_px, cx_px), angle(self.height, fy_px, cy_px)]
    }

    fn check(&self, most_pixels: u64) -> Result<()> {
        let pixels = (self.width as u64).checked_mul(self.height as u64);
        if self.width == 0 || self.height == 0 || pixels.is_none_or(|p| p > most_pixels) {
            return Err(Error::new(ErrorKind::Input, "a camera picture of this size is refused")
                .at("camera")
                .got(format!("{} x {} pixels", self.width, self.height))
                .wanted(format!("1 to {most_pixels} pixels (ingest.max_image_pixels)")));
        }
        let Intrinsics { fx_px, fy_px, cx_px, cy_px } = self.intrinsics;
        if ![fx_px, fy_px].iter().all(|f| f.is_finite() && *f > 0.0) || !cx_px.is_finite() || !cy_px.is_finite() {
            return Err(Error::new(ErrorKind::Input, "not a pinhole camera")
                .at("camera")
                .got(format!("{:?}", self.intrinsics))
                .wanted("finite pixels, positive focal lengths"));
        }
        Ok(())
    }
}

/// The planned fit.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) camera: SourceCamera,
    pub(crate) columns: Taps,
    pub(crate) rows: Taps,
    /// Share by which a field of view, the worse of both axes, differs from the model's, where it exceeds the tolerance and nothing corrects it.
    pub(crate) fov: Option<f64>,
    /// Share of the model's picture that the camera does not cover, where it is not zero.
    pub(crate) uncovered: Option<f64>,
}

impl Fit {
    /// Plans the fit of `camera` to `model`'s picture.
    ///
    /// # Errors
    /// `Input` for a camera without pixels, with too many of them, or without a focal length.
    pub(crate) fn plan(settings: &Settings, model: &Model, camera: SourceCamera, most_pixels: u64) -> Result<Self> {
        camera.check(most_pixels)?;
        let (width, height, own) = (model.image.width, model.image.height, model.camera);
        match settings.fit {
            CameraFit::Resize => {
                let (theirs, ours) = (camera.fov_rad(), SourceCamera::of_model(model).fov_rad());
                let differs = theirs.iter().zip(ours).map(|(theirs, ours)| (theirs / ours - 1.0).abs()).fold(0.0, f64::max);
                let fov = (differs > settings.fov_tolerance).then_some(differs);
                Ok(Self {
                    columns: Taps::triangle(camera.width, width),
                    rows: Taps::triangle(camera.height, height),
                    camera,
                    fov,
                    uncovered: None,
                })
            }
            // Both cameras look the same way, so a model pixel's ray meets the other picture at a place that is linear in each axis apart.
            CameraFit::Reproject => {
                let theirs = camera.intrinsics;
                let axis = |f: f64, c: f64, own_f: f64, own_c: f64| (f / own_f, c - own_c * f / own_f);
                let (x_scale, x_shift) = axis(theirs.fx_px, theirs.cx_px, own.fx_px, own.cx_px);
                let (y_scale, y_shift) = axis(theirs.fy_px, theirs.cy_px, own.fy_px, own.cy_px);
                let inside = |scale: f64, shift: f64, output: usize, input: usize| {
                    let covered = (0..output).filter(|i| (0.0..input as f64).contains(&(scale * (*i as f64 + 0.5) + shift))).count();
                    covered as f64 / output as f64
                };
                let covered = inside(x_scale, x_shift, width, camera.width) * inside(y_scale, y_shift, height, camera.height);
                if covered == 0.0 {
                    return Err(Error::new(ErrorKind::Input, "the camera sees nothing of the model's picture")
                        .at("camera")
                        .got(format!("{theirs:?}"))
                        .wanted("intrinsics in pixels of the camera's own picture"));
                }
                Ok(Self {
                    columns: Taps::linear(camera.width, width, x_scale, x_shift),
                    rows: Taps::linear(camera.height, height, y_scale, y_shift),
                    camera,
                    fov: None,
                    uncovered: (covered < 1.0).then_some(1.0 - covered),
                })
            }
        }
    }
}
