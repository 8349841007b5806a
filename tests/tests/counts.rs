//! Machine-independent costs of one chunk against a baseline. A lower count lowers the baseline; a
//! higher one is a regression.
//!
//! `no_alloc.rs` counts allocations.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::{Plan, Progress, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::config::Layer;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_device::Traffic;
use drivewam_device::cuda::{CudaDevice, Emulator, Kernel};
use drivewam_engine::{EngineBundle, Trust, load};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

const MS: i64 = 1_000_000;

/// The counted costs of a chunk with a full memory.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    passes: u32,
    traffic: Traffic,
    arena_bytes: usize,
}

fn chunk(ride: &mut Ride, from_ms: i64) -> u32 {
    let picture = vec![90u8; 64 * 112 * 3];
    let mut passes = 0;
    for tick in 0..40 {
        let ms = from_ms + tick * 100;
        ride.push_ego(ms * MS, EgoState { speed_mps: 7.0, ..EgoState::default() }).unwrap();
        ride.push_pose(ms * MS, Pose2::new(0.7 * (ms / 100) as f64, 0.0, 0.0)).unwrap();
        ride.push_frame(ms * MS, &picture).unwrap();
        if let Progress::Outcome(outcome) = ride.step(ms * MS).unwrap() {
            passes = outcome.stages.passes();
        }
    }
    passes
}

/// The plan of the shipped policy, its bundle and engine settings.
fn plan(set: &str) -> (Plan, EngineBundle, drivewam_core::config::EngineConfig) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    let config = load_config(&path, &[Layer { name: "test".to_owned(), text: set.to_owned() }]).unwrap();
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::default()).unwrap();
    let (camera, engine) = (SourceCamera::of_model(&config.model), config.engine.clone());
    (Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap(), bundle, engine)
}

fn counts(set: &str) -> Counts {
    let (plan, bundle, _) = plan(set);
    let mut ride = plan.warm(bundle).unwrap();
    ride.push_command(0, Command::Straight).unwrap();
    for warmup in 0..6 {
        chunk(&mut ride, warmup * 4000);
    }
    let before = ride.traffic();
    let passes = chunk(&mut ride, 24_000);
    let after = ride.traffic();
    let traffic = Traffic {
        uploaded: after.uploaded - before.uploaded,
        downloaded: after.downloaded - before.downloaded,
        committed: after.committed - before.committed,
        pictures: after.pictures - before.pictures,
        steps: after.steps - before.steps,
    };
    Counts { passes, traffic, arena_bytes: ride.arena().bytes() }
}

/// Breaks when a chunk needs more passes, copies or memory than the baseline.
#[test]
fn a_chunk_costs_no_more_than_the_baseline() {
    let selective = counts("{memory: {policy: selective}}");
    println!("{selective:?}");
    // Of the copies, the monitors have 480 bytes up (40 increments) and 10756 down (the velocity of
    // 28 tokens of width 96, and one number).
    // Keys and values of 36 observed and 28 predicted tokens, six layers, width 128, once each:
    // nothing else is moved.
    assert_eq!(selective.traffic.committed, 2 * 4 * 128 * 6 * (36 + 28));
    assert_eq!(selective, BASELINE);
}

const BASELINE: Counts = Counts {
    passes: 14,
    traffic: Traffic { uploaded: 35_308, downloaded: 35_332, committed: 393_216, pictures: 4, steps: 13 },
    arena_bytes: 2_330_624,
};

/// Kernel launches of a chunk with a full memory, by kernel.
const LAUNCHES: [(&str, u32); 7] =
    [("decide_f32", 2), ("drop", 2), ("fill", 1), ("image", 4), ("scatter_f32", 2), ("score_f32", 1), ("solver", 13)];

/// Breaks when a chunk on a GPU launches another kernel, or one more often, than the baseline.
#[test]
fn a_chunk_launches_the_kernels_of_the_baseline() {
    let (plan, bundle, engine) = plan("{memory: {policy: selective}}");
    let seen: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let name = |kernel: Kernel| kernel.name().to_string_lossy().into_owned();
    let emulator = Emulator::new(1).watched(move |kernel, _| *notes.lock().unwrap().entry(name(kernel)).or_default() += 1);
    let device = |arena| Ok(Box::new(CudaDevice::new(Box::new(emulator), arena)?) as Box<_>);
    let mut ride = plan.warm_with(bundle, device, |bundle, graph| load(&engine, bundle, graph)).unwrap();
    ride.push_command(0, Command::Straight).unwrap();
    for warmup in 0..6 {
        chunk(&mut ride, warmup * 4000);
    }
    seen.lock().unwrap().clear();
    chunk(&mut ride, 24_000);
    let launches = seen.lock().unwrap().clone();
    println!("{launches:?}");
    assert_eq!(launches, LAUNCHES.map(|(name, count)| (name.to_owned(), count)).into());
}
