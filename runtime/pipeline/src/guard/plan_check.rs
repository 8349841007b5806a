//! Whether a plan keeps the limits of the vehicle.
//!
//! Accelerations and side-slip are judged over half a second, curvatures over half a metre: noise
//! dominates in increments of a tenth of a second.

use super::causes::{Cause, CauseKind, VehicleLimit};
use drivewam_core::config::VehicleConfig;
use drivewam_core::trajectory::Point;

/// Window for accelerations and side-slip, poses.
const WINDOW: usize = 5;
/// Motion across the heading within the window that counts as noise, m.
const SIDE_SLIP_M: f64 = 0.5;
/// Motion across the heading that a slipping car may add, as a share of the motion along it.
const SIDE_SLIP_SHARE: f64 = 0.2;
/// Turn within the window that counts as noise where the car hardly moves, rad.
const TURN_ON_THE_SPOT_RAD: f64 = 0.15;
/// Distance over which a curvature is taken, m. Shorter distances give only the noise of the poses.
const CURVATURE_DISTANCE_M: f64 = 0.5;

/// The first violation of a plan that begins at `speed_mps`, with poses `step_s` apart.
pub(super) fn violation(vehicle: &VehicleConfig, step_s: f64, points: &[Point], speed_mps: f64) -> Option<Cause> {
    if let Some(pose) = points.iter().position(|p| ![p.x_m, p.y_m, p.yaw_rad, p.v_mps].iter().all(|v| v.is_finite())) {
        return Some(Cause::at(CauseKind::NotFinite, pose, pose as f64, f64::NAN));
    }
    let over = |limit, pose, got: f64, most: f64| (got.abs() > most).then(|| Cause::at(CauseKind::Limit(limit), pose, got, most));
    let mut before = Point::default();
    for (pose, point) in points.iter().enumerate() {
        let speed = (point.x_m - before.x_m).hypot(point.y_m - before.y_m) / step_s;
        let broken = over(VehicleLimit::Speed, pose, speed, vehicle.max_speed_mps);
        if broken.is_some() {
            return broken;
        }
        before = *point;
        let Some(from) = (pose + 1).checked_sub(WINDOW) else { continue };
        let start = from.checked_sub(1).map_or(Point { v_mps: speed_mps, ..Point::default() }, |i| points[i]);
        let acceleration = (point.v_mps - start.v_mps) / (WINDOW as f64 * step_s);
        let broken = if acceleration > 0.0 {
            over(VehicleLimit::Acceleration, pose, acceleration, vehicle.max_acceleration_mps2)
        } else {
            over(VehicleLimit::Deceleration, pose, acceleration, vehicle.max_deceleration_mps2)
        };
        let broken = broken.or_else(|| side_slip(vehicle, pose, &start, point));
        if broken.is_some() {
            return broken;
        }
    }
    curvatures(points).find_map(|(pose, curvature)| {
        let lateral = curvature * points[pose].v_mps * points[pose].v_mps;
        over(VehicleLimit::Curvature, pose, curvature, vehicle.max_curvature_1pm)
            .or_else(|| over(VehicleLimit::LateralAcceleration, pose, lateral, vehicle.max_lateral_acceleration_mps2))
    })
}

/// Motion across the heading, or a turn on the spot, from `start` to `end`.
fn side_slip(vehicle: &VehicleConfig, pose: usize, start: &Point, end: &Point) -> Option<Cause> {
    let (dx, dy, turn) = (end.x_m - start.x_m, end.y_m - start.y_m, end.yaw_rad - start.yaw_rad);
    let (sin, cos) = libm::sincos(start.yaw_rad + 0.5 * turn);
    let (along, across) = ((dx * cos + dy * sin).abs(), (dy * cos - dx * sin).abs());
    let most = SIDE_SLIP_M + SIDE_SLIP_SHARE * along;
    let spins = turn.abs() > TURN_ON_THE_SPOT_RAD + vehicle.max_curvature_1pm * dx.hypot(dy);
    (across > most || spins).then(|| Cause::at(CauseKind::SideSlip, pose, across, most))
}

/// Curvatures, 1/m, between poses at least [`CURVATURE_DISTANCE_M`] apart, each with the index of
/// the later pose.
fn curvatures(points: &[Point]) -> impl Iterator<Item = (usize, f64)> {
    let mut from = Point::default();
    points.iter().enumerate().filter_map(move |(pose, to)| {
        let distance = (to.x_m - from.x_m).hypot(to.y_m - from.y_m);
        if distance < CURVATURE_DISTANCE_M {
            return None;
        }
        let curvature = (to.yaw_rad - from.yaw_rad) / distance;
        from = *to;
        Some((pose, curvature))
    })
}

/// Curvature, 1/m, and speed, m/s, at the end of a plan.
pub(super) fn end_of(points: &[Point]) -> (f64, f64) {
    let curvature = curvatures(points).last().map_or(0.0, |(_, curvature)| curvature);
    (curvature, points.last().map_or(0.0, |p| p.v_mps.max(0.0)))
}
