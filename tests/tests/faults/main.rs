//! Faults of engines, devices and inputs: each gives an error of its kind, the guard still
//! publishes an outcome, and the ride continues with a new rollout.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::guard::{CauseKind, Verdict};
use drivewam::outcome::{Outcome, Restart};
use drivewam::{Plan, Progress, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Layer;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_core::{Error, ErrorKind};
use drivewam_device::cuda::{CudaDevice, Emulator};
use drivewam_device::{Device, HostDevice};
use drivewam_engine::closed_form::{self, ClosedForm, Fault, Options};
use drivewam_tests::drive::picture;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod camera_jump;
mod camera_order;
mod car;
mod contradictions;
mod drop_order;
mod publication;
mod time_limit;
mod trained;

const SECOND: i64 = 1_000_000_000;

fn ride(set: &str, faulty: Graph, fault: Option<Fault>) -> Ride {
    ride_with(RideOptions::EVALUATION, set, faulty, fault)
}

fn ride_with(options: RideOptions, set: &str, faulty: Graph, fault: Option<Fault>) -> Ride {
    ride_on(|arena| Ok(Box::new(HostDevice::new(arena, 1)?)), options, set, faulty, fault)
}

fn ride_on(
    device: impl FnOnce(ArenaPlan) -> Result<Box<dyn Device>, Error>,
    options: RideOptions,
    set: &str,
    faulty: Graph,
    fault: Option<Fault>,
) -> Ride {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    let config = load_config(&path, &[Layer { name: "test".to_owned(), text: set.to_owned() }]).unwrap();
    let folder = closed_form::bundle(&config.model).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let plan = Plan::new(config, folder.manifest(), camera, options).unwrap();
    plan.warm_with(folder, device, |bundle, graph| {
        let options = Options { fault: fault.filter(|_| graph == faulty), ..Options::default() };
        Ok(Box::new(ClosedForm::open(bundle, graph, options)?))
    })
    .unwrap()
}

/// Pushes the inputs of second `s` of a car at 6 m/s and steps.
fn second(ride: &mut Ride, s: i64) -> Result<Option<u64>, Error> {
    for tick in (s * 10 - 9).max(0)..=s * 10 {
        let stamp = tick * SECOND / 10;
        ride.push_ego(stamp, EgoState { speed_mps: 6.0, ..EgoState::default() })?;
        ride.push_pose(stamp, Pose2::new(0.6 * tick as f64, 0.0, 0.0))?;
    }
    frame(ride, s)
}

fn frame(ride: &mut Ride, s: i64) -> Result<Option<u64>, Error> {
    ride.push_frame(s * SECOND, &picture(s))?;
    Ok(match ride.step(s * SECOND)? {
        Progress::Outcome(outcome) => Some(outcome.chunk),
        Progress::Waiting => None,
    })
}

fn kind(outcome: &Outcome) -> Option<CauseKind> {
    outcome.cause.map(|cause| cause.kind)
}

/// Transformer passes of the two chunks of Warm; faults count from there.
const WARM_DIT: u64 = 28;

#[test]
fn a_fault_of_the_transformer_is_an_error_the_guard_holds_the_plan_and_a_new_rollout_begins() {
    struct Case {
        fault: Fault,
        kind: ErrorKind,
        word: &'static str,
    }
    for case in [
        Case { fault: Fault::NanAt(WARM_DIT + 16), kind: ErrorKind::Output, word: "video step" },
        Case { fault: Fault::ErrorAt(WARM_DIT + 20), kind: ErrorKind::Engine, word: "dit" },
    ] {
        let mut ride = ride("{}", Graph::Dit, Some(case.fault));
        assert_eq!(second(&mut ride, 0).unwrap(), Some(1));
        assert_eq!(ride.outcome().unwrap().verdict, Verdict::Accepted);
        for s in 1..4 {
            assert_eq!(second(&mut ride, s).unwrap(), None);
        }
        let error = second(&mut ride, 4).unwrap_err();
        assert!(error.kind() == case.kind && error.to_string().contains(case.word), "{error}");
        let outcome = ride.outcome().unwrap();
        assert_eq!((outcome.verdict, kind(outcome)), (Verdict::Held, Some(CauseKind::Fault(case.kind))));
        assert!(outcome.published.points().iter().all(|p| p.x_m.is_finite()), "the held plan must be finite");
        assert!(outcome.trajectory.points().iter().all(|p| p.x_m.is_nan()), "a failed chunk must have no plan");
        if matches!(case.fault, Fault::ErrorAt(_)) {
            // A single failed run: the next frame begins a new rollout.
            assert_eq!(second(&mut ride, 5).unwrap(), Some(1));
            let outcome = ride.outcome().unwrap();
            assert_eq!((outcome.rollout, outcome.restarted), (1, Some(Restart::Fault(case.kind))));
            assert_eq!(outcome.verdict, Verdict::Accepted);
        } else {
            // A permanent fault: the plan is held for four seconds, then the guard requests minimal
            // risk.
            for (s, verdict) in [(5, Verdict::Held), (6, Verdict::Held), (7, Verdict::Held), (8, Verdict::MinimalRisk)] {
                assert!(second(&mut ride, s).is_err());
                assert_eq!(ride.outcome().unwrap().verdict, verdict, "second {s}");
            }
            assert_eq!(ride.outcome().unwrap().published.points().last().unwrap().v_mps, 0.0);
        }
    }
}

/// Breaks if a ride hides the loss of its GPU, or publishes no outcome after it.
#[test]
fn a_lost_device_ends_the_ride_in_its_safe_state() {
    let kill = Arc::new(AtomicBool::new(false));
    let emulator = Emulator::new(1).killable(Arc::clone(&kill));
    let device = |arena| Ok(Box::new(CudaDevice::new(Box::new(emulator), arena)?) as Box<dyn Device>);
    let mut ride = ride_on(device, RideOptions::EVALUATION, "{}", Graph::Dit, None);
    assert_eq!(second(&mut ride, 0).unwrap(), Some(1));
    assert_eq!(ride.outcome().unwrap().verdict, Verdict::Accepted);
    for s in 1..4 {
        second(&mut ride, s).unwrap();
    }
    kill.store(true, Ordering::Relaxed);
    let held = ride.outcome().unwrap().published.clone();
    for (s, verdict) in [(4, Verdict::Held), (5, Verdict::Held), (6, Verdict::Held), (7, Verdict::Held), (8, Verdict::MinimalRisk)] {
        for tick in s * 10 - 9..=s * 10 {
            let stamp = tick * SECOND / 10;
            ride.push_ego(stamp, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
            ride.push_pose(stamp, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
        }
        // The upload of the image fails, and the image before it is not used in its place.
        let told = [frame(&mut ride, s).unwrap_err(), ride.step(s * SECOND).unwrap_err()];
        assert!(told.iter().all(|e| e.kind() == ErrorKind::Device), "{told:?}");
        assert!(told[0].to_string().contains("lost") && told[1].to_string().contains("did not reach the device"), "{told:?}");
        let outcome = ride.outcome().unwrap();
        assert_eq!((outcome.verdict, kind(outcome)), (verdict, Some(CauseKind::Fault(ErrorKind::Device))), "second {s}");
        assert!(outcome.published.points().iter().all(|p| p.x_m.is_finite()) && outcome.published != held);
    }
    assert_eq!(ride.outcome().unwrap().published.points().last().unwrap().v_mps, 0.0);
}

/// Breaks if an image that did not reach the device ends a later rollout.
#[test]
fn a_picture_that_did_not_arrive_is_forgotten_with_its_rollout() {
    let kill = Arc::new(AtomicBool::new(false));
    let emulator = Emulator::new(1).killable(Arc::clone(&kill));
    let device = |arena| Ok(Box::new(CudaDevice::new(Box::new(emulator), arena)?) as Box<dyn Device>);
    let mut ride = ride_on(device, RideOptions::EVALUATION, "{}", Graph::Dit, None);
    second(&mut ride, 0).unwrap();
    kill.store(true, Ordering::Relaxed);
    assert_eq!(second(&mut ride, 1).unwrap_err().kind(), ErrorKind::Device);
    kill.store(false, Ordering::Relaxed);
    for tick in 11..=30 {
        ride.push_ego(tick * SECOND / 10, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
        ride.push_pose(tick * SECOND / 10, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
    }
    assert_eq!(frame(&mut ride, 3).unwrap(), Some(1), "the frame at 2 s never came: this one begins the next rollout");
    assert_eq!(ride.outcome().unwrap().verdict, Verdict::Accepted);
}

#[test]
fn a_latent_that_is_not_finite_is_an_error_of_the_encoder() {
    let mut ride = ride("{}", Graph::VaeEncode, Some(Fault::NanAt(2)));
    for s in 0..4 {
        second(&mut ride, s).unwrap();
    }
    let error = second(&mut ride, 4).unwrap_err();
    assert!(error.kind() == ErrorKind::Output && error.to_string().contains("encode"), "{error}");
}

#[test]
fn a_missing_frame_ends_the_rollout_and_says_which() {
    let mut ride = ride("{}", Graph::Dit, None);
    for s in [0, 1, 2] {
        second(&mut ride, s).unwrap();
    }
    for tick in 21..=40 {
        ride.push_ego(tick * SECOND / 10, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
        ride.push_pose(tick * SECOND / 10, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
    }
    assert_eq!(frame(&mut ride, 4).unwrap(), Some(1), "the frame at 3 s never came: this one is chunk 0 of the next rollout");
    let outcome = ride.outcome().unwrap();
    assert_eq!(outcome.restarted, Some(Restart::MissingFrame { expected_ns: 3 * SECOND, got_ns: 4 * SECOND }));
    assert_eq!((outcome.rollout, outcome.memory.video, outcome.memory.action), (1, 28, 8), "the memory holds the new first frame alone");
}

#[test]
fn a_hole_in_the_poses_is_an_input_error_and_refused_inputs_are_counted() {
    let mut ride = ride("{}", Graph::Dit, None);
    second(&mut ride, 0).unwrap();
    assert!(ride.push_pose(SECOND / 10, Pose2::new(f64::NAN, 0.0, 0.0)).is_err());
    assert!(ride.push_ego(0, EgoState::default()).is_err());
    let error = ride.push_frame(SECOND, &[0; 5]).unwrap_err().to_string();
    assert!(error.contains("got 5 bytes") && error.contains("21504 of 112 x 64 Rgb8"), "{error}");
    for s in 1..=4 {
        ride.push_frame(s * SECOND, &picture(s)).unwrap();
        // The poses between 1 and 2 s are missing.
        for tick in (s * 10 - 9..=s * 10).filter(|_| s != 2) {
            ride.push_ego(tick * SECOND / 10, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
            ride.push_pose(tick * SECOND / 10, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
        }
        if s < 4 {
            assert!(matches!(ride.step(s * SECOND).unwrap(), Progress::Waiting));
        }
    }
    let error = ride.step(4 * SECOND).unwrap_err();
    assert!(error.kind() == ErrorKind::Input && error.to_string().contains("the poses have a gap"), "{error}");
    assert_eq!(ride.outcome().unwrap().degraded.get(CauseKind::RejectedInputs).map(|cause| cause.value), Some(3.0));
}

#[test]
fn a_chunk_waits_for_the_poses_up_to_its_newest_frame() {
    let mut ride = ride("{}", Graph::Dit, None);
    ride.push_frame(0, &picture(0)).unwrap();
    assert!(matches!(ride.step(0).unwrap(), Progress::Waiting));
    ride.push_ego(0, EgoState::default()).unwrap();
    assert!(matches!(ride.step(0).unwrap(), Progress::Waiting));
    ride.push_pose(0, Pose2::default()).unwrap();
    assert!(matches!(ride.step(0).unwrap(), Progress::Outcome(_)));
    assert!(matches!(ride.step(0).unwrap(), Progress::Waiting), "a chunk is computed once");
}

#[test]
fn a_full_memory_under_policy_full_is_an_error_that_names_the_key() {
    let mut ride = ride("{memory: {policy: full, max_chunks: 2}}", Graph::Dit, None);
    let error = (0..20).find_map(|s| second(&mut ride, s).err()).unwrap();
    assert!(error.kind() == ErrorKind::Capacity && error.to_string().contains("memory.max_chunks"), "{error}");
}

#[test]
fn nothing_is_shown_of_a_chunk_that_imagined_nothing() {
    let options = RideOptions { decoder: true, ..RideOptions::EVALUATION };
    let mut ride = ride_with(options, "{}", Graph::Dit, Some(Fault::ErrorAt(WARM_DIT + 20)));
    assert_eq!(ride.future().unwrap_err().kind(), ErrorKind::Usage, "the future of Warm must not be visible");
    second(&mut ride, 0).unwrap();
    assert_eq!(ride.future().unwrap().len(), 4 * 3 * 64 * 112);
    let error = (1..=4).find_map(|s| second(&mut ride, s).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Engine);
    assert_eq!(ride.future().unwrap_err().kind(), ErrorKind::Usage, "the future of an earlier chunk must not be returned");
}

#[test]
fn a_fault_s_outcome_says_nothing_of_the_chunk_before() {
    let mut ride = ride("{}", Graph::Dit, None);
    second(&mut ride, 0).unwrap();
    for s in 1..4 {
        second(&mut ride, s).unwrap();
    }
    // The pose at t0 lies in a gap; all earlier poses are known.
    for tick in 31..39 {
        ride.push_pose(tick * SECOND / 10, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
    }
    ride.push_pose(41 * SECOND / 10, Pose2::new(24.6, 0.0, 0.0)).unwrap();
    ride.push_ego(4 * SECOND, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
    let error = frame(&mut ride, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    let outcome = ride.outcome().unwrap();
    assert_eq!((outcome.policy_t0_ns, outcome.chunk, outcome.continuity_error_m), (Some(4 * SECOND), 2, None));
    assert_eq!(outcome.memory.total(), 0);
}
