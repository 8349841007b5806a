//! The NVTX ranges of a ride, recorded by a listener library: needs neither a GPU nor a profiler.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::guidance::model::{GenerateError, GuidanceAnswer, GuidanceModel, GuidanceRequest};
use drivewam::guidance::status::RejectReason;
use drivewam::outcome::Outcome;
use drivewam::{Plan, Progress, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::bindings::Graph;
use drivewam_core::config::Layer;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_device::HostDevice;
use drivewam_engine::closed_form::{self, ClosedForm, Fault, Options};
use drivewam_engine::{EngineBundle, Trust};
use drivewam_tests::nvtx_listener::NvtxListener;
use std::fmt::Write;
use std::fs::{read_to_string, write};
use std::path::Path;
use std::process::Command;

const SECOND: i64 = 1_000_000_000;
/// Transformer passes of the two chunks of Warm.
const WARM_DIT: u64 = 28;

fn config(set: &str) -> drivewam_core::config::Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    load_config(&path, &[Layer { name: "test".to_owned(), text: set.to_owned() }]).unwrap()
}

/// The shipped policy, with a fake guidance model that the ride waits for.
fn shipped() -> Ride {
    let config = config("{memory: {policy: selective}, guidance: {wait_ms: inf, max_age_ms: 5000}}");
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::default()).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let mut ride = Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap().warm(bundle).unwrap();
    ride.set_guidance_model(Box::new(FakeModel)).unwrap();
    ride
}

/// A ride whose transformer fails once, in the second action step of the second chunk.
fn faulty() -> Ride {
    let config = config("{}");
    let bundle = closed_form::bundle(&config.model).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let plan = Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap();
    let fault = Some(Fault::ErrorAt(WARM_DIT + 20));
    let open = |bundle: &EngineBundle, graph| {
        let fault = fault.filter(|_| graph == Graph::Dit);
        Ok(Box::new(ClosedForm::open(bundle, graph, Options { fault, ..Options::default() })?) as Box<_>)
    };
    plan.warm_with(bundle, |arena| Ok(Box::new(HostDevice::new(arena, 1)?)), open).unwrap()
}

/// A fake guidance model whose embedding depends on the frame; fails for every third request.
struct FakeModel;

impl GuidanceModel for FakeModel {
    fn generate(&mut self, request: &GuidanceRequest, answer: &mut GuidanceAnswer) -> Result<(), GenerateError> {
        if request.number.is_multiple_of(3) {
            return Err(GenerateError::Rejected(RejectReason::Endless));
        }
        answer.text.push_str("The road is free. Keep on.");
        answer.tokens = 3;
        answer.embeddings[..192].fill(request.number as f32 * 0.01 + f32::from(request.frame[0]) * 0.001);
        Ok(())
    }
}

/// The expected ranges according to the ride's own stages, and its outcomes.
#[derive(Default)]
struct Account {
    ranges: Vec<String>,
    outcomes: String,
    chunks: usize,
}

impl Account {
    /// Adds a chunk. `failed`: the stage that an error ended, which the outcome does not list.
    fn add(&mut self, outcome: &Outcome, failed: Option<&str>) {
        let spans: Vec<&str> = outcome.stages.spans().map(|span| span.stage.as_str()).collect();
        let frames = spans.iter().take_while(|stage| **stage == "ingest").count();
        self.ranges.extend(spans[..frames].iter().map(|stage| (*stage).to_owned()));
        self.ranges.push("chunk".to_owned());
        let (guard, work) = spans[frames..].split_last().unwrap();
        self.ranges.extend(work.iter().copied().chain(failed).chain([*guard]).map(|stage| format!("chunk/{stage}")));
        writeln!(self.outcomes, "{:?} {:?} {:?}", outcome.verdict, outcome.published, outcome.guidance.text).unwrap();
        self.chunks += 1;
    }

    /// Drives for `seconds` with ten images per second, of which the model uses one.
    fn drive(&mut self, ride: &mut Ride, seconds: i64, failed: Option<&str>) {
        for tick in 0..=seconds * 10 {
            let stamp = tick * SECOND / 10;
            ride.push_ego(stamp, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
            ride.push_pose(stamp, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
            ride.push_frame(stamp, &vec![(tick % 251) as u8; 64 * 112 * 3]).unwrap();
            // A refused image has no range.
            assert!(ride.push_frame(stamp, &[0; 5]).is_err());
            match ride.step(stamp) {
                Ok(Progress::Outcome(outcome)) => self.add(outcome, None),
                Ok(Progress::Waiting) => {}
                Err(error) => {
                    assert!(failed.is_some(), "{error}");
                    self.add(ride.outcome().unwrap(), failed);
                }
            }
        }
    }
}

const HOME: &str = "DRIVEWAM_TEST_NVTX";

/// Breaks when stages and ranges differ, a range stays open after an error, a pass is missing,
/// names differ from the report's, a range opens or closes on another thread, a name is registered
/// only in the ride, or the listener changes a trajectory.
#[test]
fn a_profiler_sees_every_stage_once_and_changes_nothing() {
    if let Some(home) = std::env::var_os(HOME) {
        let mut account = Account::default();
        account.drive(&mut shipped(), 24, None);
        let chunks = account.chunks;
        account.drive(&mut faulty(), 5, Some("action"));
        write(Path::new(&home).join("chunks"), format!("{chunks} {}", account.chunks)).unwrap();
        write(Path::new(&home).join("ranges"), account.ranges.join("\n")).unwrap();
        write(Path::new(&home).join("outcomes"), account.outcomes).unwrap();
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let listener = NvtxListener::new(temp.path());
    let run = |name: &str| {
        let home = temp.path().join(name);
        std::fs::create_dir(&home).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["a_profiler_sees", "--nocapture"]).env(HOME, &home).env_remove("NVTX_INJECTION64_PATH");
        let done = if name == "alone" { &mut command } else { listener.attach(&mut command) }.output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        home
    };
    let (alone, traced) = (run("alone"), run("traced"));
    for file in ["chunks", "ranges", "outcomes"] {
        let [alone, traced] = [&alone, &traced].map(|home| read_to_string(home.join(file)).unwrap());
        assert!(alone == traced && !alone.is_empty(), "{file}: alone {alone}, traced {traced}");
    }
    let chunks = read_to_string(traced.join("chunks")).unwrap();
    // At 0 s and every 4 s; the faulty ride at 0 s, at 4 s, and with the next frame in a new
    // rollout.
    assert_eq!(chunks, "7 10");

    let threads = listener.threads();
    let [ride, guidance] = &threads[..] else { panic!("{} threads", threads.len()) };
    assert_eq!(guidance.name, "guidance");
    assert_eq!(guidance.ranges, vec!["guidance"; 7], "Warm, and a ride without a model, must have no guidance range");
    let (warm, driven): (Vec<&String>, Vec<&String>) = ride.ranges.iter().partition(|range| range.starts_with("warm"));
    let expected = read_to_string(traced.join("ranges")).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(driven, expected);
    let count = |of: &str| driven.iter().filter(|range| **range == of).count();
    let passes = ["chunk/observe", "chunk/video", "chunk/action"].map(count);
    println!("{} ranges of 10 chunks, passes {passes:?}, {} of the two warm-ups", driven.len(), warm.len());
    assert_eq!(passes, [10, 9 * 3 + 3, 9 * 10 + 2], "14 per chunk; one ended in its second action step");
    assert_eq!(warm.iter().filter(|range| **range == "warm").count(), 2);
    assert_eq!(warm.iter().filter(|range| **range == "warm/chunk/video").count(), 2 * 2 * 3);
}
