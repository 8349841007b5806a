//! The camera of a recording: its images, and where it is mounted on the car.

use drivewam_core::dims::Intrinsics;

/// The camera of a recording: pinhole, no distortion. Its images are packed RGB bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordedCamera {
    /// Image width, pixels.
    pub width: usize,
    /// Image height, pixels.
    pub height: usize,
    /// Intrinsics in pixels of an image of this size.
    pub intrinsics: Intrinsics,
}

/// Position and axes of a camera in the car's frame: x forward, y left, z up, the origin on the
/// road below the car's reference point. Only drawing a trajectory over an image needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraMount {
    /// Position of the optical centre, metres.
    pub position_m: [f64; 3],
    /// The camera's right, down and forward axes: unit vectors of the car's frame.
    pub axes: [[f64; 3]; 3],
    /// Whether the recording states the mount; if not, it is the guess of [`CameraMount::default`].
    pub is_measured: bool,
}

impl Default for CameraMount {
    /// 1.5 m above the road, 1.5 m ahead of the reference point, level.
    fn default() -> Self {
        Self { is_measured: false, ..Self::on_centre_line(1.5, 1.5, 0.0) }
    }
}

impl CameraMount {
    /// A camera on the car's centre line that looks straight ahead and `pitch_rad` down.
    pub fn on_centre_line(ahead_m: f64, height_m: f64, pitch_rad: f64) -> Self {
        let (sin, cos) = pitch_rad.sin_cos();
        Self { position_m: [ahead_m, 0.0, height_m], axes: [[0.0, -1.0, 0.0], [-sin, 0.0, -cos], [cos, 0.0, -sin]], is_measured: true }
    }

    /// Transforms a point from the car's frame to the camera's: right, down, forward, metres.
    pub fn to_camera(&self, point_m: [f64; 3]) -> [f64; 3] {
        let [x, y, z] = self.position_m;
        let from = [point_m[0] - x, point_m[1] - y, point_m[2] - z];
        self.axes.map(|axis| axis[0] * from[0] + axis[1] * from[1] + axis[2] * from[2])
    }
}
