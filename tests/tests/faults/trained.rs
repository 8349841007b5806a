//! Inputs unlike those of the training: named with value and threshold, and never refused.

use super::car::Car;
use drivewam::guard::{Cause, CauseKind, Verdict};
use drivewam::{Plan, Ride, RideOptions, SourceCamera, SourceMount, load_config};
use drivewam_core::bindings::Graph;
use drivewam_core::dims::{Command, Model};
use drivewam_core::manifest::{Manifest, TrainedCamera, TrainedPictures, TrainedQuantity, TrainedRanges};
use drivewam_engine::EngineBundle;
use drivewam_engine::bundle::manifest_of;
use drivewam_engine::bytes::Bytes;
use drivewam_engine::closed_form::{self, ClosedForm, Options};
use drivewam_tests::drive;
use drivewam_world::{CAMERA_HEIGHT_M, World};
use std::collections::BTreeSet;
use std::f64::consts::FRAC_PI_2;
use std::path::{Path, PathBuf};

const SPEED: [f64; 2] = [0.0, 12.0];
const RANGES: TrainedRanges = TrainedRanges {
    speed_mps: SPEED,
    yaw_rate_radps: [-0.5, 0.5],
    camera: TrainedCamera { yaw_rad: [0.0; 2], pitch_rad: [0.0; 2], roll_rad: [0.0; 2], height_m: [1.5; 2], distorted_lenses: false },
    picture: TrainedPictures { brightness: [0.0, 255.0], contrast: [0.0, 128.0], saturation: [0.0, 255.0] },
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The closed-form bundle, whose manifest says `ranges`.
fn bundle(model: &Model, ranges: Option<TrainedRanges>) -> EngineBundle {
    let plain = closed_form::bundle(model).unwrap();
    let content = |name: &str| Bytes::copy_of(plain.content(name).unwrap().as_slice()).unwrap();
    let files = plain.files().map(|(name, _)| (name.to_owned(), content(name))).collect();
    EngineBundle::in_memory(Manifest { trained_ranges: ranges, ..plain.manifest().clone() }, files).unwrap()
}

fn ride(options: RideOptions, ranges: Option<TrainedRanges>, mount: Option<SourceMount>, distortion_share: f64) -> Ride {
    let config = load_config(&root().join("configs/tiny.yaml"), &[]).unwrap();
    let bundle = bundle(&config.model, ranges);
    let camera = SourceCamera { mount, distortion_share, ..SourceCamera::of_model(&config.model) };
    let plan = Plan::new(config, bundle.manifest(), camera, options).unwrap();
    plan.warm_engines(bundle, |bundle, graph: Graph| Ok(Box::new(ClosedForm::open(bundle, graph, Options::default())?))).unwrap()
}

/// The trained quantities that the last outcome names, after 10 s at `speed_mps`.
fn named(ride: Ride, speed_mps: f64) -> Vec<Cause> {
    let mut car = Car::new(RideOptions::default());
    (car.ride, car.speed_mps) = (ride, speed_mps);
    car.drive(10.0, |_| {});
    assert!(car.seen.iter().all(|seen| seen.verdict == Verdict::Accepted), "never refused: {:?}", car.seen);
    let causes = car.ride.outcome().unwrap().degraded;
    causes.iter().filter(|cause| matches!(cause.kind, CauseKind::Untrained(_))).collect()
}

fn figures(causes: &[Cause]) -> Vec<(&'static str, f64, f64, &'static str)> {
    causes.iter().map(|cause| (cause.as_str(), cause.value, cause.threshold, cause.kind.row().unit)).collect()
}

const AHEAD: Option<SourceMount> = Some(SourceMount { yaw_rad: 0.0, pitch_rad: 0.03, roll_rad: 0.0, height_m: 1.6 });

/// Breaks when a speed or a yaw rate that the training did not see goes by in silence, or when a
/// car within the range, or a manifest without ranges, is named.
#[test]
fn a_motion_beyond_the_training_is_named_with_its_figures() {
    let at = |speed_mps, ranges| named(ride(RideOptions::default(), ranges, AHEAD, 0.0), speed_mps);
    assert_eq!(figures(&at(16.0, Some(RANGES))), [("speed_untrained", 16.0, 12.0, "m/s")]);
    assert_eq!(figures(&at(11.0, Some(RANGES))), []);
    assert_eq!(figures(&at(16.0, None)), [], "without ranges nothing is judged");
    let fast_only = TrainedRanges { speed_mps: [8.0, 12.0], ..RANGES };
    assert_eq!(figures(&at(6.0, Some(fast_only))), [("speed_untrained", 6.0, 8.0, "m/s")]);
    let turning_only = TrainedRanges { yaw_rate_radps: [0.1, 0.5], ..RANGES };
    assert_eq!(figures(&at(6.0, Some(turning_only))), [("yaw_rate_untrained", 0.0, 0.1, "rad/s")]);
}

/// Breaks when a camera that looks to the side, hangs elsewhere, or bends straight lines goes by in
/// silence; or when the mount of a calibrated front camera, or an unknown one, is named.
#[test]
fn a_camera_that_looks_elsewhere_or_bends_lines_is_named() {
    let of = |mount, share| named(ride(RideOptions::default(), Some(RANGES), mount, share), 6.0);
    let ahead = AHEAD.unwrap();
    let left = SourceMount { yaw_rad: FRAC_PI_2, ..ahead };
    assert_eq!(figures(&of(Some(left), 0.0)), [("camera_yaw_untrained", FRAC_PI_2, 0.05, "rad")]);
    let right = SourceMount { yaw_rad: -FRAC_PI_2, ..ahead };
    assert_eq!(figures(&of(Some(right), 0.0)), [("camera_yaw_untrained", -FRAC_PI_2, -0.05, "rad")]);
    let odd = SourceMount { pitch_rad: 0.3, roll_rad: -3.1, height_m: 2.5, ..ahead };
    let names: Vec<_> = of(Some(odd), 0.0).iter().map(Cause::as_str).collect();
    assert_eq!(names, ["camera_pitch_untrained", "camera_roll_untrained", "camera_height_untrained"]);
    assert_eq!(figures(&of(AHEAD, 0.07)), [("lens_untrained", 0.07, 0.01, "of the width")]);
    assert_eq!(figures(&of(AHEAD, 0.005)), []);
    assert_eq!(figures(&of(None, 0.0)), []);
}

/// Breaks when a picture unlike the training's is not named, with the figure that is unlike.
#[test]
fn a_picture_unlike_the_training_is_named_by_its_figure() {
    // The pictures of `Car` are grey, of brightness 60 to 199.
    let picture = TrainedPictures { brightness: [5.0, 40.0], contrast: [60.0, 90.0], saturation: [20.0, 60.0] };
    let ride = ride(RideOptions::default(), Some(TrainedRanges { picture, ..RANGES }), AHEAD, 0.0);
    let found = named(ride, 6.0);
    let thresholds: Vec<_> = found.iter().map(|cause| (cause.as_str(), cause.threshold)).collect();
    assert_eq!(thresholds, [("brightness_untrained", 40.0), ("contrast_untrained", 60.0), ("saturation_untrained", 20.0)]);
    assert!((60.0..199.0).contains(&found[0].value) && found[1].value > 3.0 && found[2].value == 0.0, "{found:?}");
}

/// Breaks when the ranges of the shipped policy name what it was trained on: drives of a minute
/// through held-out worlds.
#[test]
fn the_simulated_world_is_not_unlike_the_shipped_policy_s_training() {
    let ranges = manifest_of(&root().join("engines/tiny")).unwrap().trained_ranges;
    assert!(ranges.is_some(), "the shipped policy states its ranges");
    let mount = SourceMount { yaw_rad: 0.0, pitch_rad: 0.0, roll_rad: 0.0, height_m: CAMERA_HEIGHT_M };
    let mut names = BTreeSet::new();
    for seed in 0..5 {
        let mut ride = ride(RideOptions::EVALUATION, ranges, Some(mount), 0.0);
        let straight = |_: &World, tick: i64| (tick == 0).then_some(Command::Straight);
        let mut world = World::new(seed, drivewam_world::Options::default());
        drive::through(&mut ride, &mut world, 600, straight, |_, outcome, _| {
            let untrained = outcome.degraded.iter().filter(|cause| matches!(cause.kind, CauseKind::Untrained(_)));
            names.extend(untrained.map(|cause| format!("seed {seed}: {cause}")));
        })
        .unwrap();
    }
    assert!(names.is_empty(), "{names:#?}");
}

/// Breaks when two quantities are named alike: reports count causes by their names.
#[test]
fn every_trained_quantity_has_a_name_of_its_own() {
    use TrainedQuantity::{Brightness, CameraHeight, CameraPitch, CameraRoll, CameraYaw, Contrast, Lens, Saturation, Speed};
    let all = [Speed, CameraYaw, CameraPitch, CameraRoll, CameraHeight, Lens, Brightness, Contrast, Saturation];
    let names: BTreeSet<_> = all.iter().map(|quantity| quantity.as_str()).collect();
    assert_eq!(names.len(), all.len());
}
