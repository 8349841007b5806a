//! What the CUDA kernels move and multiply at the paper's shape, by their own counters in the emulator, against the arithmetic.
//!
//! 24 heads of 128, pools of 448 and 160 slots, chunks of 112 and 40 tokens, bf16 (spec section 6); two of the 30 layers, all of which do the same.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::arena::{Planner, Region};
use drivewam_core::config::MemoryPolicy;
use drivewam_core::dtype::DType;
use drivewam_core::rope::RopeTable;
use drivewam_core::selection::{Policy, Scoring};
use drivewam_device::cuda::{Counts, CudaDevice, Emulator, Kernel};
use drivewam_device::{Device, KvLayout, KvRegions, PassKv, Pool};
use drivewam_tests::conformance::rig::model;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const LAYERS: u64 = 2;
const HEADS: u64 = 24;
const WIDTH: u64 = 128;
/// Slots, and tokens of a chunk.
const VIDEO: [u64; 2] = [448, 112];
const ACTION: [u64; 2] = [160, 40];
/// Queries of a block of `score.cu`.
const QUERIES: u64 = 32;
/// Bytes of a token's key, or value, in one layer.
const ROW: u64 = HEADS * WIDTH * 2;

/// What a commit of one pool must move in each kernel, all layers together.
fn arithmetic([slots, fresh]: [u64; 2]) -> [(Kernel, Counts); 3] {
    let blocks = fresh.div_ceil(QUERIES);
    let counts = |bytes_read, bytes_written, flops| Counts {
        bytes_read: LAYERS * bytes_read,
        bytes_written: LAYERS * bytes_written,
        flops: LAYERS * flops,
    };
    [
        // Every new key and value, once.
        (Kernel::CheckBf16, counts(2 * fresh * ROW, 0, 0)),
        // The pool's keys by every block of queries, and once more for the redundancy (the first of these from device memory, the others from L2); the
        // queries once. Products for whole blocks of queries.
        (Kernel::ScoreBf16, counts((blocks + 1) * slots * ROW + fresh * ROW, 0, 2 * blocks * QUERIES * slots * HEADS * WIDTH)),
        // Every new key and value from its pass to its slot.
        (Kernel::ScatterBf16, counts(2 * fresh * ROW, 2 * fresh * ROW, 0)),
    ]
}

/// Breaks if a kernel reads or writes a byte more, or multiplies more, than the design says; if a launch is added; or if `traffic` says something else.
#[test]
fn a_commit_moves_what_the_arithmetic_says() {
    let mut small = model();
    small.rope.split = [44, 42, 42];
    let rope = RopeTable::new(&small);
    let n = |x: u64| usize::try_from(x).unwrap();
    let layout = KvLayout {
        layers: n(LAYERS),
        heads: n(HEADS),
        head_dim: n(WIDTH),
        video_slots: n(VIDEO[0]),
        action_slots: n(ACTION[0]),
        tail_slots: n(VIDEO[1]),
        pass_tokens: n(VIDEO[1] + ACTION[1]),
        policy: MemoryPolicy::Selective,
        scoring: Scoring::default(),
        rope,
    };
    let mut planner = Planner::new();
    let mut layered = |name: &str, rows: usize| -> Vec<Region> {
        let shape = [layout.heads, rows, layout.head_dim];
        (0..layout.layers).map(|l| planner.add("memory", format!("{name}.{l}"), DType::Bf16, &shape).unwrap()).collect()
    };
    let (k, v) = (layered("mem_k", layout.slots()), layered("mem_v", layout.slots()));
    let pass = PassKv {
        tokens: layout.pass_tokens,
        k: layered("k", layout.pass_tokens),
        v: layered("v", layout.pass_tokens),
        q: layered("q", layout.pass_tokens),
    };
    let bias = planner.add("memory", "mem_bias", DType::F32, &[layout.slots()]).unwrap();
    let seen: Arc<Mutex<Vec<(Kernel, Counts)>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let emulator = Emulator::new(1).watched(move |kernel, counts| notes.lock().unwrap().push((kernel, counts)));
    let mut device = CudaDevice::new(Box::new(emulator), planner.finish(1 << 28).unwrap()).unwrap();
    device.kv_open(layout.clone(), KvRegions { k, v, bias }).unwrap();
    let row: Vec<f32> = (0u16..4096).map(|i| f32::from(i % 251) / 64.0 - 2.0).collect();
    let data: Vec<f32> = row.iter().copied().cycle().take(layout.heads * layout.pass_tokens * layout.head_dim).collect();
    for region in pass.k.iter().chain(&pass.v).chain(&pass.q) {
        device.upload(*region, &data).unwrap();
    }
    let (video, action) = (0..n(VIDEO[1]), n(VIDEO[1])..layout.pass_tokens);
    for chunk in 0..5 {
        seen.lock().unwrap().clear();
        let before = device.traffic().committed;
        device.kv_commit_observed(Pool::Video, Policy::Selective(&[]), chunk, &pass, video.clone()).unwrap();
        device.kv_commit_observed(Pool::Action, Policy::Selective(&[]), chunk, &pass, action.clone()).unwrap();
        device.settle().unwrap();
        assert_eq!(device.traffic().committed - before, 2 * LAYERS * ROW * (VIDEO[1] + ACTION[1]));
    }
    // The fifth chunk is the first that makes room by forgetting.
    let got = seen.lock().unwrap().clone();
    let order: Vec<Kernel> = got.iter().map(|(kernel, _)| *kernel).collect();
    let commit = [Kernel::CheckBf16, Kernel::ScoreBf16, Kernel::Choose, Kernel::ScatterBf16];
    assert_eq!(order, [commit, commit].concat());
    let mut totals: BTreeMap<&str, Counts> = BTreeMap::new();
    for (at, pool) in [VIDEO, ACTION].into_iter().enumerate() {
        for (kernel, wanted) in arithmetic(pool) {
            let (_, counts) = got[4 * at..4 * at + 4].iter().find(|(k, _)| *k == kernel).unwrap();
            assert_eq!(*counts, wanted, "{kernel:?}, pool of {} slots", pool[0]);
            let total = totals.entry(kernel.name().to_str().unwrap()).or_default();
            total.bytes_read += wanted.bytes_read;
            total.bytes_written += wanted.bytes_written;
            total.flops += wanted.flops;
        }
    }
    println!("a chunk at the paper's 30 layers, both pools:");
    for (name, c) in totals {
        let whole = |x: u64| x * 30 / LAYERS;
        println!(
            "{name:<14} {:>7.1} MB read, {:>6.1} MB written, {:>7.2} GFLOP",
            whole(c.bytes_read) as f64 * 1e-6,
            whole(c.bytes_written) as f64 * 1e-6,
            whole(c.flops) as f64 * 1e-9
        );
    }
    let once = LAYERS * (VIDEO[0] + ACTION[0]) * ROW;
    println!("keys of both pools, once: {:.1} MB", (once * 30 / LAYERS) as f64 * 1e-6);
}
