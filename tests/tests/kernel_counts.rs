//! Compares bytes and operations of the CUDA kernels at the paper's size, counted by the emulator,
//! with the expected numbers. Two of the 30 identical layers are run.

use drivewam_core::selection::Scoring;
use drivewam_device::DeviceMemory;
use drivewam_device::cuda::{CudaDevice, Emulator, Kernel, LaunchCounts};
use drivewam_tests::paper::{ACTION, HEADS, LAYERS, Memory, ROW_BYTES, VIDEO, WIDTH};
use std::sync::{Arc, Mutex};

const TRIED_LAYERS: usize = 2;
/// Queries per block of `score.cu`.
const QUERIES: usize = 40;

/// Expected counts of a commit of both pools, for all layers, by kernel in the order of launches.
fn arithmetic() -> [(Kernel, LaunchCounts); 3] {
    let both = |of: &dyn Fn(usize, usize, usize) -> usize| {
        (TRIED_LAYERS
            * [VIDEO, ACTION].iter().map(|[slots, new_tokens]| of(*slots, *new_tokens, new_tokens.div_ceil(QUERIES))).sum::<usize>())
            as u64
    };
    let new = both(&|_, new_tokens, _| 2 * new_tokens * ROW_BYTES);
    [
        // Every block of queries reads the keys of a pool (the first from device memory, the others
        // from L2); queries are read once. Products: whole blocks of queries, and once eight rows
        // of which three hold the sum of unit keys.
        (
            Kernel::ScoreBf16,
            LaunchCounts {
                bytes_read: both(&|slots, new_tokens, blocks| (blocks * slots + new_tokens) * ROW_BYTES),
                bytes_written: 0,
                flops: both(&|slots, _, blocks| 2 * (blocks * QUERIES + 8) * slots * HEADS * WIDTH),
            },
        ),
        // Reads every new key and value once.
        (Kernel::DecideBf16, LaunchCounts { bytes_read: new, ..LaunchCounts::default() }),
        // Copies every new key and value from the pass to its slot.
        (Kernel::ScatterBf16, LaunchCounts { bytes_read: new, bytes_written: new, flops: 0 }),
    ]
}

/// Breaks if a kernel moves more bytes or computes more than designed, a launch is added, or
/// `traffic` is wrong.
#[test]
fn a_commit_moves_what_the_arithmetic_says() {
    let memory = Memory::new(TRIED_LAYERS, Scoring::default()).unwrap();
    let seen: Arc<Mutex<Vec<(Kernel, LaunchCounts)>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let emulator = Emulator::new(1).watched(move |kernel, counts| notes.lock().unwrap().push((kernel, counts)));
    let mut device = CudaDevice::new(Box::new(emulator), memory.plan.clone()).unwrap();
    memory.fill(&mut device).unwrap();
    seen.lock().unwrap().clear();
    let before = device.traffic().committed;
    memory.commit(&mut device, 4).unwrap();
    device.synchronize().unwrap();
    assert_eq!(device.traffic().committed - before, (2 * TRIED_LAYERS * ROW_BYTES * (VIDEO[1] + ACTION[1])) as u64);
    let got = seen.lock().unwrap().clone();
    assert_eq!(got, arithmetic());
    println!("a chunk at the paper's {LAYERS} layers, both pools:");
    let whole = |x: u64| (x * LAYERS as u64 / TRIED_LAYERS as u64) as f64;
    for (kernel, c) in got {
        let (read, written, flops) = (whole(c.bytes_read) * 1e-6, whole(c.bytes_written) * 1e-6, whole(c.flops) * 1e-9);
        println!("{:<14} {read:>7.1} MB read, {written:>6.1} MB written, {flops:>7.2} GFLOP", kernel.name().to_string_lossy());
    }
    println!("keys of both pools, once: {:.1} MB", (LAYERS * (VIDEO[0] + ACTION[0]) * ROW_BYTES) as f64 * 1e-6);
}
