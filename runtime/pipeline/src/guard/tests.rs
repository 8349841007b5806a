//! The guard always answers, and gives the cause.

use super::*;
use drivewam_core::ErrorKind;
use drivewam_core::manifest::Monitor;

const CHUNK_NS: i64 = 4_000_000_000;

fn vehicle() -> VehicleConfig {
    VehicleConfig {
        name: "test".to_owned(),
        max_speed_mps: 25.0,
        max_acceleration_mps2: 6.0,
        max_deceleration_mps2: 10.0,
        max_curvature_1pm: 0.25,
        max_lateral_acceleration_mps2: 8.0,
        trusted_keys: Vec::new(),
        revoked_keys: Vec::new(),
    }
}

fn blank() -> Trajectory {
    Trajectory::new(40, 100_000_000).unwrap()
}

/// A guard of a car that follows the plans if `latches`.
fn guard(latches: bool) -> Guard {
    Guard::new(Settings::default(), vehicle(), &blank(), CHUNK_NS, latches)
}

fn plan(speed_mps: f64, curvature_1pm: f64) -> Trajectory {
    let mut plan = blank();
    let mut at = Point::default();
    for point in plan.points_mut() {
        at = along(&at, curvature_1pm, speed_mps, speed_mps, 0.1);
        *point = at;
    }
    plan
}

fn at(now_ns: i64, speed_mps: f64) -> Situation {
    Situation { now_ns, pose: Some(Pose2::default()), speed_mps: Some(speed_mps) }
}

/// Judges a plan whose newest frame was captured at `t0_ns`, and publishes at once.
fn judge(guard: &mut Guard, plan: &Trajectory, t0_ns: i64, speed_mps: f64, out: &mut Trajectory) -> Answer {
    let start = PlanStart { t0_ns, pose: Some(Pose2::default()), speed_mps };
    guard.judge(plan, start, at(t0_ns, speed_mps), &mut Causes::default(), out)
}

fn refuse(guard: &mut Guard, kind: CauseKind, at: Situation, out: &mut Trajectory) -> Answer {
    let mut causes = Causes::NONE;
    causes.add(Cause::new(kind, 1.0, 0.0));
    guard.refuse(at, &mut causes, out)
}

const FAULT: CauseKind = CauseKind::Fault(ErrorKind::Engine);

#[test]
fn a_plan_within_the_limits_goes_out_as_it_is() {
    let (mut guard, mut out) = (guard(true), blank());
    let plan = plan(10.0, 0.02);
    let answer = judge(&mut guard, &plan, 7, 10.0, &mut out);
    assert_eq!((answer.verdict, answer.cause, answer.t0_ns, answer.anchor_ns), (Verdict::Accepted, None, Some(7), 7));
    assert_eq!(out, plan);
}

