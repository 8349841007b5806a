//! The planned trajectory, step by step, in the ego frame at t0 (x forward, y left).
//!
//! A [`Trajectory`] turns the increments of a chunk into points with speeds, measures their
//! distance from a driven path, and can hold the constant-motion baseline of the evaluation. It is
//! made once and overwritten by every chunk.

use crate::action::Increment;
use crate::error::{Error, ErrorKind, Result};
use crate::pose::Pose2;

/// One point of a trajectory: four numbers in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Point {
    /// Forward of the ego pose at t0, metres.
    pub x_m: f64,
    /// Left of it, metres.
    pub y_m: f64,
    /// Counter-clockwise from the heading at t0, radians; not wrapped.
    pub yaw_rad: f64,
    /// Speed over the step that ends here, along the heading in the middle of the step, m/s;
    /// negative when reversing.
    pub v_mps: f64,
}

impl Point {
    /// The point without its speed.
    pub fn pose(&self) -> Pose2 {
        Pose2::new(self.x_m, self.y_m, self.yaw_rad)
    }
}

/// Points one step apart; point i is due (i + 1) steps after t0.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    points: Vec<Point>,
    step_s: f64,
}

/// Distances from a driven path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Displacement {
    /// Average displacement error (ADE), metres.
    pub mean_m: f64,
    /// Final displacement error (FDE), metres.
    pub last_m: f64,
}

impl Trajectory {
    /// `poses` points at the origin, `step_ns` nanoseconds apart ([`crate::dims::Model::poses`],
    /// [`crate::dims::Model::pose_period_ns`]).
    ///
    /// # Errors
    /// `Usage` for no poses, or a step that is not positive.
    pub fn new(poses: usize, step_ns: i64) -> Result<Self> {
        if poses == 0 || step_ns <= 0 {
            return Err(Error::new(ErrorKind::Usage, "not a trajectory")
                .got(format!("{poses} poses, {step_ns} ns apart"))
                .wanted("both positive"));
        }
        Ok(Self { points: vec![Point::default(); poses], step_s: step_ns as f64 * 1e-9 })
    }

    /// The points, in order of time.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The points, mutable, for trajectories that are not made from increments.
    pub fn points_mut(&mut self) -> &mut [Point] {
        &mut self.points
    }

    /// Time between two points, seconds.
    pub fn step_s(&self) -> f64 {
        self.step_s
    }

    /// When point `i` is due, seconds after t0.
    pub fn due_s(&self, i: usize) -> f64 {
        (i + 1) as f64 * self.step_s
    }

    /// Overwrites the points with the running sums of `increments`.
    ///
    /// # Errors
    /// `Usage` when there are more or fewer of them than points.
    pub fn set_increments(&mut self, increments: &[Increment]) -> Result<()> {
        self.check_len("increments", increments.len())?;
        let mut last = Point::default();
        for (point, step) in self.points.iter_mut().zip(increments) {
            let (sin, cos) = libm::sincos(last.yaw_rad + 0.5 * step.dyaw_rad);
            *point = Point {
                x_m: last.x_m + step.dx_m,
                y_m: last.y_m + step.dy_m,
                yaw_rad: last.yaw_rad + step.dyaw_rad,
                v_mps: (cos * step.dx_m + sin * step.dy_m) / self.step_s,
            };
            last = *point;
        }
        Ok(())
    }

    /// Writes the increments whose running sums are the points.
    ///
    /// # Errors
    /// `Usage` when `out` is longer or shorter than the points.
    pub fn increments(&self, out: &mut [Increment]) -> Result<()> {
        self.check_len("increments", out.len())?;
        let mut last = Point::default();
        for (out, point) in out.iter_mut().zip(&self.points) {
            *out = Increment { dx_m: point.x_m - last.x_m, dy_m: point.y_m - last.y_m, dyaw_rad: point.yaw_rad - last.yaw_rad };
            last = *point;
        }
        Ok(())
    }

    /// Overwrites the points with constant speed and yaw rate: the baseline of the evaluation.
    pub fn set_constant(&mut self, speed_mps: f64, yaw_rate_radps: f64) {
        let mut last = Point::default();
        for (i, point) in self.points.iter_mut().enumerate() {
            let (sin, cos) = libm::sincos(yaw_rate_radps * self.step_s * (i as f64 + 0.5));
            let length = speed_mps * self.step_s;
            *point = Point {
                x_m: last.x_m + cos * length,
                y_m: last.y_m + sin * length,
                yaw_rad: yaw_rate_radps * self.step_s * (i + 1) as f64,
                v_mps: speed_mps,
            };
            last = *point;
        }
    }

    /// Mean and last distance of the points up to `horizon_s` from `truth`: the driven poses at the
    /// same times, in the ego frame at t0.
    ///
    /// # Errors
    /// `Usage` when the horizon is shorter than a step, or points or truth end before it.
    pub fn displacement(&self, truth: &[Pose2], horizon_s: f64) -> Result<Displacement> {
        let steps = libm::round(horizon_s / self.step_s);
        let most = self.points.len().min(truth.len());
        if !(steps >= 1.0 && steps <= most as f64) {
            return Err(Error::new(ErrorKind::Usage, "the horizon is outside of the trajectory or of the driven path")
                .got(format!("{horizon_s} s"))
                .wanted(format!("{} to {} s", self.step_s, most as f64 * self.step_s)));
        }
        let (mut sum, mut last_m) = (0.0, 0.0);
        for (point, truth) in self.points.iter().zip(truth).take(steps as usize) {
            last_m = point.pose().distance_m(truth);
            sum += last_m;
        }
        Ok(Displacement { mean_m: sum / steps, last_m })
    }

