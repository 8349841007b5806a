//! Inputs unlike those of the training. The ride names them and drives on: nobody knows what the
//! policy makes of them, and only the vehicle can say whether that matters.

use crate::guard::{Cause, CauseKind, Causes};
use drivewam_core::ego::EgoState;
use drivewam_core::manifest::{TrainedPictures, TrainedQuantity, TrainedRange, TrainedRanges};
use drivewam_device::{SourceCamera, SourceMount};

/// How far a mount may lie outside of its trained range: calibrations differ by this much from car
/// to car, and at the size of the model's pictures it is a few pixels.
const ANGLE_TOLERANCE_RAD: f64 = 0.05;
const HEIGHT_TOLERANCE_M: f64 = 0.3;
/// How far a lens may move the picture's edge and still count as a pinhole, as a share of the
/// picture's width.
const LENS_TOLERANCE: f64 = 0.01;

/// The cause that names `value`, if it lies farther outside of `range` than `tolerance`.
fn outside(quantity: TrainedQuantity, value: f64, [low, high]: TrainedRange, tolerance: f64) -> Option<Cause> {
    let (least, most) = (low - tolerance, high + tolerance);
    let threshold = if value < least { least } else { most };
    // A NaN is outside of every range.
    (!(least..=most).contains(&value)).then(|| Cause::new(CauseKind::Untrained(quantity), value, threshold))
}

/// Adds what the training did not see of `camera` and its mount.
pub(crate) fn judge_camera(trained: &TrainedRanges, camera: &SourceCamera, causes: &mut Causes) {
    use TrainedQuantity::{CameraHeight, CameraPitch, CameraRoll, CameraYaw, Lens};
    let ranges = trained.camera;
    if let Some(SourceMount { yaw_rad, pitch_rad, roll_rad, height_m }) = camera.mount {
        let found = [
            outside(CameraYaw, yaw_rad, ranges.yaw_rad, ANGLE_TOLERANCE_RAD),
            outside(CameraPitch, pitch_rad, ranges.pitch_rad, ANGLE_TOLERANCE_RAD),
            outside(CameraRoll, roll_rad, ranges.roll_rad, ANGLE_TOLERANCE_RAD),
            outside(CameraHeight, height_m, ranges.height_m, HEIGHT_TOLERANCE_M),
        ];
        found.into_iter().flatten().for_each(|cause| causes.add(cause));
    }
    if !ranges.distorted_lenses
        && let Some(cause) = outside(Lens, camera.distortion_share, [0.0, 0.0], LENS_TOLERANCE)
    {
        causes.add(cause);
    }
}

/// Adds a speed and a yaw rate that the training did not see.
pub(crate) fn judge_motion(trained: &TrainedRanges, ego: EgoState, causes: &mut Causes) {
    let found = [
        outside(TrainedQuantity::Speed, ego.speed_mps, trained.speed_mps, 0.0),
        outside(TrainedQuantity::YawRate, ego.speed_mps * ego.curvature_1pm, trained.yaw_rate_radps, 0.0),
    ];
    found.into_iter().flatten().for_each(|cause| causes.add(cause));
}

/// Adds looks of a picture that the training did not see; each of 255, as
/// [`TrainedPictures`] means them.
pub(crate) fn judge_picture(trained: &TrainedPictures, brightness: f64, contrast: f64, saturation: f64, causes: &mut Causes) {
    let found = [
        outside(TrainedQuantity::Brightness, brightness, trained.brightness, 0.0),
        outside(TrainedQuantity::Contrast, contrast, trained.contrast, 0.0),
        outside(TrainedQuantity::Saturation, saturation, trained.saturation, 0.0),
    ];
    found.into_iter().flatten().for_each(|cause| causes.add(cause));
}
