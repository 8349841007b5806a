//! Ego states of a recording that has only poses.
//!
//! A state uses poses up to its own stamp and never later ones: a ride that reads it must not see
//! the future. Over the last [`WINDOW`] poses a parabola is fitted to the signed distance along the
//! heading, and a line to the yaw. The parabola's slope and second derivative at the newest pose
//! are speed and acceleration; the line's slope over the speed is the curvature.

use crate::track::PoseTrack;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::{Pose2, wrap};

/// Poses in one fit: 0.4 s at 10 Hz.
const WINDOW: usize = 5;
/// Below this speed, m/s, the curvature is undefined and set to 0.
const STANDING_MPS: f64 = 0.5;

/// The state at each pose, with its stamp. `first_speed_mps` is the speed at the first pose, which
/// has no earlier pose.
pub(crate) fn ego_states(track: &PoseTrack, first_speed_mps: f64) -> Vec<(i64, EgoState)> {
    let poses = track.as_slice();
    let mut states = Vec::with_capacity(poses.len());
    for (i, &(stamp_ns, _)) in poses.iter().enumerate() {
        let window = poses.get((i + 1).saturating_sub(WINDOW)..=i).unwrap_or_default();
        let state = fit(window).unwrap_or(EgoState { speed_mps: first_speed_mps, acceleration_mps2: 0.0, curvature_1pm: 0.0 });
        states.push((stamp_ns, state));
    }
    states
}

/// The state at the newest pose of `window`; `None` for fewer than two poses.
fn fit(window: &[(i64, Pose2)]) -> Option<EgoState> {
    let (newest_ns, newest) = *window.last().filter(|_| window.len() >= 2)?;
    let seconds: Vec<f64> = window.iter().map(|p| (p.0 - newest_ns) as f64 * 1e-9).collect();
    let yaws: Vec<f64> = window.iter().map(|p| wrap(p.1.yaw_rad - newest.yaw_rad)).collect();
    let mut ways = vec![0.0];
    for pair in window.windows(2) {
        if let [(_, a), (_, b)] = pair {
            let (sin, cos) = libm::sincos(a.yaw_rad + 0.5 * wrap(b.yaw_rad - a.yaw_rad));
            ways.push(ways.last()? + cos * (b.x_m - a.x_m) + sin * (b.y_m - a.y_m));
        }
    }
    let (speed_mps, acceleration_mps2) = parabola(&seconds, &ways).or_else(|| line(&seconds, &ways).map(|slope| (slope, 0.0)))?;
    let yaw_rate = line(&seconds, &yaws)?;
    let curvature_1pm = if speed_mps.abs() < STANDING_MPS { 0.0 } else { yaw_rate / speed_mps };
    Some(EgoState { speed_mps, acceleration_mps2, curvature_1pm })
}

/// Slope of the least-squares line; `None` if all `t` are equal.
fn line(t: &[f64], y: &[f64]) -> Option<f64> {
    let n = t.len() as f64;
    let (mt, my) = (t.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut tt, mut ty) = (0.0, 0.0);
    for (t, y) in t.iter().zip(y) {
        tt += (t - mt) * (t - mt);
        ty += (t - mt) * (y - my);
    }
    (tt > 0.0).then(|| ty / tt)
}

/// Slope and second derivative at t = 0 of the least-squares parabola; `None` for fewer than three
/// points.
fn parabola(t: &[f64], y: &[f64]) -> Option<(f64, f64)> {
    if t.len() < 3 {
        return None;
    }
    let n = t.len() as f64;
    let mean = |f: &dyn Fn(f64, f64) -> f64| t.iter().zip(y).map(|(&t, &y)| f(t, y)).sum::<f64>() / n;
    let (t1, t2, my) = (mean(&|t, _| t), mean(&|t, _| t * t), mean(&|_, y| y));

    let (a, b, c) = (mean(&|t, _| (t - t1) * (t - t1)), mean(&|t, _| (t - t1) * (t * t - t2)), mean(&|t, _| (t * t - t2) * (t * t - t2)));
    let (p, q) = (mean(&|t, y| (t - t1) * (y - my)), mean(&|t, y| (t * t - t2) * (y - my)));
    let det = a * c - b * b;
    (det > 0.0).then(|| ((p * c - q * b) / det, 2.0 * (a * q - b * p) / det))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when the fit looks ahead, or when slope and second derivative are taken in the middle
    /// of the window instead of at its end.
    #[test]
    fn constant_acceleration_on_a_circle_is_found_exactly_from_the_past_alone() {
        let at = |t: f64| {
            let way = 3.0 * t + 0.75 * t * t;
            let yaw = 0.02 * way;
            Pose2::new(yaw.sin() / 0.02, (1.0 - yaw.cos()) / 0.02, yaw)
        };
        let poses: Vec<(i64, Pose2)> = (0..20).map(|i| (i64::from(i) * 100_000_000, at(f64::from(i) * 0.1))).collect();
        let states = ego_states(&PoseTrack::new(poses.clone()), 3.0);
        let (_, end) = states[19];
        assert!((end.speed_mps - (3.0 + 1.5 * 1.9)).abs() < 1e-3, "{end:?}");
        assert!((end.acceleration_mps2 - 1.5).abs() < 1e-2, "{end:?}");
        assert!((end.curvature_1pm - 0.02).abs() < 2e-3, "{end:?}");
        let cut = ego_states(&PoseTrack::new(poses[..12].to_vec()), 3.0);
        assert_eq!(cut[..], states[..12], "a state changed when the poses after it were taken away");
        assert_eq!(states[0].1.speed_mps, 3.0);
    }
}
