//! What goes out to the vehicle, on a running clock: in order, in time, anchored where the car is,
//! and never broken off.

use super::SECOND;
use super::car::{Car, Seen};
use drivewam::RideOptions;
use drivewam::guard::{CauseKind, InputStream, Verdict};
use drivewam::outcome::Restart;

fn car() -> Car {
    Car::new(RideOptions::default())
}

/// Breaks if an answer is anchored in the past or has ended when it goes out, if an accepted plan
/// rests on older frames than one before, or if it is late.
#[track_caller]
fn check_all(car: &Car) {
    let mut newest = None;
    for seen in &car.seen {
        if seen.verdict == Verdict::Accepted {
            assert!(seen.t0_ns >= newest, "out of order: {seen:?}");
            assert_eq!(seen.t0_ns, Some(seen.anchor_ns));
            assert!(seen.published_ns - seen.anchor_ns <= SECOND, "late: {seen:?}");
            newest = seen.t0_ns;
        } else {
            assert!(seen.anchor_ns == seen.published_ns && seen.t0_ns == newest, "{seen:?}");
            assert!(seen.published_ns >= (seen.at_s * 1e9) as i64, "anchored in the past: {seen:?}");
        }
        if seen.verdict == Verdict::MinimalRisk {
            assert!(seen.speeds[1] < seen.speeds[0] || seen.speeds == [0.0; 2], "does not slow down: {seen:?}");
        }
    }
}

#[test]
fn an_undisturbed_drive_is_accepted_throughout() {
    let mut car = car();
    car.drive(20.0, |_| {});
    assert_eq!(car.seen.len(), 5);
    assert!(car.seen.iter().all(|seen| seen.verdict == Verdict::Accepted && seen.degraded.is_empty()), "{:?}", car.seen);
    check_all(&car);
}

/// Breaks if the queue of a stopped process goes out as accepted plans.
#[test]
fn after_a_stop_of_the_process_no_old_plan_goes_out() {
    let mut car = car();
    car.drive(8.3, |_| {});
    car.stop_process(25.0);
    car.drive(6.0, |_| {});
    let resumed = 8.3 + 25.0;
    let first = car.since(resumed).next().unwrap();
    assert_eq!((first.verdict, first.cause), (Verdict::MinimalRisk, Some(CauseKind::Silent(InputStream::Frames))));
    assert!(car.since(resumed).any(|seen| seen.degraded.contains(&"late")), "{:?}", car.seen);
    assert!(car.since(resumed).all(|seen| seen.verdict != Verdict::Accepted), "{:?}", car.seen);
    car.speed_mps = 0.0;
    car.drive(8.0, |_| {});
    assert_eq!(car.seen.last().unwrap().verdict, Verdict::Accepted, "the car stands: {:?}", car.seen.last());
    check_all(&car);
}

/// Breaks if an input can stay out without an answer, or a plan opens a stop that is under way.
#[test]
fn a_silent_input_is_answered_by_a_stop_within_200_ms_of_its_limit() {
    for (stream, limit_s) in [(InputStream::Frames, 2.0), (InputStream::Poses, 1.0), (InputStream::EgoStates, 1.0)] {
        for from_s in [0.0, 4.5, 6.2] {
            let mut car = car();
            car.drive(from_s, |_| {});
            let last_s = match (stream, from_s > 0.0) {
                (_, false) => 0.0,
                (InputStream::Frames, _) => from_s.floor(),
                _ => from_s - 0.1,
            };
            car.drive(5.0, |inputs| match stream {
                InputStream::Frames => inputs.frame = None,
                InputStream::Poses => inputs.pose = None,
                InputStream::EgoStates => inputs.ego = None,
            });
            let first = car.since(from_s).find(|seen| seen.cause == Some(CauseKind::Silent(stream))).cloned();
            let first = first.unwrap_or_else(|| panic!("{stream:?} from {from_s} s: no answer in {:?}", car.seen));
            let after_s = first.at_s - last_s;
            assert!(after_s > limit_s && after_s <= limit_s + 0.2, "{stream:?} from {from_s} s: answered after {after_s:.1} s");
            assert_eq!(first.verdict, Verdict::MinimalRisk, "{stream:?} from {from_s} s");
            let answers = car.since(first.at_s).count();
            assert!((2..=5).contains(&answers), "{stream:?}: {answers} answers, wanted one a second");
            // The input is back, and the car still moves.
            car.speed_mps = 4.0;
            car.drive(6.0, |_| {});
            assert!(car.since(first.at_s).all(|seen| seen.verdict == Verdict::MinimalRisk), "{stream:?} from {from_s} s: {:?}", car.seen);
            car.speed_mps = 0.0;
            car.drive(10.0, |_| {});
            assert_eq!(car.seen.last().unwrap().verdict, Verdict::Accepted, "{stream:?} from {from_s} s: the car stands");
            check_all(&car);
        }
    }
}

