//! What the CUDA kernels move and multiply at the paper's shape, by their own counters in the emulator, against the arithmetic. Two of the 30 layers, all of
//! which do the same.

use drivewam_core::selection::Scoring;
use drivewam_device::Device;
use drivewam_device::cuda::{Counts, CudaDevice, Emulator, Kernel};
use drivewam_tests::paper::{ACTION, HEADS, LAYERS, Memory, ROW_BYTES, VIDEO, WIDTH};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const TRIED_LAYERS: usize = 2;
/// Queries of a block of `score.cu`.
const QUERIES: usize = 40;

/// What a commit of one pool must move in each kernel, all layers together.
fn arithmetic([slots, fresh]: [usize; 2]) -> [(Kernel, Counts); 3] {
    let blocks = fresh.div_ceil(QUERIES);
    let all = |n: usize| (TRIED_LAYERS * n) as u64;
    let counts =
        |read: usize, written: usize, flops: usize| Counts { bytes_read: all(read), bytes_written: all(written), flops: all(flops) };
    [
        // Every new key and value, once.
        (Kernel::CheckBf16, counts(2 * fresh * ROW_BYTES, 0, 0)),
        // The pool's keys by every block of queries, and once more for the redundancy (the first of these from device memory, the others from L2); the
        // queries once. Products for whole blocks of queries.
        (Kernel::ScoreBf16, counts(((blocks + 1) * slots + fresh) * ROW_BYTES, 0, 2 * blocks * QUERIES * slots * HEADS * WIDTH)),
        // Every new key and value from its pass to its slot.
        (Kernel::ScatterBf16, counts(2 * fresh * ROW_BYTES, 2 * fresh * ROW_BYTES, 0)),
    ]
}

/// Breaks if a kernel reads or writes a byte more, or multiplies more, than the design says; if a launch is added; or if `traffic` says something else.
#[test]
fn a_commit_moves_what_the_arithmetic_says() {
    let memory = Memory::new(TRIED_LAYERS, Scoring::default()).unwrap();
    let seen: Arc<Mutex<Vec<(Kernel, Counts)>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let emulator = Emulator::new(1).watched(move |kernel, counts| notes.lock().unwrap().push((kernel, counts)));
    let mut device = CudaDevice::new(Box::new(emulator), memory.plan.clone()).unwrap();
    memory.fill(&mut device).unwrap();
    seen.lock().unwrap().clear();
    let before = device.traffic().committed;
    memory.commit(&mut device, 4).unwrap();
    device.settle().unwrap();
    assert_eq!(device.traffic().committed - before, (2 * TRIED_LAYERS * ROW_BYTES * (VIDEO[1] + ACTION[1])) as u64);
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
    println!("a chunk at the paper's {LAYERS} layers, both pools:");
    let whole = |x: u64| (x * LAYERS as u64 / TRIED_LAYERS as u64) as f64;
    for (name, c) in totals {
        let (read, written, flops) = (whole(c.bytes_read) * 1e-6, whole(c.bytes_written) * 1e-6, whole(c.flops) * 1e-9);
        println!("{name:<14} {read:>7.1} MB read, {written:>6.1} MB written, {flops:>7.2} GFLOP");
    }
    println!("keys of both pools, once: {:.1} MB", (LAYERS * (VIDEO[0] + ACTION[0]) * ROW_BYTES) as f64 * 1e-6);
}
