//! The trajectory: the poses that the vehicle shall reach, step by step, in the ego frame at t0 (x
//! forward, y left).
//!
//! A [`Trajectory`] is computed from the increments of a chunk. It holds points with speeds, and
//! computes their distance from the driven path. It can also hold the constant-motion baseline,
//! which a policy must beat. It is created once and overwritten by every chunk.

use crate::action::Increment;
use crate::error::{Error, ErrorKind, Result};
use crate::pose::Pose2;

/// One point of a trajectory: four numbers in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Point {
    /// Position ahead of the ego pose at t0, metres.
    pub x_m: f64,
    /// Position to the left of the ego pose at t0, metres.
    pub y_m: f64,
    /// Heading relative to the ego pose at t0, radians, counter-clockwise; not wrapped.
    pub yaw_rad: f64,
    /// Speed over the step that ends here, m/s, measured along the heading at the middle of the
    /// step; negative in reverse.
    pub v_mps: f64,
}

impl Point {
    /// The point without its speed.
    pub fn pose(&self) -> Pose2 {
        Pose2::new(self.x_m, self.y_m, self.yaw_rad)
    }
}

/// Points at a constant time step. Point i is due (i + 1) steps after t0.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    points: Vec<Point>,
    step_s: f64,
}

/// Distances between a trajectory and the driven path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Displacement {
    /// Average displacement error (ADE), metres.
    pub mean_m: f64,
    /// Final displacement error (FDE), metres.
    pub last_m: f64,
}

impl Trajectory {
    /// A trajectory of `poses` points, `step_ns` nanoseconds apart, all at the origin. Sizes for a
    /// model: [`crate::dims::Model::poses`], [`crate::dims::Model::pose_period_ns`].
    ///
    /// # Errors
    /// `Usage` when `poses` is 0 or `step_ns` is not positive.
    pub fn new(poses: usize, step_ns: i64) -> Result<Self> {
        if poses == 0 || step_ns <= 0 {
            return Err(Error::new(ErrorKind::Usage, "the sizes of the trajectory are out of range")
                .got(format!("{poses} poses, {step_ns} ns apart"))
                .wanted("both positive"));
        }
        Ok(Self { points: vec![Point::default(); poses], step_s: step_ns as f64 * 1e-9 })
    }

    /// The points, in order of time.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The points, mutable, for callers that do not compute them from increments.
    pub fn points_mut(&mut self) -> &mut [Point] {
        &mut self.points
    }

    /// Time between two points, seconds.
    pub fn step_s(&self) -> f64 {
        self.step_s
    }

    /// Time at which point `i` is due, seconds after t0.
    pub fn due_s(&self, i: usize) -> f64 {
        (i + 1) as f64 * self.step_s
    }

    /// The point `time_s` after t0, interpolated; the start has the speed of the first step. `None`
    /// before t0 and after the last point.
    pub fn at(&self, time_s: f64) -> Option<Point> {
        let place = time_s / self.step_s;
        if !(place >= 0.0 && place <= self.points.len() as f64) {
            return None;
        }
        let before = libm::floor(place) as usize;
        let start = Point { v_mps: self.points.first()?.v_mps, ..Point::default() };
        let get = |i: usize| if i == 0 { Some(start) } else { self.points.get(i - 1).copied() };
        let a = get(before)?;
        let Some(b) = get(before + 1) else { return Some(a) };
        let share = place - before as f64;
        let pose = a.pose().interpolate(&b.pose(), share);
        Some(Point { x_m: pose.x_m, y_m: pose.y_m, yaw_rad: pose.yaw_rad, v_mps: a.v_mps + share * (b.v_mps - a.v_mps) })
    }

    /// Overwrites the points with the running sums of `increments`.
    ///
    /// # Errors
    /// `Usage` when the numbers of increments and points differ.
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
    /// `Usage` when the length of `out` and the number of points differ.
    pub fn increments(&self, out: &mut [Increment]) -> Result<()> {
        self.check_len("increments", out.len())?;
        let mut last = Point::default();
        for (out, point) in out.iter_mut().zip(&self.points) {
            *out = Increment { dx_m: point.x_m - last.x_m, dy_m: point.y_m - last.y_m, dyaw_rad: point.yaw_rad - last.yaw_rad };
            last = *point;
        }
        Ok(())
    }

    /// Overwrites the points with motion at constant speed and yaw rate, the baseline of the
    /// evaluation.
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

    /// Mean and last distance between the points up to `horizon_s` and `truth`: the driven poses at
    /// the same times, in the ego frame at t0.
    ///
    /// # Errors
    /// `Usage` when the horizon is shorter than a step, or longer than the trajectory or `truth`.
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
    fn a_time_between_two_points_is_interpolated_and_one_outside_has_no_point() {
        let mut trajectory = made();
        trajectory.set_constant(10.0, 0.0);
        for (time_s, x_m) in [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (3.97, 39.7), (4.0, 40.0)] {
            let point = trajectory.at(time_s).unwrap();
            assert!((point.x_m - x_m).abs() < 1e-9 && point.v_mps == 10.0, "{time_s} s: {point:?}");
        }
        assert!([-0.01, 4.01, f64::NAN].iter().all(|time_s| trajectory.at(*time_s).is_none()));
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
