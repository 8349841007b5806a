//! What the weights were trained on, as far as the ride can compare its inputs with it.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_PI_2, PI};
use std::fmt;

/// A closed range, least and most.
pub type TrainedRange = [f64; 2];

/// The ranges of what the training saw. The exporter writes them
/// (`export/drivewam_export/train/ranges.py`, which says how each is found in the training data);
/// outside of them nobody knows what the policy does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedRanges {
    /// The speed of the car, m/s, forward positive.
    pub speed_mps: TrainedRange,
    /// The yaw rate of the car, rad/s, left positive: speed times curvature.
    pub yaw_rate_radps: TrainedRange,
    /// The camera and its mount.
    pub camera: TrainedCamera,
    /// The pictures.
    pub picture: TrainedPictures,
}

/// The cameras of the training. Their field of view is that of `model.camera`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedCamera {
    /// Yaw of the mount, radians, left positive.
    pub yaw_rad: TrainedRange,
    /// Pitch of the mount, radians, down positive.
    pub pitch_rad: TrainedRange,
    /// Roll of the mount, radians, positive where the camera's right side is down.
    pub roll_rad: TrainedRange,
    /// Height of the optical centre above the road, metres.
    pub height_m: TrainedRange,
    /// Whether pictures of lenses with distortion were seen.
    pub distorted_lenses: bool,
}

/// The looks of the training's pictures, each of 255: figures of pixels on a grid of 64 by 64.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedPictures {
    /// Mean brightness.
    pub brightness: TrainedRange,
    /// Standard deviation of the brightness.
    pub contrast: TrainedRange,
    /// Mean distance between the strongest and the weakest colour of a pixel.
    pub saturation: TrainedRange,
}

/// A quantity with a trained range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainedQuantity {
    /// The speed of the car.
    Speed,
    /// The yaw rate of the car.
    YawRate,
    /// Yaw of the camera's mount.
    CameraYaw,
    /// Pitch of the camera's mount.
    CameraPitch,
    /// Roll of the camera's mount.
    CameraRoll,
    /// Height of the camera above the road.
    CameraHeight,
    /// How far the lens moves the picture's edge, as a share of its width.
    Lens,
    /// Mean brightness of a picture.
    Brightness,
    /// Standard deviation of the brightness of a picture.
    Contrast,
    /// Mean saturation of a picture.
    Saturation,
}

impl TrainedQuantity {
    /// The name of the cause that names a value outside of the range.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Speed => "speed_untrained",
            Self::YawRate => "yaw_rate_untrained",
            Self::CameraYaw => "camera_yaw_untrained",
            Self::CameraPitch => "camera_pitch_untrained",
            Self::CameraRoll => "camera_roll_untrained",
            Self::CameraHeight => "camera_height_untrained",
            Self::Lens => "lens_untrained",
            Self::Brightness => "brightness_untrained",
            Self::Contrast => "contrast_untrained",
            Self::Saturation => "saturation_untrained",
        }
    }

    /// The unit of its values.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Speed => "m/s",
            Self::YawRate => "rad/s",
            Self::CameraYaw | Self::CameraPitch | Self::CameraRoll => "rad",
            Self::CameraHeight => "m",
            Self::Lens => "of the width",
            Self::Brightness | Self::Contrast | Self::Saturation => "of 255",
        }
    }
}

impl TrainedRanges {
    /// Checks that every range is one of physical values.
    pub(super) fn check(&self) -> Result<()> {
        let Self { speed_mps, yaw_rate_radps, camera, picture } = self;
        for (key, [low, high], within) in [
            ("speed_mps", *speed_mps, [-30.0, 150.0]),
            ("yaw_rate_radps", *yaw_rate_radps, [-10.0, 10.0]),
            ("camera.yaw_rad", camera.yaw_rad, [-PI, PI]),
            ("camera.pitch_rad", camera.pitch_rad, [-FRAC_PI_2, FRAC_PI_2]),
            ("camera.roll_rad", camera.roll_rad, [-PI, PI]),
            ("camera.height_m", camera.height_m, [0.1, 10.0]),
            ("picture.brightness", picture.brightness, [0.0, 255.0]),
            ("picture.contrast", picture.contrast, [0.0, 128.0]),
            ("picture.saturation", picture.saturation, [0.0, 255.0]),
        ] {
            // A NaN is not in order.
            if !(within[0] <= low && low <= high && high <= within[1]) {
                return Err(Error::new(ErrorKind::Manifest, "the range is out of order, or reaches beyond physical values")
                    .at(format!("trained_ranges.{key}"))
                    .got(format!("[{low}, {high}]"))
                    .wanted(format!("[least, most], from {:.3} to {:.3}", within[0], within[1])));
            }
        }
        Ok(())
    }
}

/// One line, for reports.
impl fmt::Display for TrainedRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |[low, high]: TrainedRange| if low == high { low.to_string() } else { format!("{low} to {high}") };
        let Self { speed_mps, yaw_rate_radps, camera, picture } = self;
        let angles = [camera.yaw_rad, camera.pitch_rad, camera.roll_rad].map(range).join(", ");
        let lenses = if camera.distorted_lenses { "lenses with and without distortion" } else { "lenses without distortion" };
        let looks = [picture.brightness, picture.contrast, picture.saturation].map(range);
        write!(
            f,
            "{} m/s, {} rad/s; camera at yaw, pitch, roll of {angles} rad, {} m high, {lenses}; brightness {}, contrast {}, saturation {} of 255",
            range(*speed_mps),
            range(*yaw_rate_radps),
            range(camera.height_m),
            looks[0],
            looks[1],
            looks[2]
        )
    }
}
