//! Operations of Run allocate nothing, on any thread. The test counts every allocation of the
//! process while chunks are committed, selected over, stepped and resampled, under the options that
//! need the most work space.

#![expect(unsafe_code, reason = "a counting allocator has to be a global allocator")]

use drivewam_core::arena::{Planner, Region};
use drivewam_core::config::{Config, Layer, MemoryPolicy, SolverKind};
use drivewam_core::dtype::DType;
use drivewam_core::flow::schedule::action_steps;
use drivewam_core::flow::solver::plan;
use drivewam_core::noise::{Stream, standard_normal};
use drivewam_core::rope::RopeTable;
use drivewam_core::selection::{HeadSets, Keys, Normalise, Policy, Scored, Scoring};
use drivewam_device::{
    Commit, DeviceMemory, HostDevice, ImageOps, KvLayout, KvMemory, KvRegions, PassKv, Pictures, Pool, ResampleWeights, SolverOps,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes unchanged to the system's allocator, whose contract is this one's;
// counting changes an atomic alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`, through `alloc` or `realloc` here, with this
        // layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`; the caller keeps the rest of the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn twelve_chunks_of_the_costliest_options_allocate_nothing() {
    let layer = |name: &str, text: &str| Layer { name: name.to_owned(), text: text.to_owned() };
    let model = Config::from_layers(&[
        layer("model", include_str!("../../../configs/model/tiny.yaml")),
        layer("target", include_str!("../../../configs/target/host-cpu.yaml")),
        layer("vehicle", include_str!("../../../configs/vehicle/world.yaml")),
        layer("tiny", include_str!("../../../configs/tiny.yaml")),
    ])
    .unwrap()
    .model;
    for heads in [HeadSets::Shared, HeadSets::PerHead] {
        let scoring = Scoring {
            lambda: 0.07,
            heads,
            normalise: Normalise::Softmax,
            keys: Keys::PreRope,
            max_pool: 7,
            scored: Scored::PoolAndNew,
            max_age_chunks: 0,
        };
        let layout = KvLayout {
            layers: 3,
            heads: model.heads,
            head_dim: model.head_dim,
            video_slots: 112,
            action_slots: 32,
            tail_slots: 28,
            pass_tokens: 36,
            policy: MemoryPolicy::Selective,
            scoring,
            rope: RopeTable::new(&model),
        };
        let mut planner = Planner::new();
        let mut per_layer = |name: &str, rows: usize| -> Vec<Region> {
            let shape = [layout.heads, rows, layout.head_dim];
            (0..layout.layers).map(|l| planner.add("memory", format!("{name}.{l}"), DType::F32, &shape).unwrap()).collect()
        };
        let (k, v) = (per_layer("mem_k", layout.slots()), per_layer("mem_v", layout.slots()));
        let pass = PassKv { tokens: 36, k: per_layer("k", 36), v: per_layer("v", 36), q: per_layer("q", 36) };
        let mut add = |shape: &[usize]| planner.add("test", "r", DType::F32, shape).unwrap();
        let (bias, frame, x, velocity) = (add(&[layout.slots()]), add(&[3, 64, 112]), add(&[36, 96]), add(&[36, 96]));
        let history = [add(&[36, 96]), add(&[36, 96]), add(&[36, 96])];
        let mut device = HostDevice::new(planner.finish(1 << 26).unwrap(), 3).unwrap();
        let (columns, rows) = (ResampleWeights::triangle(300, 112), ResampleWeights::triangle(200, 64));
        let picture = vec![90u8; 300 * 200 * 3];
        device.open_camera(Pictures::rgb8(300, 200), columns, rows).unwrap();
        device.kv_open(&layout, &[KvRegions { k, v, bias }]).unwrap();
        let steps = plan(SolverKind::Unipc, &action_steps(12, 1.0)).unwrap();
        let channels: Vec<usize> = (0..15).collect();
        let mut row = vec![0.0; layout.heads * 36 * layout.head_dim];

        let before = COUNT.load(Ordering::Relaxed);
        for (chunk, step) in (0u32..).zip(&steps) {
            for region in pass.k.iter().chain(&pass.v).chain(&pass.q) {
                standard_normal(u64::from(chunk), region.offset() as u64, Stream::Video, &mut row);
                device.upload(*region, &row).unwrap();
            }
            device.resample(&picture, frame).unwrap();
            device.kv_drop_predicted().unwrap();
            let commits = [(Pool::Video, 0..28), (Pool::Action, 28..36)];
            let commits = commits.map(|(pool, rows)| Commit { pool, policy: Policy::Selective, pass: &pass, rows });
            device.kv_commit_observed(chunk, &commits).unwrap();
            device.kv_commit_predicted(chunk, &pass, 0..28).unwrap();
            device.solve(step, x, velocity, &history, 96, &channels).unwrap();
            device.download(x, &mut row[..100]).unwrap();
        }
        let allocations = COUNT.load(Ordering::Relaxed) - before;
        assert_eq!(device.kv_counts().total(), 172, "the pools were never full, so nothing was selected");
        assert_eq!(allocations, 0, "{heads:?}");
    }
}