/// Breaks if a speed that is stuck at zero ends a stop while the poses still move, or lets it brake
/// from a standstill.
#[test]
fn a_stop_goes_on_while_the_poses_move_whatever_the_ego_state_says() {
    let mut car = car();
    car.drive(5.0, |_| {});
    car.drive(4.0, |inputs| inputs.frame = None);
    let stuck_s = car.now_ns() as f64 * 1e-9;
    car.drive(6.0, |inputs| inputs.ego.iter_mut().for_each(|(_, ego)| ego.speed_mps = 0.0));
    let stopping = |seen: &Seen| seen.verdict == Verdict::MinimalRisk && seen.speeds[0] > 4.0;
    assert!(car.since(stuck_s).count() > 1 && car.since(stuck_s).all(stopping), "{:?}", car.seen);
    car.speed_mps = 0.0;
    car.drive(10.0, |_| {});
    assert_eq!(car.seen.last().unwrap().verdict, Verdict::Accepted, "the car stands");
}

/// Breaks if a driver who has taken over cannot end the stop.
#[test]
fn a_released_stop_ends_while_the_car_moves() {
    let mut car = car();
    car.drive(5.0, |_| {});
    car.drive(4.0, |inputs| inputs.frame = None);
    assert_eq!(car.seen.last().unwrap().verdict, Verdict::MinimalRisk);
    car.ride.release();
    car.drive(6.0, |_| {});
    assert_eq!(car.seen.last().unwrap().verdict, Verdict::Accepted, "{:?}", car.seen.last());
    check_all(&car);
}

/// No frame comes, where that may last for long. Breaks if a plan that has ended stays in force
/// because no input counts as silent.
#[test]
fn a_plan_that_ends_without_a_successor_is_answered_within_200_ms_of_the_deadline() {
    let mut car = Car::with(RideOptions::default(), "guard: {max_frame_silence_ms: 10000}");
    car.drive(5.0, |_| {});
    let valid_until_s = car.ride.outcome().unwrap().valid_until_ns as f64 * 1e-9;
    car.drive(6.0, |inputs| inputs.frame = None);
    let first = car.since(5.0).find(|seen| seen.cause == Some(CauseKind::Expired));
    let first = first.unwrap_or_else(|| panic!("no answer: {:?}", car.seen));
    let after_s = first.at_s - valid_until_s;
    assert!((1.0..=1.2).contains(&after_s) && first.verdict == Verdict::Held, "{after_s:.1} s after its end: {first:?}");
    check_all(&car);
}

/// The car drifts to the left by 1.5 m/s, and its plans lead straight on. Breaks if a ride whose
/// options say nothing does not judge that, also where a lost frame began a new rollout, or if
/// `EVALUATION`, whose plans do not move the car, does.
#[test]
fn a_car_that_is_not_where_its_plan_leads_is_refused_unless_turned_off_by_name() {
    for (options, is_judged) in [(RideOptions::default(), true), (RideOptions::EVALUATION, false)] {
        for lost_s in [None, Some(7)] {
            let mut car = Car::new(options);
            car.drive(5.0, |_| {});
            car.drive(6.0, |inputs| {
                let now_ns = inputs.now_ns;
                let drift_m = (now_ns - 5 * SECOND) as f64 * 1.5e-9;
                inputs.pose.as_mut().unwrap().1.y_m = drift_m;
                inputs.frame.take_if(|_| lost_s.is_some_and(|s| now_ns == s * SECOND));
            });
            let found = car.since(5.0).any(|seen| seen.cause == Some(CauseKind::Discontinuous) && seen.verdict != Verdict::Accepted);
            assert_eq!(found, is_judged, "{options:?}, frame lost at {lost_s:?} s: {:?}", car.seen);
        }
    }
}

#[test]
fn silence_after_a_restart_is_answered() {
    let mut car = car();
    car.drive(5.0, |_| {});
    car.ride.restart();
    car.drive(3.0, |inputs| inputs.frame = None);
    let answer = car.since(5.0).next().unwrap();
    assert_eq!((answer.verdict, answer.cause), (Verdict::MinimalRisk, Some(CauseKind::Silent(InputStream::Frames))));
    assert!((7.0..=7.2).contains(&answer.at_s), "{answer:?}");
}

