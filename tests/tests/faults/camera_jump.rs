//! A camera that is turned or mirrored on the way, or whose picture stays, in simulated worlds.

use super::{SECOND, ride_with};
use drivewam::guard::{CauseKind, Verdict};
use drivewam::outcome::Outcome;
use drivewam::{Progress, Ride, RideOptions};
use drivewam_core::bindings::Graph;
use drivewam_simulation::mirror;
use drivewam_world::{Canvas, Options, World};

/// What happens to the camera.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    None,
    /// It is turned to the left, rad.
    Turned(f64),
    Mirrored,
    Frozen,
}

/// Seconds of a drive, and of its camera's change.
const SECONDS: u64 = 21;
const FROM_S: u64 = 9;

fn ride() -> Ride {
    ride_with(RideOptions::EVALUATION, "{lanes: {count: 4}}", Graph::Dit, None)
}

/// Lets the expert drive the world of `seed`; the camera is changed from [`FROM_S`] on until
/// `until_s`. Returns what goes out each second, and calls `release` at `release_s`.
fn drive(ride: &mut Ride, seed: u64, change: Change, until_s: u64, release_s: u64) -> Vec<(u64, Outcome)> {
    let model = ride.config().model.clone();
    let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
    let (mut world, mut outcomes) = (World::new(seed, Options::default()), Vec::new());
    for tick in 0..=SECONDS * 10 {
        let (stamp, ego) = (tick as i64 * SECOND / 10, world.ego());
        ride.push_ego(stamp, ego.state()).unwrap();
        ride.push_pose(stamp, ego.pose).unwrap();
        let second = tick / 10;
        if tick % 10 == 0 {
            let change = if (FROM_S..until_s).contains(&second) { change } else { Change::None };
            if let Change::Turned(yaw_rad) = change {
                world.turn_camera(yaw_rad);
            }
            if change != Change::Frozen {
                world.render(&mut canvas);
            }
            match change {
                Change::Turned(_) => world.turn_camera(0.0),
                Change::Mirrored => mirror(&mut canvas.rgb, canvas.width),
                Change::None | Change::Frozen => {}
            }
            if second == release_s {
                ride.release();
            }
            ride.push_frame(stamp, &canvas.rgb).unwrap();
        }
        if let Progress::Outcome(outcome) = ride.step(stamp).unwrap() {
            outcomes.push((second, outcome.clone()));
        }
        world.step(world.expert());
    }
    outcomes
}

fn is_jump(outcome: &Outcome) -> bool {
    let mut causes = outcome.cause.iter().copied().chain(outcome.degraded.iter());
    causes.any(|cause| matches!(cause.kind, CauseKind::CameraJump | CauseKind::CameraMirrored | CauseKind::CameraFrozen))
}

/// Breaks when an ordinary drive, with its turns, leads and lights, is taken for a camera that
/// jumps.
#[test]
fn pictures_of_an_ordinary_drive_follow_on_from_one_another() {
    for seed in 38..44 {
        let outcomes = drive(&mut ride(), seed, Change::None, 0, SECONDS + 1);
        let found: Vec<_> = outcomes.iter().filter(|(_, outcome)| is_jump(outcome)).map(|(s, outcome)| (s, outcome.cause)).collect();
        assert!(outcomes.len() > 15 && found.is_empty(), "world {seed}: {found:?}");
    }
}

/// Breaks when the first picture of a camera that turned is followed by a plan that rests on it;
/// when the second does not stop the car; when the car may drive on with such a camera; when
/// `release` does not let it; or when a mirrored camera is not called that.
#[test]
fn a_camera_that_turns_holds_the_plan_then_stops_the_car_until_it_is_released() {
    let degrees = |degrees: f64| Change::Turned(degrees.to_radians());
    for change in [degrees(20.0), degrees(30.0), degrees(-30.0), degrees(90.0), Change::Mirrored, Change::Frozen] {
        let outcomes = drive(&mut ride(), 31, change, SECONDS + 1, SECONDS - 3);
        let wrong = |from_s: u64, to_s: u64| outcomes.iter().filter(move |(s, _)| (from_s..to_s).contains(s));
        assert!(wrong(6, FROM_S).all(|(_, o)| o.verdict == Verdict::Accepted), "{change:?}");
        let found: Vec<_> = wrong(FROM_S, FROM_S + 7).map(|(s, o)| (*s, o.verdict, o.cause.map(|cause| cause.kind.row().name))).collect();
        assert!(wrong(FROM_S, FROM_S + 7).all(|(_, o)| is_jump(o)), "{change:?}: {found:?}");
        let verdicts: Vec<_> = found.iter().map(|(_, verdict, _)| *verdict).collect();
        assert_eq!(verdicts[0], Verdict::Held, "{change:?}: {found:?}");
        assert!(verdicts[1..].iter().all(|verdict| *verdict == Verdict::MinimalRisk), "{change:?}: {found:?}");
        if change == Change::Mirrored {
            assert_eq!(found[0].2, Some("camera_mirrored"), "{found:?}");
        }
        if let Change::Turned(_) = change {
            let after: Vec<_> = wrong(SECONDS - 3, SECONDS + 1).map(|(s, o)| (*s, o.verdict)).collect();
            assert!(after.iter().all(|(_, verdict)| *verdict == Verdict::Accepted), "{change:?}: {after:?}");
        }
    }
}

/// Breaks when one wrong picture stops the car, or when the pictures after it are not trusted.
#[test]
fn one_wrong_picture_costs_one_plan() {
    let outcomes = drive(&mut ride(), 31, Change::Turned(0.5), FROM_S + 1, SECONDS + 1);
    for (s, outcome) in &outcomes {
        let wanted = if *s == FROM_S { Verdict::Held } else { Verdict::Accepted };
        assert_eq!(outcome.verdict, wanted, "second {s}: {:?}", outcome.cause);
    }
}
