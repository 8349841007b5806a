//! The camera of `input.yaml`: the range of each key, and what the keys mean together.

use crate::camera::{CameraMount, RecordedCamera};
use crate::files::KIND;
use crate::format::CameraHeader;
use crate::recording::Limits;
use drivewam_core::dims::Intrinsics;
use drivewam_core::{Error, Result};
use std::ops::RangeInclusive;

/// Longest side of an image, pixels.
const MAX_SIDE: usize = 1 << 16;

/// Checks the camera of the header. `camera.height_m` decides whether the mount counts as measured.
///
/// # Errors
/// `Input`, naming the key.
pub(crate) fn read_camera(header: &CameraHeader, limits: Limits) -> Result<(RecordedCamera, CameraMount)> {
    for (key, side) in [("width", header.width), ("height", header.height)] {
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(outside(key, side, "1 to 65536 pixels"));
        }
    }
    if header.width as u64 * header.height as u64 > limits.max_image_pixels {
        let wanted = format!("at most {} pixels (`ingest.max_image_pixels`)", limits.max_image_pixels);
        return Err(outside("width", format!("{}x{}", header.width, header.height), &wanted));
    }
    let intrinsics = Intrinsics { fx_px: header.fx_px, fy_px: header.fy_px, cx_px: header.cx_px, cy_px: header.cy_px };
    intrinsics.check([header.width, header.height], KIND, "camera")?;
    let guess = CameraMount::default().position_m;
    let (ahead, height) = (header.ahead_m.unwrap_or(guess[0]), header.height_m.unwrap_or(guess[2]));
    within("ahead_m", ahead, -20.0..=20.0, "-20 to 20 m")?;
    within("height_m", height, 0.1..=10.0, "0.1 to 10 m")?;
    let [yaw, pitch, roll] = [header.yaw_rad, header.pitch_rad, header.roll_rad].map(|angle| angle.unwrap_or(0.0));
    within("yaw_rad", yaw, -3.15..=3.15, "-3.15 to 3.15 rad")?;
    within("pitch_rad", pitch, -1.5..=1.5, "-1.5 to 1.5 rad")?;
    within("roll_rad", roll, -3.15..=3.15, "-3.15 to 3.15 rad")?;
    for (key, value) in header.distortion.iter().flat_map(|lens| lens.coefficients()) {
        within(&format!("distortion.{key}"), value, -100.0..=100.0, "-100 to 100")?;
    }
    let mount = CameraMount { is_measured: header.height_m.is_some(), ..CameraMount::looking(ahead, height, [yaw, pitch, roll]) };
    Ok((RecordedCamera { width: header.width, height: header.height, intrinsics, distortion: header.distortion }, mount))
}

/// A NaN is outside of every range.
fn within(key: &str, value: f64, range: RangeInclusive<f64>, wanted: &str) -> Result<()> {
    if range.contains(&value) { Ok(()) } else { Err(outside(key, value, wanted)) }
}

fn outside(key: &str, got: impl std::fmt::Display, wanted: &str) -> Error {
    Error::new(KIND, "out of range").at(format!("camera.{key}")).got(got).wanted(wanted)
}