/// Breaks if an old accepted plan can be taken for the answer to a refused call.
#[test]
fn no_refused_call_shows_an_old_plan_as_its_answer() {
    let mut car = car();
    car.drive(4.5, |_| {});
    assert_eq!(car.ride.outcome().unwrap().verdict, Verdict::Accepted);
    let now_ns = car.now_ns();
    assert!(car.ride.push_frame(now_ns, &[0; 7]).is_err() && car.ride.outcome().is_none());
    car.ride.step(now_ns).unwrap();
    assert_eq!(car.ride.outcome().unwrap().verdict, Verdict::Accepted, "a call that waits changes nothing");
    assert!(car.ride.push_pose(0, Default::default()).is_err() && car.ride.outcome().is_none());
    for wrong_ns in [-1, i64::MAX] {
        assert!(car.ride.step(wrong_ns).is_err());
        let outcome = car.ride.outcome().unwrap();
        assert_eq!((outcome.verdict, outcome.anchor_ns), (Verdict::Held, now_ns), "step({wrong_ns})");
        assert_eq!(outcome.t0_ns, Some(4 * SECOND), "the plan that is continued keeps its t0");
    }
}

#[test]
fn a_clock_that_was_set_back_is_refused_three_times_and_then_believed() {
    let mut car = car();
    car.drive(5.0, |_| {});
    let back = |ns: i64| ns - 4 * SECOND;
    car.drive(8.0, |inputs| {
        inputs.now_ns = back(inputs.now_ns);
        inputs.pose = inputs.pose.map(|(ns, pose)| (back(ns), pose));
        inputs.ego = inputs.ego.map(|(ns, ego)| (back(ns), ego));
        inputs.frame = inputs.frame.take().map(|(ns, picture)| (back(ns), picture));
    });
    assert_eq!(car.refused.iter().filter(|message| message.contains("time runs backwards")).count(), 3, "{:?}", car.refused);
    assert_eq!(car.ride.outcome().unwrap().rollout, 1, "{:?}", car.seen);
    let accepted = car.seen.iter().filter(|seen| seen.verdict == Verdict::Accepted).count();
    assert!(accepted >= 3, "plans go out again: {:?}", car.seen);
}

/// Breaks if one stray stamp makes all true ones late.
#[test]
fn inputs_stamped_far_ahead_are_dropped_and_the_drive_recovers() {
    for (what, recovery_s) in [("frame", 1.1), ("pose", 1.1), ("ego state", 1.1)] {
        let mut car = car();
        car.drive(6.0, |inputs| {
            if inputs.now_ns != 2 * SECOND {
                return;
            }
            match what {
                "frame" => inputs.frame.as_mut().unwrap().0 += 3600 * SECOND,
                "pose" => inputs.pose.as_mut().unwrap().0 += 3600 * SECOND,
                _ => inputs.ego.as_mut().unwrap().0 += 3600 * SECOND,
            }
        });
        let named = car.seen.iter().find(|seen| seen.degraded.contains(&"stamp_ahead"));
        let named = named.unwrap_or_else(|| panic!("{what}: {:?} {:?}", car.seen, car.refused));
        if what == "frame" {
            assert!(named.at_s <= 2.0 + recovery_s, "{what}: {named:?}");
            assert_eq!(named.verdict, Verdict::Accepted, "{what}: the next frame begins a new rollout");
        }
        assert!(car.refused.len() <= 1, "{what}: {:?}", car.refused);
        // The pose itself is missing: a hole of 200 ms is refused, and the next frame begins anew.
        let refused = car.seen.iter().filter(|seen| seen.verdict != Verdict::Accepted).count();
        assert_eq!(refused, usize::from(what == "pose"), "{what}: {:?}", car.seen);
        assert_eq!(car.seen.last().unwrap().verdict, Verdict::Accepted, "{what}: {:?}", car.seen);
    }
}

#[test]
fn a_chunk_waits_until_the_time_of_its_newest_frame() {
    let mut car = car();
    car.drive(0.1, |inputs| inputs.now_ns = 0);
    let mut early = Car::new(RideOptions::default());
    early.drive(1.0, |inputs| {
        if let Some(frame) = &mut inputs.frame {
            frame.0 += SECOND / 2;
        }
    });
    assert_eq!(early.seen.len(), 1);
    assert!((early.seen[0].at_s - 0.5).abs() < 1e-9 && early.seen[0].verdict == Verdict::Accepted, "{:?}", early.seen);
}

#[test]
fn a_restart_says_that_it_was_asked_for() {
    let mut car = Car::new(RideOptions::EVALUATION);
    car.drive(1.0, |_| {});
    car.ride.restart();
    car.drive(1.0, |_| {});
    assert_eq!(car.ride.outcome().unwrap().restarted, Some(Restart::Asked));
}
