//! The ride allocates nothing outside of engine libraries: counts every allocation of the process,
//! on all threads, during up to 20 chunks.
//!
//! Allocations inside a call of an engine library are counted separately and printed
//! (`drivewam_engine::library`). Minor page faults are counted too: they reveal memory that is
//! first touched in the ride. The main thread is not counted: the test harness alone runs on it,
//! and allocates when it tells of a slow test.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(unsafe_code, reason = "a counting allocator has to be a global allocator")]

use drivewam::guidance::image_processor::ImageProcessor;
use drivewam::guidance::model::{GenerateError, GuidanceAnswer, GuidanceModel, GuidanceRequest};
use drivewam::guidance::status::{GuidanceSource, RejectReason};
use drivewam::{Plan, Progress, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::config::Layer;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::guidance::VlmImage;
use drivewam_core::pose::Pose2;
use drivewam_engine::{EngineBundle, Trust, library};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static OURS: AtomicU64 = AtomicU64::new(0);
static LIBRARY: AtomicU64 = AtomicU64::new(0);

fn count() {
    if rustix::thread::gettid() == rustix::process::getpid() {
        return;
    }
    let counter = if library::inside() { &LIBRARY } else { &OURS };
    counter.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call is forwarded unchanged to the system's allocator, which has the same contract;
// counting only updates two atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`, through `alloc` or `realloc` above, with this
        // layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`; the caller upholds the rest of the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Minor page faults of this process so far.
fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The second field is the name in parentheses, the tenth the minor faults.
    stat.rsplit(") ").next().unwrap().split(' ').nth(7).unwrap().parse().unwrap()
}

const MS: i64 = 1_000_000;

/// Serialises the tests, because the counters belong to the process.
static ALONE: Mutex<()> = Mutex::new(());

fn ride(set: &str) -> Ride {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    let config = load_config(&path, &[Layer { name: "test".to_owned(), text: set.to_owned() }]).unwrap();
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::default()).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap().warm(bundle).unwrap()
}

/// Drives `chunks` chunks from time `from_ms`, with changing commands. Returns the number of
/// outcomes.
fn drive(ride: &mut Ride, picture: &mut [u8], from_ms: i64, chunks: i64) -> u64 {
    let commands = [Command::Straight, Command::Left, Command::Unknown, Command::Right];
    let mut outcomes = 0;
    for tick in 0..chunks * 40 {
        let (ms, x_m) = (from_ms + tick * 100, 0.7 * (from_ms / 100 + tick) as f64);
        if tick % 120 == 0 {
            ride.push_command(ms * MS, commands[(tick / 120) as usize % 4]).unwrap();
        }
        ride.push_ego(ms * MS, EgoState { speed_mps: 7.0, ..EgoState::default() }).unwrap();
        ride.push_pose(ms * MS, Pose2::new(x_m, 0.0, 0.0)).unwrap();
        for (i, byte) in picture.iter_mut().enumerate() {
            *byte = ((i as i64 * 31 + ms) % 251) as u8;
        }
        ride.push_frame(ms * MS, picture).unwrap();
        if let Progress::Outcome(outcome) = ride.step(ms * MS).unwrap() {
            outcomes += 1;
            assert!(outcome.trajectory.points().iter().all(|p| p.x_m.is_finite()));
        }
    }
    outcomes
}

/// A fake guidance model: generates two sentences at once, and fails for every fifth request.
struct FakeModel;

impl GuidanceModel for FakeModel {
    fn generate(&mut self, request: &GuidanceRequest, answer: &mut GuidanceAnswer) -> Result<(), GenerateError> {
        if request.number.is_multiple_of(5) {
            return Err(GenerateError::Rejected(RejectReason::Endless));
        }
        answer.text.push_str("The road is free. Keep on.");
        answer.tokens = 3;
        answer.embeddings[..192].fill(request.number as f32 * 0.01 + f32::from(request.frame[0]) * 0.001);
        Ok(())
    }
}

