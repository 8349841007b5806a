//! The camera of a recording: its images, its lens, and where it is mounted on the car.

use drivewam_core::dims::Intrinsics;
use serde::{Deserialize, Serialize};

/// The camera of a recording. Its images are packed RGB bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordedCamera {
    /// Image width, pixels.
    pub width: usize,
    /// Image height, pixels.
    pub height: usize,
    /// Intrinsics in pixels of an image of this size.
    pub intrinsics: Intrinsics,
    /// What the lens does beside the pinhole; `None` where the images have no distortion.
    pub distortion: Option<Distortion>,
}

impl RecordedCamera {
    /// How far the lens moves the picture's corners and the middles of its sides from where a
    /// pinhole shows them, the farthest, as a share of the width. 0: no distortion; 1: a point of
    /// the edge is beyond what the lens's model describes.
    pub fn distortion_share(&self) -> f64 {
        let Some(lens) = self.distortion else { return 0.0 };
        let Intrinsics { fx_px, fy_px, cx_px, cy_px } = self.intrinsics;
        let (width, height) = (self.width as f64, self.height as f64);
        let share = |u: f64, v: f64| {
            let (x, y) = ((u - cx_px) / fx_px, (v - cy_px) / fy_px);
            lens.distort(x, y).map_or(1.0, |[bent_x, bent_y]| libm::hypot((bent_x - x) * fx_px, (bent_y - y) * fy_px) / width)
        };
        let sides = |i: u32, side: f64| f64::from(i) / 2.0 * side;
        (0..9).map(|i| share(sides(i % 3, width), sides(i / 3, height))).fold(0.0, f64::max)
    }
}

/// The distortion of a lens, in the models and with the coefficients of OpenCV. They act on the
/// coordinates of the pinhole: x = right / forward, y = down / forward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case", deny_unknown_fields)]
pub enum Distortion {
    /// Radial and tangential (Brown, Conrady), as `cv::projectPoints` takes k1, k2, p1, p2, k3.
    Opencv {
        /// Radial, of r².
        #[serde(default)]
        k1: f64,
        /// Radial, of r⁴.
        #[serde(default)]
        k2: f64,
        /// Tangential.
        #[serde(default)]
        p1: f64,
        /// Tangential.
        #[serde(default)]
        p2: f64,
        /// Radial, of r⁶.
        #[serde(default)]
        k3: f64,
    },
    /// Fisheye (Kannala, Brandt), as `cv::fisheye::projectPoints` takes k1, k2, k3, k4.
    OpencvFisheye {
        /// Of θ³.
        #[serde(default)]
        k1: f64,
        /// Of θ⁵.
        #[serde(default)]
        k2: f64,
        /// Of θ⁷.
        #[serde(default)]
        k3: f64,
        /// Of θ⁹.
        #[serde(default)]
        k4: f64,
    },
}

impl Distortion {
    /// The model's name in `input.yaml`.
    pub fn model(&self) -> &'static str {
        match self {
            Self::Opencv { .. } => "opencv",
            Self::OpencvFisheye { .. } => "opencv_fisheye",
        }
    }

    /// The coefficients with their names, in OpenCV's order.
    pub fn coefficients(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Self::Opencv { k1, k2, p1, p2, k3 } => vec![("k1", k1), ("k2", k2), ("p1", p1), ("p2", p2), ("k3", k3)],
            Self::OpencvFisheye { k1, k2, k3, k4 } => vec![("k1", k1), ("k2", k2), ("k3", k3), ("k4", k4)],
        }
    }

    /// Where the lens images the point at (`x`, `y`) of the pinhole; `None` beyond the radius at
    /// which the model folds back, where it describes no lens.
    pub fn distort(&self, x: f64, y: f64) -> Option<[f64; 2]> {
        let r = libm::hypot(x, y);
        match *self {
            Self::Opencv { k1, k2, p1, p2, k3 } => {
                let r2 = r * r;
                let radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
                let tangential = [2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x), p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y];
                rises([k1, k2, k3, 0.0], r).then_some([x * radial + tangential[0], y * radial + tangential[1]])
            }
            Self::OpencvFisheye { k1, k2, k3, k4 } => {
                let theta = libm::atan(r);
                let t2 = theta * theta;
                let bent = theta * (1.0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))));
                let scale = if r > 1e-12 { bent / r } else { 1.0 };
                rises([k1, k2, k3, k4], theta).then_some([x * scale, y * scale])
            }
        }
    }
}

/// Steps of the test whether a model rises.
const STEPS: u32 = 16;

/// Whether r + k₁ r³ + k₂ r⁵ + k₃ r⁷ + k₄ r⁹ rises from 0 to `radius`.
fn rises([k1, k2, k3, k4]: [f64; 4], radius: f64) -> bool {
    (1..=STEPS).all(|i| {
        let r = radius * f64::from(i) / f64::from(STEPS);
        let r2 = r * r;
        1.0 + r2 * (3.0 * k1 + r2 * (5.0 * k2 + r2 * (7.0 * k3 + r2 * 9.0 * k4))) > 0.0
    })
}