    fn check_len(&self, what: &str, got: usize) -> Result<()> {
        if got == self.points.len() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, format!("{what} and points differ in number")).got(got).wanted(self.points.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action;

    fn made() -> Trajectory {
        Trajectory::new(40, 100_000_000).unwrap()
    }

    /// Poses of a circle of `radius` driven at `speed`, as seen from its start, one step apart.
    fn circle(radius: f64, speed: f64) -> Vec<Pose2> {
        (1..=40)
            .map(|i| {
                let angle = speed * 0.1 * f64::from(i) / radius;
                Pose2::new(radius * angle.sin(), radius * (1.0 - angle.cos()), angle)
            })
            .collect()
    }

    #[test]
    fn a_driven_circle_comes_back_from_its_increments_with_its_speed() {
        let start = Pose2::new(100.0, -40.0, 2.9);
        let local = circle(30.0, 8.0);
        let world: Vec<Pose2> = local.iter().map(|p| start.compose(p)).collect();
        let mut steps = vec![Increment::default(); 40];
        action::increments(&start, &world, &mut steps).unwrap();
        let mut trajectory = made();
        trajectory.set_increments(&steps).unwrap();
        for (point, pose) in trajectory.points().iter().zip(&local) {
            assert!(point.pose().distance_m(pose) < 1e-9 && (point.yaw_rad - pose.yaw_rad).abs() < 1e-9, "{point:?} {pose:?}");
            assert!((point.v_mps - 8.0).abs() < 1e-3, "{point:?}");
        }
        let mut back = vec![Increment::default(); 40];
        trajectory.increments(&mut back).unwrap();
        assert!(steps.iter().zip(&back).all(|(a, b)| (a.dx_m - b.dx_m).abs() < 1e-12 && (a.dyaw_rad - b.dyaw_rad).abs() < 1e-12));
        assert!((trajectory.due_s(0) - 0.1).abs() < 1e-12 && (trajectory.due_s(39) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn speed_is_the_forward_part_and_backwards_is_negative() {
        let mut trajectory = Trajectory::new(3, 100_000_000).unwrap();
        let step = |dx_m, dy_m| Increment { dx_m, dy_m, dyaw_rad: 0.0 };
        trajectory.set_increments(&[step(1.0, 0.5), step(-0.2, 0.0), step(0.0, 0.3)]).unwrap();
        let speeds: Vec<f64> = trajectory.points().iter().map(|p| p.v_mps).collect();
        assert!(speeds.iter().zip([10.0, -2.0, 0.0]).all(|(v, w)| (v - w).abs() < 1e-9), "{speeds:?}");
    }

    #[test]
    fn the_constant_baseline_follows_the_circle_whose_speed_and_yaw_rate_it_is_given() {
        let mut trajectory = made();
        trajectory.set_constant(8.0, 8.0 / 30.0);
        let error = trajectory.displacement(&circle(30.0, 8.0), 4.0).unwrap();
        assert!(error.last_m < 2e-3, "{error:?}");
        let mut steps = vec![Increment::default(); 40];
        trajectory.increments(&mut steps).unwrap();
        let mut again = made();
        again.set_increments(&steps).unwrap();
        assert!(again.points().iter().all(|p| (p.v_mps - 8.0).abs() < 1e-9), "the baseline's speed is that of its increments");
    }

    #[test]
    fn displacement_is_the_mean_and_the_last_distance_up_to_the_horizon() {
        let mut trajectory = made();
        trajectory.set_constant(10.0, 0.0);
        // One metre to the left for 3 s, then four metres.
        let truth: Vec<Pose2> = (1..=40).map(|i| Pose2::new(f64::from(i), if i <= 30 { 1.0 } else { 4.0 }, 0.0)).collect();
        let (at_3s, at_4s) = (trajectory.displacement(&truth, 3.0).unwrap(), trajectory.displacement(&truth, 4.0).unwrap());
        assert!((at_3s.mean_m - 1.0).abs() < 1e-9 && (at_3s.last_m - 1.0).abs() < 1e-9, "{at_3s:?}");
        assert!((at_4s.mean_m - 1.75).abs() < 1e-9 && (at_4s.last_m - 4.0).abs() < 1e-9, "{at_4s:?}");
        assert!(trajectory.displacement(&truth[..35], 4.0).is_err());
        for horizon in [0.0, 4.1, f64::NAN, -1.0] {
            assert!(trajectory.displacement(&truth, horizon).is_err(), "{horizon}");
        }
    }

    #[test]
    fn lengths_that_differ_are_refused_and_leave_the_points_as_they_were() {
        let mut trajectory = made();
        trajectory.set_constant(5.0, 0.1);
        let before = trajectory.clone();
        assert!(trajectory.set_increments(&[Increment::default(); 39]).is_err());
        assert!(trajectory.increments(&mut [Increment::default(); 41]).is_err());
        assert_eq!(trajectory, before);
        assert!(Trajectory::new(0, 1).is_err() && Trajectory::new(1, 0).is_err());
    }
}
