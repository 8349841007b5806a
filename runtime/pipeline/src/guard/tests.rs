//! The guard always answers, and gives the reason.

use super::*;

fn guard() -> Guard {
    let vehicle = VehicleConfig {
        name: "test".to_owned(),
        max_speed_mps: 25.0,
        max_acceleration_mps2: 6.0,
        max_deceleration_mps2: 10.0,
        max_curvature_1pm: 0.25,
        max_lateral_acceleration_mps2: 8.0,
        trusted_keys: Vec::new(),
        revoked_keys: Vec::new(),
    };
    Guard::new(Settings::default(), vehicle, 0.1)
}

fn plan(speed_mps: f64, curvature_1pm: f64) -> Trajectory {
    let mut plan = Trajectory::new(40, 100_000_000).unwrap();
    arc(&mut plan, 0.1, curvature_1pm, speed_mps, 0.0);
    plan
}

#[test]
fn a_plan_within_the_limits_goes_out_as_it_is() {
    let (mut guard, mut out) = (guard(), Trajectory::new(40, 100_000_000).unwrap());
    let plan = plan(10.0, 0.02);
    assert_eq!(guard.judge(&plan, 10.0, Some(2.9), Some(-1.0), &mut out), (Verdict::Accepted, None));
    assert_eq!(out, plan);
}

#[test]
fn every_limit_is_judged_and_named() {
    struct Case {
        plan: Trajectory,
        ego_mps: f64,
        continuity_m: Option<f64>,
        word: &'static str,
    }
    let mut broken = plan(5.0, 0.0);
    broken.points_mut()[17].yaw_rad = f64::NAN;
    let mut braking = plan(20.0, 0.0);
    for (i, point) in braking.points_mut().iter_mut().enumerate().skip(10) {
        point.v_mps = (20.0 - 1.2 * (i - 10) as f64).max(0.0);
    }
    let mut sideways = plan(0.0, 0.0);
    for (i, point) in sideways.points_mut().iter_mut().enumerate() {
        point.y_m = 0.4 * (i + 1) as f64;
    }
    let mut spinning = plan(0.0, 0.0);
    for (i, point) in spinning.points_mut().iter_mut().enumerate() {
        point.yaw_rad = 0.1 * (i + 1) as f64;
    }
    let cases = [
        Case { plan: sideways, ego_mps: 0.0, continuity_m: None, word: "across the heading" },
        Case { plan: spinning, ego_mps: 0.0, continuity_m: None, word: "turns on the spot" },
        Case { plan: broken, ego_mps: 5.0, continuity_m: None, word: "pose 17 is not finite" },
        Case { plan: plan(26.0, 0.0), ego_mps: 26.0, continuity_m: None, word: "vehicle.max_speed_mps" },
        Case { plan: plan(10.0, 0.0), ego_mps: 5.0, continuity_m: None, word: "vehicle.max_acceleration_mps2" },
        Case { plan: braking, ego_mps: 20.0, continuity_m: None, word: "vehicle.max_deceleration_mps2" },
        Case { plan: plan(3.0, 0.3), ego_mps: 3.0, continuity_m: None, word: "vehicle.max_curvature_1pm" },
        Case { plan: plan(12.0, -0.1), ego_mps: 12.0, continuity_m: None, word: "vehicle.max_lateral_acceleration_mps2" },
        Case { plan: plan(5.0, 0.0), ego_mps: 5.0, continuity_m: Some(3.1), word: "ended elsewhere" },
    ];
    let mut failures = Vec::new();
    for case in cases {
        let (mut guard, mut out) = (guard(), Trajectory::new(40, 100_000_000).unwrap());
        let (verdict, reason) = guard.judge(&case.plan, case.ego_mps, case.continuity_m, None, &mut out);
        let text = reason.map(|r| r.to_string()).unwrap_or_default();
        if verdict != Verdict::MinimalRisk || !text.contains(case.word) {
            failures.push(format!("{}: {verdict:?} {text}", case.word));
        }
        // Half of the vehicle's 10 m/s² for 4 s.
        let end_mps = (case.ego_mps - 20.0).max(0.0);
        if out.points().iter().any(|p| !p.x_m.is_finite()) || (out.points()[39].v_mps - end_mps).abs() > 1e-9 {
            failures.push(format!("{}: what goes out does not brake", case.word));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_refused_plan_is_held_once_and_then_minimal_risk_is_asked_for() {
    let (mut guard, mut out) = (guard(), Trajectory::new(40, 100_000_000).unwrap());
    guard.judge(&plan(8.0, 0.05), 8.0, None, None, &mut out);
    let fault = Reason::Fault(ErrorKind::Engine);
    assert_eq!(guard.refuse(fault, Some(8.0), &mut out), (Verdict::Held, Some(fault)));
    let last = out.points()[39];
    assert!((last.v_mps - 8.0).abs() < 1e-9 && (last.yaw_rad - 8.0 * 4.0 * 0.05).abs() < 0.01, "{last:?}");
    assert_eq!(guard.refuse(fault, Some(8.0), &mut out).0, Verdict::MinimalRisk);
    assert_eq!(guard.judge(&plan(8.0, 0.0), 8.0, None, None, &mut out).0, Verdict::Accepted);
    assert_eq!(guard.refuse(fault, Some(8.0), &mut out).0, Verdict::Held, "an accepted plan may be held again");
}

#[test]
fn a_standing_car_whose_poses_jitter_breaks_no_limit() {
    let mut plan = plan(0.0, 0.0);
    for (i, point) in plan.points_mut().iter_mut().enumerate() {
        *point = Point { x_m: 0.01 * (i % 2) as f64, y_m: 0.0, yaw_rad: 0.01 * (i % 3) as f64, v_mps: 0.1 };
    }
    assert_eq!(guard().judge(&plan, 0.0, None, None, &mut Trajectory::new(40, 100_000_000).unwrap()).0, Verdict::Accepted);
}

#[test]
fn a_plan_that_is_ready_after_its_own_end_does_not_go_out() {
    let (mut guard, mut out) = (guard(), Trajectory::new(40, 100_000_000).unwrap());
    let (verdict, reason) = guard.judge(&plan(8.0, 0.0), 8.0, None, Some(12.0), &mut out);
    assert_eq!((verdict, reason), (Verdict::MinimalRisk, Some(Reason::Late { by_ms: 12.0 })));
}

#[test]
fn a_car_that_was_stopped_by_somebody_else_is_not_told_to_hold_its_old_speed() {
    let (mut guard, mut out) = (guard(), Trajectory::new(40, 100_000_000).unwrap());
    guard.judge(&plan(12.0, 0.0), 12.0, None, None, &mut out);
    assert_eq!(guard.refuse(Reason::Expired, Some(0.0), &mut out).0, Verdict::MinimalRisk);
    assert!(out.points().iter().all(|p| p.x_m == 0.0), "a standing car stays where it is");
}

#[test]
fn without_an_ego_state_the_last_known_speed_is_braked_from() {
    let (mut guard, mut out) = (guard(), Trajectory::new(40, 100_000_000).unwrap());
    guard.judge(&plan(20.0, 0.0), 20.0, None, None, &mut out);
    guard.refuse(Reason::Expired, None, &mut out);
    let (verdict, _) = guard.refuse(Reason::Expired, None, &mut out);
    assert_eq!(verdict, Verdict::MinimalRisk);
    assert!(out.points()[39].x_m > 30.0 && out.points()[0].v_mps > 19.0, "{:?}", out.points()[39]);
}