/// Position and axes of a camera in the car's frame: x forward, y left, z up, the origin on the
/// road below the car's reference point.
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
        Self::looking(ahead_m, height_m, [0.0, pitch_rad, 0.0])
    }

    /// A camera on the car's centre line, turned by yaw (left positive), then by pitch (down
    /// positive), then by roll (its right side down is positive), each about its own axes, radians.
    pub fn looking(ahead_m: f64, height_m: f64, [yaw_rad, pitch_rad, roll_rad]: [f64; 3]) -> Self {
        let ((sy, cy), (sp, cp), (sr, cr)) = (libm::sincos(yaw_rad), libm::sincos(pitch_rad), libm::sincos(roll_rad));
        let (right, down, forward) = ([sy, -cy, 0.0], [-sp * cy, -sp * sy, -cp], [cp * cy, cp * sy, -sp]);
        let mix = |a: f64, b: f64| std::array::from_fn(|i| a * right[i] + b * down[i]);
        Self { position_m: [ahead_m, 0.0, height_m], axes: [mix(cr, sr), mix(-sr, cr), forward], is_measured: true }
    }

    /// Yaw, pitch and roll, radians, as [`CameraMount::looking`] takes them.
    pub fn angles_rad(&self) -> [f64; 3] {
        let [right, down, forward] = self.axes;
        [libm::atan2(forward[1], forward[0]), libm::asin((-forward[2]).clamp(-1.0, 1.0)), libm::atan2(-right[2], -down[2])]
    }

    /// Transforms a point from the car's frame to the camera's: right, down, forward, metres.
    pub fn to_camera(&self, point_m: [f64; 3]) -> [f64; 3] {
        let [x, y, z] = self.position_m;
        let from = [point_m[0] - x, point_m[1] - y, point_m[2] - z];
        self.axes.map(|axis| axis[0] * from[0] + axis[1] * from[1] + axis[2] * from[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when an angle has the wrong sign, or the three are applied in another order.
    #[test]
    fn yaw_looks_left_pitch_down_and_roll_lowers_the_right_side() {
        let near = |got: [f64; 3], wanted: [f64; 3]| {
            assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} is not {wanted:?}");
        };
        let point = [11.5, 0.0, 1.5];
        near(CameraMount::looking(1.5, 1.5, [0.0; 3]).to_camera(point), [0.0, 0.0, 10.0]);
        let right = CameraMount::looking(1.5, 1.5, [0.1, 0.0, 0.0]).to_camera(point);
        assert!(right[0] > 0.9, "a camera that looks left sees the road to its right: {right:?}");
        let down = CameraMount::looking(1.5, 1.5, [0.0, 0.1, 0.0]).to_camera(point);
        assert!(down[1] < -0.9, "a camera that looks down sees the horizon above its middle: {down:?}");
        let rolled = CameraMount::looking(1.5, 1.5, [0.0, 0.0, 0.1]).to_camera([11.5, -5.0, 1.5]);
        assert!(rolled[1] < -0.4, "a point to the right rises when the right side goes down: {rolled:?}");
        for angles in [[0.3, -0.2, 0.1], [-2.0, 1.0, -3.0], [0.0; 3]] {
            near(CameraMount::looking(1.0, 1.0, angles).angles_rad(), angles);
        }
    }

    /// The figures are the formulas of OpenCV's documentation, evaluated outside of this program.
    #[test]
    fn a_point_is_distorted_as_opencv_does_and_not_where_the_model_folds() {
        let lens = Distortion::Opencv { k1: -0.3, k2: 0.1, p1: 0.001, p2: -0.002, k3: -0.01 };
        let [x, y] = lens.distort(0.4, -0.3).unwrap();
        assert!((x - 0.3710575).abs() < 1e-12 && (y + 0.278418125).abs() < 1e-12, "{x} {y}");
        let folds = Distortion::Opencv { k1: -0.3, k2: 0.04, p1: 0.0, p2: 0.0, k3: 0.0 };
        assert!(folds.distort(2.0, 0.0).is_none(), "it falls at r = 1.5, and rises again at 2");
        let fisheye = Distortion::OpencvFisheye { k1: 0.05, k2: -0.01, k3: 0.002, k4: -0.0005 };
        let [x, y] = fisheye.distort(0.4, -0.3).unwrap();
        assert!((x - 0.374740449470813).abs() < 1e-12 && (y + 0.281055337103110).abs() < 1e-12, "{x} {y}");
    }

    /// Breaks when a lens with distortion counts as a pinhole, or a pinhole does not.
    #[test]
    fn distortion_is_a_share_of_the_picture_s_width() {
        let intrinsics = Intrinsics { fx_px: 50.0, fy_px: 50.0, cx_px: 50.0, cy_px: 25.0 };
        let of = |distortion| RecordedCamera { width: 100, height: 50, intrinsics, distortion }.distortion_share();
        let radial = |k1| Some(Distortion::Opencv { k1, k2: 0.0, p1: 0.0, p2: 0.0, k3: 0.0 });
        assert!(of(None) == 0.0 && of(radial(0.0)) == 0.0);
        // At a corner r² is 1.25, so a point moves by k1 · r³ · f.
        let wanted = 0.1 * 1.25f64.powf(1.5) * 0.5;
        assert!((of(radial(0.1)) - wanted).abs() < 1e-12, "{} is not {wanted}", of(radial(0.1)));
        assert_eq!(of(radial(-0.5)), 1.0, "the corner is beyond the radius at which the model folds back");
    }
}
