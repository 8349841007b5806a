//! The fit of the vehicle's camera to the model's: resampling weights, planned once from the
//! intrinsics of both cameras.

use drivewam_core::config::{CameraConfig as Settings, CameraFit};
use drivewam_core::dims::Model;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::{ResampleWeights, SourceCamera};

/// The planned fit.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) camera: SourceCamera,
    pub(crate) columns: ResampleWeights,
    pub(crate) rows: ResampleWeights,
    /// Relative difference between the fields of view, the larger of both axes; `None` within the
    /// tolerance, and where the fit corrects it.
    pub(crate) fov: Option<f64>,
    /// Share of the model's image that the camera does not cover; `None` for zero.
    pub(crate) uncovered: Option<f64>,
}

impl Fit {
    /// Plans the fit of `camera` to `model`'s image.
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
                    columns: ResampleWeights::triangle(camera.width, width),
                    rows: ResampleWeights::triangle(camera.height, height),
                    camera,
                    fov,
                    uncovered: None,
                })
            }
            // Both cameras look in the same direction, so a model pixel maps to a source position
            // that is linear in each axis separately.
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
                    return Err(Error::new(ErrorKind::Input, "the camera covers nothing of the model's image")
                        .at("camera")
                        .got(format!("{theirs:?}"))
                        .wanted("intrinsics in pixels of the camera's own image"));
                }
                Ok(Self {
                    columns: ResampleWeights::linear(camera.width, width, x_scale, x_shift),
                    rows: ResampleWeights::linear(camera.height, height, y_scale, y_shift),
                    camera,
                    fov: None,
                    uncovered: (covered < 1.0).then_some(1.0 - covered),
                })
            }
        }
    }
}
