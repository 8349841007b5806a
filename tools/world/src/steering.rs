//! Pure pursuit of the lane.

use crate::car::Ego;
use crate::road::Road;
use drivewam_core::pose::Pose2;

/// Curvature towards a point ahead that lies `aside_m` left of the lane's centre line, for a car at
/// arc length `s_m`.
pub(crate) fn pursue(road: &Road, ego: &Ego, s_m: f64, aside_m: f64) -> f64 {
    let ahead_m = (0.9 * ego.speed_mps).clamp(4.5, 11.0);
    let target = road.at(s_m + ahead_m).pose.compose(&Pose2::new(0.0, aside_m, 0.0)).relative_to(&ego.pose);
    let squared = target.x_m * target.x_m + target.y_m * target.y_m;
    2.0 * target.y_m / squared.max(1.0)
}
