//! Each contradiction is found by its own name, and true motion has none.

use super::*;
use std::collections::BTreeMap;

/// A car of 12 m/s that turns with 0.02 1/m, every 100 ms for 8 s, as `change` alters it. Returns
/// the kinds found, each with its first time and figures.
fn found(change: impl Fn(f64, Pose2, f64) -> (Pose2, f64)) -> BTreeMap<&'static str, FoundConflict> {
    let (mut check, mut kinds) = (MotionCheck::default(), BTreeMap::new());
    for tick in 0..80i64 {
        let (t, yaw) = (tick as f64 * 0.1, 0.1 + 0.24 * tick as f64 * 0.1);
        let pose = Pose2::new(50.0 * (libm::sin(yaw) - libm::sin(0.1)), -50.0 * (libm::cos(yaw) - libm::cos(0.1)), yaw);
        let (pose, speed) = change(t, pose, 12.0);
        check.push(tick * 100_000_000, pose, Some(speed), |found| {
            kinds.entry(found.kind.as_str()).or_insert(found);
        });
    }
    kinds
}

/// Breaks if a contradiction passes, or is told under another name, or later than 1.3 s after its
/// begin at 2 s.
#[test]
fn every_contradiction_has_its_name_and_is_found_within_a_segment() {
    type Change = fn(f64, Pose2, f64) -> (Pose2, f64);
    let cases: [(&str, &str, Change); 9] = [
        ("speed in km/h", "speed_mismatch", |_, p, v| (p, 3.6 * v)),
        ("speed stuck at zero", "speed_mismatch", |t, p, v| (p, if t < 2.0 { v } else { 0.0 })),
        ("poses frozen", "poses_frozen", |t, p, v| (if t < 2.0 { p } else { Pose2::new(20.0, 5.0, 1.0) }, v)),
        ("a jump of 100 m", "pose_jump", |t, p, v| (Pose2 { x_m: p.x_m + if t < 2.05 { 0.0 } else { 100.0 }, ..p }, v)),
        ("a jump of 3 m", "pose_jump", |t, p, v| (Pose2 { x_m: p.x_m + if t < 2.05 { 0.0 } else { 3.0 }, ..p }, v)),
        ("axes swapped", "heading_mismatch", |_, p, v| (Pose2 { x_m: p.y_m, y_m: p.x_m, ..p }, v)),
        ("yaw in degrees", "yaw_jump", |_, p, v| (Pose2 { yaw_rad: p.yaw_rad.to_degrees(), ..p }, v)),
        ("heading the other way", "heading_mismatch", |_, p, v| (Pose2 { yaw_rad: p.yaw_rad + 3.1, ..p }, v)),
        ("positions in cm", "speed_mismatch", |_, p, v| (Pose2 { x_m: 0.01 * p.x_m, y_m: 0.01 * p.y_m, ..p }, v)),
    ];
    let mut failures = Vec::new();
    for (name, wanted, change) in cases {
        let kinds = found(change);
        match kinds.get(wanted) {
            Some(found) if found.stamp_ns <= 3_300_000_000 => {}
            other => failures.push(format!("{name}: wanted {wanted}, got {other:?} of {:?}", kinds.keys())),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Breaks if noise of a good receiver, a reverse drive, a stop or a slow start counts as a
/// contradiction.
#[test]
fn true_motion_has_no_contradiction() {
    let noise = |t: f64, k: f64| 0.03 * libm::sin(t * 1000.0 * k);
    assert_eq!(found(|_, p, v| (p, v)), BTreeMap::new(), "a turn");
    assert_eq!(
        found(|t, p, v| (Pose2::new(p.x_m + noise(t, 1.3), p.y_m + noise(t, 2.1), p.yaw_rad + noise(t, 0.7)), v + 0.3)),
        BTreeMap::new(),
        "3 cm of noise"
    );
    assert_eq!(found(|_, p, v| (Pose2 { yaw_rad: p.yaw_rad + std::f64::consts::PI, ..p }, -v)), BTreeMap::new(), "a reverse drive");
    let braking = |t: f64, v0: f64, a: f64| {
        let end = (v0 / a).min(t);
        (v0 * end - 0.5 * a * end * end, v0 - a * end)
    };
    let stop = |t: f64, _: Pose2, _: f64| {
        let (x_m, speed) = braking(t, 12.0, 4.0);
        (Pose2::new(x_m, 0.0, 0.0), speed)
    };
    assert_eq!(found(stop), BTreeMap::new(), "a stop from 12 m/s with 4 m/s²");
    assert_eq!(found(|_, _, _| (Pose2::default(), 0.0)), BTreeMap::new(), "a red light");
}

/// Breaks if poses without speeds are judged by a speed.
#[test]
fn without_speeds_only_jumps_are_found() {
    let (mut check, mut kinds) = (MotionCheck::default(), Vec::new());
    for tick in 0..40i64 {
        let x_m = tick as f64 + if tick < 20 { 0.0 } else { 50.0 };
        check.push(tick * 100_000_000, Pose2::new(x_m, 0.0, 2.0), None, |found| kinds.push((found.kind, found.stamp_ns)));
    }
    assert_eq!(kinds, [(MotionConflict::PoseJump, 2_000_000_000)]);
}