/// Breaks if a limit is not judged, or if what goes out in its place does not brake.
#[test]
fn every_limit_is_judged_and_named() {
    struct Case {
        plan: Trajectory,
        ego_mps: f64,
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
        Case { plan: sideways, ego_mps: 0.0, word: "across the heading" },
        Case { plan: spinning, ego_mps: 0.0, word: "turns on the spot" },
        Case { plan: broken, ego_mps: 5.0, word: "pose 17 is not finite" },
        Case { plan: plan(26.0, 0.0), ego_mps: 26.0, word: "vehicle.max_speed_mps" },
        Case { plan: plan(10.0, 0.0), ego_mps: 5.0, word: "vehicle.max_acceleration_mps2" },
        Case { plan: braking, ego_mps: 20.0, word: "vehicle.max_deceleration_mps2" },
        Case { plan: plan(3.0, 0.3), ego_mps: 3.0, word: "vehicle.max_curvature_1pm" },
        Case { plan: plan(12.0, -0.1), ego_mps: 12.0, word: "vehicle.max_lateral_acceleration_mps2" },
    ];
    let mut failures = Vec::new();
    for case in cases {
        let (mut guard, mut out) = (guard(true), blank());
        let answer = judge(&mut guard, &case.plan, 0, case.ego_mps, &mut out);
        let text = answer.cause.map(|cause| cause.to_string()).unwrap_or_default();
        if answer.verdict != Verdict::MinimalRisk || !text.contains(case.word) {
            failures.push(format!("{}: {:?} {text}", case.word, answer.verdict));
        }
        // Half of the vehicle's 10 m/s² for 4 s.
        let end_mps = (case.ego_mps - 20.0).max(0.0);
        if out.points().iter().any(|p| !p.x_m.is_finite()) || (out.points()[39].v_mps - end_mps).abs() > 1e-9 {
            failures.push(format!("{}: what goes out does not brake", case.word));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Breaks if a kind gets another verdict than the table of `decide` says, in any state.
#[test]
fn the_verdict_depends_on_the_strongest_response_and_the_state() {
    use Response::{Degrade, Distrust, Doubt, Refuse, Reject, Stop};
    let (accepted, held, risk) = (Verdict::Accepted, Verdict::Held, Verdict::MinimalRisk);
    let states = [GuardState::Start, GuardState::Driving, GuardState::Holding { since_ns: 0 }, GuardState::MinimalRisk];
    for (response, may_hold, wanted) in [
        (None, true, [accepted; 4]),
        (Some(Degrade), true, [accepted; 4]),
        (Some(Doubt), true, [accepted; 4]),
        (Some(Distrust), true, [accepted; 4]),
        (Some(Refuse), true, [risk, held, held, risk]),
        (Some(Refuse), false, [risk; 4]),
        (Some(Reject), false, [risk; 4]),
        (Some(Stop), true, [risk; 4]),
    ] {
        assert_eq!(states.map(|state| causes::decide(response, state, may_hold)), wanted, "{response:?}, may hold: {may_hold}");
    }
}

/// Breaks if a doubt refuses a plan at once, or never.
#[test]
fn a_doubt_refuses_the_plan_when_it_is_found_three_times_in_a_row() {
    for (in_a_row, wanted) in [(1, Verdict::Accepted), (2, Verdict::Accepted), (3, Verdict::MinimalRisk)] {
        let (mut guard, mut causes) = (guard(true), Causes::NONE);
        causes.add(Cause { in_a_row, ..Cause::new(CauseKind::CameraBlank, 0.1, 3.0) });
        let start = PlanStart { t0_ns: 0, pose: None, speed_mps: 5.0 };
        let answer = guard.judge(&plan(5.0, 0.0), start, at(0, 5.0), &mut causes, &mut blank());
        assert_eq!(answer.verdict, wanted, "{in_a_row} in a row");
    }
}

/// Breaks if a plan that rests on the same pictures is continued where they are not trusted, if a
/// single doubt keeps back a plan, which may answer a danger that is rare, or if a plan goes out
/// that rests on a picture that is certainly wrong.
#[test]
fn distrust_stops_the_car_where_a_doubt_continues_the_plan_before() {
    let scene = CauseKind::Monitor(Monitor::Scene);
    for (kind, in_a_row, wanted) in [
        (CauseKind::CameraBlank, 3, Verdict::Held),
        (scene, 2, Verdict::Accepted),
        (scene, 3, Verdict::MinimalRisk),
        (CauseKind::CameraJump, 1, Verdict::Held),
        (CauseKind::CameraJump, 2, Verdict::MinimalRisk),
    ] {
        let (mut guard, mut out) = (guard(false), blank());
        judge(&mut guard, &plan(5.0, 0.0), 0, 5.0, &mut out);
        let mut causes = Causes::NONE;
        causes.add(Cause { in_a_row, ..Cause::new(kind, 0.9, 0.5) });
        let start = PlanStart { t0_ns: CHUNK_NS, pose: None, speed_mps: 5.0 };
        let answer = guard.judge(&plan(5.0, 0.0), start, at(CHUNK_NS, 5.0), &mut causes, &mut out);
        assert_eq!(answer.verdict, wanted, "{kind:?}, {in_a_row} in a row");
    }
}

/// Breaks if a car brakes straight on where its plan turns, beyond the plan's end on its own, or
/// farther or faster than the plan led; or if a plan that is not at hand is braked along.
#[test]
fn minimal_risk_brakes_along_what_is_left_of_the_plan() {
    // Straight on for two seconds, then a bend to the left.
    let mut bend = blank();
    let mut point = Point::default();
    for (i, slot) in bend.points_mut().iter_mut().enumerate() {
        point = along(&point, if i < 20 { 0.0 } else { 0.2 }, 6.0, 6.0, 0.1);
        *slot = point;
    }
    let stop = CauseKind::Silent(InputStream::Frames);
    let braked = |from_s: f64, left_m: f64, speed_mps: f64| {
        let (mut guard, mut out) = (guard(true), blank());
        judge(&mut guard, &bend, 0, speed_mps, &mut out);
        let on = bend.at(from_s).unwrap();
        let pose = on.pose().compose(&Pose2::new(0.0, left_m, 0.0));
        let here = Situation { now_ns: (from_s * 1e9) as i64, pose: Some(pose), speed_mps: Some(speed_mps) };
        assert_eq!(refuse(&mut guard, stop, here, &mut out).verdict, Verdict::MinimalRisk);
        let ends: Vec<Pose2> = out.points().iter().map(|p| pose.compose(&p.pose())).collect();
        (out, ends)
    };
    let off_path = |pose: &Pose2| bend.points().iter().map(|p| p.pose().distance_m(pose)).fold(f64::INFINITY, f64::min);
    // At half of 10 m/s² it stands after 3.6 m, all of them in the bend.
    let (out, ends) = braked(1.8, 0.0, 6.0);
    let last = out.points()[39];
    assert!((last.x_m.hypot(last.y_m) - 3.6).abs() < 0.15 && last.v_mps == 0.0, "{last:?}");
    // The points of the plan lie 0.6 m apart.
    assert!(ends.iter().all(|pose| off_path(pose) < 0.31) && last.yaw_rad > 0.3, "{last:?}");
    // Beyond the end of the plan the bend goes on.
    let (out, _) = braked(3.9, 0.0, 6.0);
    assert!(out.points()[39].yaw_rad > 0.5, "{:?}", out.points()[39]);
    // A car that is slower than its plan goes no farther for it.
    let (out, _) = braked(1.8, 0.0, 2.0);
    assert!(out.points()[39].x_m < 0.5, "{:?}", out.points()[39]);
    // One far beside its plan does not jump.
    let (out, _) = braked(0.5, 2.0, 6.0);
    assert!(out.points().iter().all(|p| p.y_m >= 0.0), "{:?}", out.points()[0]);
}

/// Breaks if a hold lasts longer than `guard.max_hold_chunks`, or is anchored in the past.
#[test]
fn a_refused_plan_is_held_for_a_chunk_and_then_minimal_risk_is_asked_for() {
    let (mut guard, mut out) = (guard(false), blank());
    judge(&mut guard, &plan(8.0, 0.05), 0, 8.0, &mut out);
    let answer = refuse(&mut guard, FAULT, at(CHUNK_NS, 8.0), &mut out);
    assert_eq!((answer.verdict, answer.t0_ns, answer.anchor_ns), (Verdict::Held, Some(0), CHUNK_NS));
    let last = out.points()[39];
    assert!((last.v_mps - 8.0).abs() < 1e-9 && (last.yaw_rad - 8.0 * 4.0 * 0.05).abs() < 0.01, "{last:?}");
    assert_eq!(refuse(&mut guard, FAULT, at(2 * CHUNK_NS - 1, 8.0), &mut out).verdict, Verdict::Held);
    assert_eq!(refuse(&mut guard, FAULT, at(2 * CHUNK_NS, 8.0), &mut out).verdict, Verdict::MinimalRisk);
    assert_eq!(judge(&mut guard, &plan(8.0, 0.0), 3 * CHUNK_NS, 8.0, &mut out).verdict, Verdict::Accepted);
    assert_eq!(refuse(&mut guard, FAULT, at(4 * CHUNK_NS, 8.0), &mut out).verdict, Verdict::Held, "an accepted plan may be held again");
}

/// Breaks if a hold in the middle of a plan jumps to its end.
#[test]
fn what_is_left_of_a_plan_is_continued_from_where_the_car_is() {
    let (mut guard, mut out) = (guard(true), blank());
    let mut slowing = blank();
    let mut point = Point::default();
    for (i, slot) in slowing.points_mut().iter_mut().enumerate() {
        let from = 10.0 - 0.1 * i as f64;
        point = along(&point, 0.0, from, from - 0.1, 0.1);
        *slot = point;
    }
    judge(&mut guard, &slowing, 0, 10.0, &mut out);
    // One second later the car is where the plan leads, 0.3 m to the left.
    let here = Situation { now_ns: 1_000_000_000, pose: Some(Pose2::new(slowing.points()[9].x_m, 0.3, 0.0)), speed_mps: Some(9.0) };
    let answer = refuse(&mut guard, CauseKind::TimeBackwards, here, &mut out);
    assert_eq!((answer.verdict, answer.anchor_ns), (Verdict::Held, 1_000_000_000));
    for (i, speed) in [(0, 8.9), (29, 6.0), (39, 6.0)] {
        assert!((out.points()[i].v_mps - speed).abs() < 1e-6, "{i}: {:?}", out.points()[i]);
    }
    assert!((out.points()[0].x_m - 0.895).abs() < 1e-6 && (out.points()[0].y_m + 0.3).abs() < 1e-9, "{:?}", out.points()[0]);
}

/// Breaks if braking is broken off by a plan, by a silence or by a new beginning before the car
/// stands.
#[test]
fn minimal_risk_stays_until_the_car_stands_or_is_released() {
    let (mut guard, mut out) = (guard(true), blank());
    judge(&mut guard, &plan(9.0, 0.0), 0, 9.0, &mut out);
    assert_eq!(refuse(&mut guard, CauseKind::Silent(InputStream::Frames), at(1, 9.0), &mut out).verdict, Verdict::MinimalRisk);
    let answer = judge(&mut guard, &plan(4.0, 0.0), 2, 4.0, &mut out);
    assert_eq!((answer.verdict, answer.cause.map(|c| c.kind)), (Verdict::MinimalRisk, Some(CauseKind::MinimalRiskLatched)));
    assert_eq!(refuse(&mut guard, FAULT, at(3, 4.0), &mut out).verdict, Verdict::MinimalRisk, "not held at 4 m/s");
    guard.forget();
    assert_eq!(judge(&mut guard, &plan(2.0, 0.0), 4, 2.0, &mut out).verdict, Verdict::MinimalRisk, "a new beginning opens nothing");
    assert_eq!(judge(&mut guard, &plan(0.0, 0.0), 5, 0.0, &mut out).verdict, Verdict::Accepted, "the car stands");
    refuse(&mut guard, CauseKind::Silent(InputStream::Poses), at(6, 3.0), &mut out);
    guard.release();
    assert_eq!(judge(&mut guard, &plan(3.0, 0.0), 7, 3.0, &mut out).verdict, Verdict::Accepted, "it was released");
}

/// Breaks if a plan that rests on older frames replaces one that rests on newer ones.
#[test]
fn plans_go_out_in_the_order_of_their_frames() {
    let (mut guard, mut out) = (guard(true), blank());
    judge(&mut guard, &plan(8.0, 0.0), 11_300_000_000, 8.0, &mut out);
    let answer = judge(&mut guard, &plan(8.0, 0.0), 9_000_000_000, 8.0, &mut out);
    assert_eq!(
        (answer.verdict, answer.t0_ns),
        (Verdict::MinimalRisk, Some(11_300_000_000)),
        "the plan's rest lies in the past of this call"
    );
    assert_eq!(answer.cause.map(|cause| (cause.as_str(), cause.value)), Some(("out_of_order", 2300.0)));
}

#[test]
fn a_standing_car_whose_poses_jitter_breaks_no_limit() {
    let mut plan = plan(0.0, 0.0);
    for (i, point) in plan.points_mut().iter_mut().enumerate() {
        *point = Point { x_m: 0.01 * (i % 2) as f64, y_m: 0.0, yaw_rad: 0.01 * (i % 3) as f64, v_mps: 0.1 };
    }
    assert_eq!(judge(&mut guard(true), &plan, 0, 0.0, &mut blank()).verdict, Verdict::Accepted);
}

#[test]
fn a_car_that_was_stopped_by_somebody_else_is_not_told_to_hold_its_old_speed() {
    let (mut guard, mut out) = (guard(true), blank());
    judge(&mut guard, &plan(12.0, 0.0), 0, 12.0, &mut out);
    assert_eq!(refuse(&mut guard, CauseKind::Expired, at(CHUNK_NS, 0.0), &mut out).verdict, Verdict::MinimalRisk);
    assert!(out.points().iter().all(|p| p.x_m == 0.0), "a standing car stays where it is");
}

#[test]
fn without_an_ego_state_the_last_known_speed_is_braked_from() {
    let (mut guard, mut out) = (guard(true), blank());
    judge(&mut guard, &plan(20.0, 0.0), 0, 20.0, &mut out);
    let unknown = Situation { now_ns: CHUNK_NS, pose: None, speed_mps: None };
    let answer = refuse(&mut guard, CauseKind::Silent(InputStream::EgoStates), unknown, &mut out);
    assert_eq!(answer.verdict, Verdict::MinimalRisk);
    assert!(out.points()[39].x_m > 30.0 && out.points()[0].v_mps > 19.0, "{:?}", out.points()[39]);
}

/// Breaks if a vehicle's limits, or a speed that is no number, make a minimal-risk plan that does
/// not slow down.
#[test]
fn a_minimal_risk_plan_slows_down_whatever_the_vehicle_s_limits_are() {
    for max_deceleration_mps2 in [1e-308, 0.1, 3.0, 50.0] {
        for speed_mps in [0.0, 0.05, 3.0, 25.0, 60.0, f64::NAN] {
            let limits = VehicleConfig { max_deceleration_mps2, ..vehicle() };
            let mut guard = Guard::new(Settings::default(), limits, &blank(), CHUNK_NS, true);
            let mut out = blank();
            refuse(&mut guard, FAULT, at(0, speed_mps), &mut out);
            let speeds: Vec<f64> = out.points().iter().map(|p| p.v_mps).collect();
            let known = if speed_mps.is_nan() { 0.0 } else { speed_mps };
            let slows = speeds.windows(2).all(|pair| pair[1] < pair[0] || pair[1] == 0.0) && (speeds[0] < known || known == 0.0);
            assert!(slows, "{max_deceleration_mps2} m/s², {speed_mps} m/s: {speeds:?}");
        }
    }
}
