//! A panic while a chunk is computed ends the ride in its safe state.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::guard::{CauseKind, Verdict};
use drivewam::outcome::{Outcome, Restart};
use drivewam::{EgoState, Error, ErrorKind, Plan, Pose2, Progress, Result, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::bindings::Graph;
use drivewam_device::{Device, HostDevice};
use drivewam_engine::closed_form::{self, ClosedForm, Options};
use drivewam_engine::{Binding, Engine, EngineBundle, Io};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SECOND: i64 = 1_000_000_000;
/// Transformer passes of Warm and of the first chunk, 14 each.
const PASSES_BEFORE: u64 = 3 * 14;

/// A transformer that panics in pass `panics_at`.
#[derive(Debug)]
struct Panics {
    engine: ClosedForm,
    panics_at: u64,
    runs: Arc<AtomicU64>,
}

impl Engine for Panics {
    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn graph(&self) -> Graph {
        self.engine.graph()
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        self.engine.bind(device, io)
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(run != self.panics_at, "pass {run} panics");
        self.engine.run(binding, device)
    }
}

fn ride(panics_at: u64) -> (Ride, Arc<AtomicU64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml");
    let config = load_config(&path, &[]).unwrap();
    let folder = closed_form::bundle(&config.model).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let plan = Plan::new(config, folder.manifest(), camera, RideOptions::EVALUATION).unwrap();
    let runs = Arc::new(AtomicU64::new(0));
    let open = |bundle: &EngineBundle, graph| -> Result<Box<dyn Engine>> {
        let engine = ClosedForm::open(bundle, graph, Options::default())?;
        if graph != Graph::Dit {
            return Ok(Box::new(engine));
        }
        Ok(Box::new(Panics { engine, panics_at, runs: Arc::clone(&runs) }))
    };
    let ride = plan.warm_with(folder, |arena| Ok(Box::new(HostDevice::new(arena, 1)?)), open).unwrap();
    (ride, runs)
}

/// Pushes the inputs of second `s` of a car at 6 m/s, and steps. Returns the chunk's number.
fn second(ride: &mut Ride, s: i64) -> std::result::Result<Option<u64>, Error> {
    push_motion(ride, s);
    ride.push_frame(s * SECOND, &vec![90u8; 64 * 112 * 3])?;
    Ok(match ride.step(s * SECOND)? {
        Progress::Outcome(outcome) => Some(outcome.chunk),
        Progress::Waiting => None,
    })
}

fn push_motion(ride: &mut Ride, s: i64) {
    for tick in (s * 10 - 9).max(0)..=s * 10 {
        let stamp = tick * SECOND / 10;
        ride.push_ego(stamp, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
        ride.push_pose(stamp, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
    }
}

/// Breaks if a panic leaves `step`, if the ride computes again after it, or if the vehicle is not
/// asked for minimal risk from then on.
#[test]
fn a_panic_ends_the_ride_and_every_later_step_asks_for_minimal_risk() {
    let (mut ride, runs) = ride(PASSES_BEFORE + 6);
    assert_eq!(second(&mut ride, 0).unwrap(), Some(1));
    assert_eq!(ride.outcome().unwrap().verdict, Verdict::Accepted);
    for s in 1..4 {
        assert_eq!(second(&mut ride, s).unwrap(), None);
    }
    let error = second(&mut ride, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("pass 48 panics"), "{error}");
    let outcome = ride.outcome().unwrap();
    let cause = Some(CauseKind::Fault(ErrorKind::Internal));
    let kind = |outcome: &Outcome| outcome.cause.map(|cause| cause.kind);
    assert_eq!((outcome.chunk, outcome.verdict, kind(outcome)), (2, Verdict::MinimalRisk, cause), "the ride is lost");
    assert!(outcome.published_poses().iter().all(|x| x.is_finite()) && outcome.trajectory_poses().iter().all(|x| x.is_nan()));
    let passes = runs.load(Ordering::Relaxed);

    for s in 5..=9 {
        push_motion(&mut ride, s);
        let frame = ride.push_frame(s * SECOND, &vec![90u8; 64 * 112 * 3]).unwrap_err();
        assert_eq!(frame.kind(), ErrorKind::Internal, "a lost ride takes no frames");
        let error = ride.step(s * SECOND).unwrap_err();
        assert!(error.kind() == ErrorKind::Internal && error.to_string().contains("pass 48 panics"), "{error}");
        let outcome = ride.outcome().unwrap();
        assert_eq!((outcome.anchor_ns, outcome.verdict, kind(outcome)), (s * SECOND, Verdict::MinimalRisk, cause));
        let points = outcome.published.points();
        assert!(points[0].v_mps < 6.0 && points.last().unwrap().v_mps == 0.0, "it brakes from the newest speed: {points:?}");
        assert_eq!((outcome.memory.total(), outcome.restarted), (0, None::<Restart>));
    }
    ride.restart();
    push_motion(&mut ride, 10);
    assert_eq!(ride.step(10 * SECOND).unwrap_err().kind(), ErrorKind::Internal, "a restart does not bring a lost ride back");
    assert_eq!(runs.load(Ordering::Relaxed), passes, "a lost ride does not compute");
    assert_eq!(ride.future().unwrap_err().kind(), ErrorKind::Usage);
}