#[test]
fn chunks_allocate_nothing_in_our_code_on_any_thread() {
    let _alone = ALONE.lock();
    for (set, chunks, speaks) in [
        ("{memory: {policy: selective}}", 20, false),
        ("{memory: {policy: selective}, lanes: {count: 4}}", 8, false),
        ("{memory: {policy: selective}, guidance: {wait_ms: 5, max_age_ms: 3000}}", 20, true),
        ("{memory: {policy: fifo}, flow: {solver: unipc, action: {start: {mean: 2}}}}", 8, false),
        ("{memory: {policy: selective, scoring: {heads: per_head, keys: pre_rope, normalise: softmax, max_pool: 7}}}", 8, false),
    ] {
        let mut ride = ride(set);
        if speaks {
            ride.set_guidance_model(Box::new(FakeModel)).unwrap();
        }
        let mut picture = vec![0u8; 64 * 112 * 3];
        // Four chunks fill the memory; from the fifth on it evicts, which the count must cover. The
        // library also allocates its pools here.
        drive(&mut ride, &mut picture, 0, 6);
        let faults = minor_faults();
        let (ours, theirs) = (OURS.load(Ordering::Relaxed), LIBRARY.load(Ordering::Relaxed));
        let lanes = ride.config().lanes.count as i64;
        let outcomes = drive(&mut ride, &mut picture, 24_000, chunks / lanes);
        let (ours, theirs) = (OURS.load(Ordering::Relaxed) - ours, LIBRARY.load(Ordering::Relaxed) - theirs);
        let faults = minor_faults() - faults;
        println!("{set}: {outcomes} chunks, allocations of ours {ours}, of the engine library {theirs}, minor page faults {faults}");
        assert_eq!(outcomes, chunks as u64);
        let status = &ride.outcome().unwrap().guidance;
        assert_eq!(
            (status.reject_count > 2, status.source == GuidanceSource::Vlm || status.rejected.is_some()),
            (speaks, speaks),
            "{status:?}"
        );
        assert!(theirs > 0, "the engine library allocates in its calls, but no allocation was counted");
        assert!(faults < 1000, "{faults} minor page faults in {chunks} chunks: memory is touched for the first time in the ride");
        let table = ride.memory_table(0).unwrap();
        let scored = table.pool(0, 0..112).unwrap().iter().any(|slot| slot.score != 0.0);
        assert_eq!(scored, set.contains("selective"), "the ride must run with the given settings");
        assert_eq!(ours, 0, "allocations in the ride: {set}");
    }
}

/// Breaks when resizing an image for the VLM or cutting it into patches allocates, whichever axis
/// is resized first.
#[test]
fn a_picture_for_the_vlm_allocates_nothing() {
    let _alone = ALONE.lock();
    let image = VlmImage { height: 64, width: 128, patch: 16, temporal_patch: 2, merge: 2, mean: [0.5; 3], std: [0.5; 3] };
    for from in [(270, 480), (480, 270), (64, 128)] {
        let mut made = ImageProcessor::new(from, image).unwrap();
        let (picture, mut patches) = (vec![9u8; from.0 * from.1 * 3], vec![0.0; image.patches() * image.patch_len()]);
        // The minimum of several runs: the test harness may allocate on another thread.
        let allocations = (0..5).map(|_| {
            let before = OURS.load(Ordering::Relaxed);
            made.run(&picture, &mut patches).unwrap();
            OURS.load(Ordering::Relaxed) - before
        });
        assert_eq!(allocations.min(), Some(0), "{from:?}");
    }
}

/// The ride on a GPU with the fake driver and the fake TensorRT. Breaks if a device operation, a
/// pass or a copy allocates.
#[cfg(feature = "tensorrt")]
#[test]
fn a_ride_on_a_gpu_allocates_nothing_either() {
    let _alone = ALONE.lock();
    const FAKES: &str = "DRIVEWAM_TEST_FAKES";
    let Some(home) = std::env::var_os(FAKES) else {
        let temp = tempfile::tempdir().unwrap();
        drivewam_tests::fakes::kernels(&temp.path().join("kernels"));
        drivewam_tests::fakes::driver(temp.path());
        let done = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["a_ride_on_a_gpu", "--nocapture"])
            .env("LD_LIBRARY_PATH", temp.path())
            .env(FAKES, temp.path())
            .output()
            .unwrap();
        print!("{}", String::from_utf8_lossy(&done.stdout));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        return;
    };
    let home = Path::new(&home);
    let (family, folder) = (drivewam_core::manifest::Family::Tensorrt, home.join("engines"));
    let library = drivewam_tests::fakes::runtime(home, family);
    drivewam_tests::fake_engines::FakeBundle::new(family).of_zeros().write(&folder);
    let mut config = load_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml"), &[]).unwrap();
    config.lanes.count = 2;
    config.engine.kind = drivewam_core::config::EngineKind::Tensorrt;
    config.engine.folder = folder.display().to_string();
    config.engine.tensorrt.library = Some(library.display().to_string());
    config.engine.tensorrt.kernels = Some(home.join("kernels").display().to_string());
    let engines = EngineBundle::open(&folder, &Trust::default()).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let mut ride = Plan::new(config, engines.manifest(), camera, RideOptions::EVALUATION).unwrap().warm(engines).unwrap();
    let mut picture = vec![0u8; 64 * 112 * 3];
    drive(&mut ride, &mut picture, 0, 6);
    let (ours, theirs) = (OURS.load(Ordering::Relaxed), LIBRARY.load(Ordering::Relaxed));
    let outcomes = drive(&mut ride, &mut picture, 24_000, 10);
    let (ours, theirs) = (OURS.load(Ordering::Relaxed) - ours, LIBRARY.load(Ordering::Relaxed) - theirs);
    println!("on a GPU: {outcomes} chunks, allocations of ours {ours}, within calls of the engine library {theirs}");
    assert_eq!((outcomes, ours, theirs), (20, 0, 0));
}
