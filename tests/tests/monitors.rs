//! The monitors of the shipped policy, in a ride: what they say of an ordinary drive and of one
//! that is seen wrongly, and what the guard makes of it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::guard::{CauseKind, Verdict};
use drivewam::outcome::Outcome;
use drivewam::{EngineBundle, Plan, Progress, Ride, RideOptions, SourceCamera, Trust, load_config};
use drivewam_core::config::Layer;
use drivewam_core::manifest::{Monitor, Monitors};
use drivewam_simulation::mirror;
use drivewam_world::{Canvas, Options, World};
use std::path::Path;

const TICK_NS: i64 = 100_000_000;

fn ride(set: &str) -> (Ride, Monitors) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    let config = load_config(&path, &[Layer { name: "the test".to_owned(), text: set.to_owned() }]).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::default()).unwrap();
    let monitors = bundle.manifest().monitors;
    (Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap().warm(bundle).unwrap(), monitors)
}

/// Lets the expert drive world 5 for `seconds`; `alter` changes each picture, `[H, W, 3]`, as wide
/// as the second argument says.
fn drive(ride: &mut Ride, seconds: i64, alter: impl Fn(&mut [u8], usize)) -> Vec<Outcome> {
    let model = ride.config().model.clone();
    let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
    let (mut world, mut outcomes) = (World::new(5, Options::default()), Vec::new());
    for tick in 0..=seconds * 10 {
        let (stamp_ns, ego) = (tick * TICK_NS, world.ego());
        if tick == 0 {
            ride.push_command(stamp_ns, world.command()).unwrap();
        }
        ride.push_ego(stamp_ns, ego.state()).unwrap();
        ride.push_pose(stamp_ns, ego.pose).unwrap();
        if tick % 10 == 0 {
            world.render(&mut canvas);
            alter(&mut canvas.rgb, canvas.width);
            ride.push_frame(stamp_ns, &canvas.rgb).unwrap();
        }
        if let Progress::Outcome(outcome) = ride.step(stamp_ns).unwrap() {
            outcomes.push(outcome.clone());
        }
        world.step(world.expert());
    }
    outcomes
}

fn is_named(outcome: &Outcome) -> bool {
    outcome.cause.iter().copied().chain(outcome.degraded.iter()).any(|cause| matches!(cause.kind, CauseKind::Monitor(_)))
}

fn is_jump(outcome: &Outcome) -> bool {
    outcome.cause.is_some_and(|cause| matches!(cause.kind, CauseKind::CameraMirrored | CauseKind::CameraJump))
}

/// Breaks when the first chunk of a rollout, which has no motion, is judged; when a number leaves
/// [0, 1] or has another limit than the manifest's; or when the monitors cry at an ordinary drive.
#[test]
fn an_ordinary_drive_has_numbers_and_no_doubt() {
    let (mut ride, monitors) = ride("{}");
    let outcomes = drive(&mut ride, 28, |_, _| {});
    assert_eq!((outcomes.len(), outcomes[0].monitors.iter().count()), (8, 0));
    for outcome in &outcomes[1..] {
        let found: Vec<_> = outcome.monitors.iter().collect();
        assert_eq!(found.iter().map(|(monitor, _)| *monitor).collect::<Vec<_>>(), [Monitor::Imagination, Monitor::Scene]);
        assert!(found.iter().all(|(_, reading)| (0.0..=1.0).contains(&reading.value)), "{found:?}");
        assert!(found.iter().all(|(monitor, reading)| Some(reading.threshold) == monitors.threshold(*monitor)));
        assert!(!is_named(outcome), "{:?}", outcome.monitors);
    }
}

/// Breaks when a mirrored camera, which every check of single pictures lets pass, drives on; when a
/// doubt stops the car before it is found three times in a row; or when `report` judges.
#[test]
fn a_mirrored_camera_is_named_and_the_third_doubt_in_a_row_stops_the_car() {
    let (mut judging, _) = ride("{}");
    let outcomes = drive(&mut judging, 20, mirror);
    let scene = CauseKind::Monitor(Monitor::Scene);
    let named = |outcome: &Outcome| outcome.degraded.get(scene).map(|cause| cause.in_a_row);
    assert_eq!(
        outcomes.iter().take(3).map(|o| (o.verdict, named(o))).collect::<Vec<_>>(),
        [(Verdict::Accepted, None), (Verdict::Accepted, Some(1)), (Verdict::Accepted, Some(2)),]
    );
    assert!(outcomes[3..].iter().all(|o| o.verdict == Verdict::MinimalRisk), "{:?}", outcomes[3].monitors);
    assert!(outcomes[3].cause.is_some_and(|cause| matches!(cause.kind, CauseKind::Monitor(_)) && cause.in_a_row == 3));

    let (mut reporting, _) = ride("{guard: {monitors: report}}");
    let reported = drive(&mut reporting, 20, mirror);
    assert_eq!(reported.iter().map(|o| o.monitors).collect::<Vec<_>>(), outcomes.iter().map(|o| o.monitors).collect::<Vec<_>>());
    // Where the road turns, successive pictures tell it too, whatever the monitors do.
    assert!(reported.iter().all(|o| !is_named(o) && (o.verdict == Verdict::Accepted || is_jump(o))));
}

/// Breaks when the plans of two lanes are compared at different times or in different frames, or
/// when a lane is compared with itself.
#[test]
fn the_number_of_two_lanes_is_the_distance_of_their_plans() {
    let (mut ride, monitors) = ride("{lanes: {count: 2}}");
    let outcomes = drive(&mut ride, 20, |_, _| {});
    let scale_m = monitors.lanes.unwrap().scale_m;
    let mut compared = 0;
    for pair in outcomes.windows(2) {
        let [before, now] = pair else { unreachable!() };
        assert_ne!(before.lane, now.lane);
        let shift = (now.anchor_ns - before.anchor_ns) / TICK_NS;
        let (there, here) = (before.pose.unwrap(), now.pose.unwrap());
        let points = before.published.points().iter().skip(shift as usize).zip(now.trajectory.points());
        let distances: Vec<f64> = points.map(|(a, b)| there.compose(&a.pose()).distance_m(&here.compose(&b.pose()))).collect();
        let mean_m = distances.iter().sum::<f64>() / distances.len() as f64;
        let reading = now.monitors.get(Monitor::Lanes).unwrap();
        assert!((reading.value - (1.0 - (-mean_m / scale_m).exp2())).abs() < 1e-9, "{reading:?}, {mean_m} m");
        compared += 1;
    }
    assert!(compared >= 8 && outcomes[0].monitors.get(Monitor::Lanes).is_none());
}
