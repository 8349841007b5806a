//! Inputs that contradict each other, and cameras that do not see: named with their figures, and
//! refused when they last.

use super::SECOND;
use super::car::{Car, Inputs, TICK};
use drivewam::RideOptions;
use drivewam::guard::Verdict;
use drivewam_core::pose::Pose2;

/// A fault from 5 s on, and what is wanted of it.
struct Case {
    name: &'static str,
    /// The cause that must be named.
    wanted: &'static str,
    /// Time after 5 s by which it must be named.
    named_within_s: f64,
    /// Time after 5 s by which no plan must be accepted any more.
    refused_within_s: f64,
    /// Time after the end of the fault, with the car at a standstill, by which plans must be
    /// accepted again.
    recovered_within_s: f64,
    change: fn(&mut Inputs),
}

fn x(inputs: &mut Inputs) -> &mut f64 {
    &mut inputs.pose.as_mut().unwrap().1.x_m
}

const CASES: [Case; 13] = [
    Case {
        name: "speed in km/h",
        wanted: "speed_mismatch",
        named_within_s: 3.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| inputs.ego.as_mut().unwrap().1.speed_mps *= 3.6,
    },
    Case {
        name: "speed stuck at zero",
        wanted: "speed_mismatch",
        named_within_s: 3.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| inputs.ego.as_mut().unwrap().1.speed_mps = 0.0,
    },
    Case {
        name: "poses frozen",
        wanted: "poses_frozen",
        named_within_s: 3.1,
        refused_within_s: 7.1,
        recovered_within_s: 9.1,
        change: |inputs| *x(inputs) = 29.4,
    },
    Case {
        name: "yaw off by a right angle",
        wanted: "heading_mismatch",
        named_within_s: 3.1,
        refused_within_s: 7.1,
        recovered_within_s: 9.1,
        change: |inputs| inputs.pose.as_mut().unwrap().1.yaw_rad = 1.6,
    },
    Case {
        name: "poses that jump to and fro",
        wanted: "pose_jump",
        named_within_s: 3.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| *x(inputs) += if inputs.now_ns / TICK % 2 == 0 { 5.0 } else { 0.0 },
    },
    Case {
        name: "axes swapped",
        wanted: "heading_mismatch",
        named_within_s: 3.1,
        refused_within_s: 7.1,
        recovered_within_s: 9.1,
        change: |inputs| {
            let pose = &mut inputs.pose.as_mut().unwrap().1;
            (pose.x_m, pose.y_m) = (30.0 + pose.y_m, pose.x_m - 30.0);
        },
    },
    Case {
        name: "yaw in degrees on a road to the left",
        wanted: "heading_mismatch",
        named_within_s: 3.1,
        refused_within_s: 7.1,
        recovered_within_s: 9.1,
        change: |inputs| {
            let (pose, yaw_rad) = (&mut inputs.pose.as_mut().unwrap().1, 0.8f64);
            let ahead_m = pose.x_m - 30.0;
            *pose = Pose2::new(30.0 + ahead_m * yaw_rad.cos(), ahead_m * yaw_rad.sin(), yaw_rad.to_degrees());
        },
    },
    Case {
        name: "frames on another clock",
        wanted: "stamp_ahead",
        named_within_s: 3.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| inputs.frame.iter_mut().for_each(|(stamp_ns, _)| *stamp_ns += 3600 * SECOND),
    },
    Case {
        name: "a frozen picture",
        wanted: "camera_frozen",
        named_within_s: 3.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| inputs.frame.iter_mut().for_each(|(_, picture)| *picture = super::picture(-3)),
    },
    Case {
        name: "a black picture",
        wanted: "camera_blank",
        named_within_s: 3.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| inputs.frame.iter_mut().for_each(|(_, picture)| picture.fill(0)),
    },
    Case {
        name: "a white picture",
        wanted: "camera_blank",
        named_within_s: 3.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| inputs.frame.iter_mut().for_each(|(_, picture)| picture.fill(255)),
    },
    Case {
        name: "noise",
        wanted: "camera_noise",
        named_within_s: 3.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| {
            let mut state = inputs.now_ns as u64 | 1;
            for byte in inputs.frame.iter_mut().flat_map(|(_, picture)| picture) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
        },
    },
    Case {
        name: "poses in another unit of time",
        wanted: "rejected_inputs",
        named_within_s: 4.1,
        refused_within_s: 3.1,
        recovered_within_s: 9.1,
        change: |inputs| inputs.pose.as_mut().unwrap().0 = 5 * SECOND - SECOND / 10 + (inputs.now_ns - 5 * SECOND) / 1000 + 1,
    },
];

/// Breaks if a contradiction is not named, plans are accepted on it for longer than stated, or none
/// is accepted for longer than stated after it.
#[test]
fn every_contradiction_is_named_and_then_refused() {
    let mut failures = Vec::new();
    for case in &CASES {
        let mut car = Car::new(RideOptions::default());
        car.drive(5.0, |_| {});
        car.drive(13.0, case.change);
        car.speed_mps = 0.0;
        car.drive(14.0, |_| {});
        let is_named = |seen: &super::car::Seen| seen.degraded.contains(&case.wanted) || seen.cause_name() == Some(case.wanted);
        let named_s = car.since(5.0).find(|seen| is_named(seen)).map(|seen| seen.at_s - 5.0);
        let accepted = |from_s: f64| car.since(from_s).filter(|seen| seen.verdict == Verdict::Accepted).map(|seen| seen.at_s);
        let accepted_s = accepted(5.0).filter(|at_s| *at_s < 18.0).map(|at_s| at_s - 5.0).fold(0.0, f64::max);
        let recovered_s = accepted(18.0).next().map(|at_s| at_s - 18.0);
        if named_s.is_none_or(|s| s > case.named_within_s)
            || accepted_s > case.refused_within_s
            || recovered_s.is_none_or(|s| s > case.recovered_within_s)
        {
            failures.push(format!(
                "{}: named after {named_s:?} s, accepted until {accepted_s:.1} s, recovered after {recovered_s:?} s: {:#?}",
                case.name, car.seen
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Breaks if a car at a red light, which sees the same picture for a minute, is degraded.
#[test]
fn a_standing_car_may_see_the_same_picture() {
    let mut car = Car::new(RideOptions::default());
    car.speed_mps = 0.0;
    car.drive(20.0, |inputs| inputs.frame.iter_mut().for_each(|(_, picture)| *picture = super::picture(7)));
    assert!(car.seen.iter().all(|seen| seen.verdict == Verdict::Accepted && seen.degraded.is_empty()), "{:?}", car.seen);
}
