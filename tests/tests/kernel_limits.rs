//! Shapes beyond the limits of the CUDA kernels are refused in Warm, with the configuration key.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::arena::{Planner, Region};
use drivewam_core::config::MemoryPolicy;
use drivewam_core::dtype::DType;
use drivewam_core::selection::{Scored, Scoring};
use drivewam_core::{Error, ErrorKind};
use drivewam_device::cuda::{CudaDevice, Emulator};
use drivewam_device::{KvLayout, KvMemory, KvRegions};
use drivewam_tests::conformance::rig;

/// Opens a memory of this layout, with keys and values of type `kv`.
fn open(layout: &KvLayout, kv: DType) -> Result<(), Error> {
    let mut planner = Planner::new();
    let shape = [layout.heads, layout.slots(), layout.head_dim];
    let mut layered = |name: &str| -> Vec<Region> {
        (0..layout.layers).map(|l| planner.add("memory", format!("{name}.{l}"), kv, &shape).unwrap()).collect()
    };
    let (k, v) = (layered("mem_k"), layered("mem_v"));
    let bias = planner.add("memory", "mem_bias", DType::F32, &[layout.slots()]).unwrap();
    let mut device = CudaDevice::new(Box::new(Emulator::new(1)), planner.finish(1 << 28).unwrap()).unwrap();
    device.kv_open(layout, &[KvRegions { k, v, bias }])
}

/// Breaks if a shape that no kernel supports is first noticed in the ride.
#[test]
fn shapes_that_no_kernel_takes_are_refused_before_the_ride() {
    let small = rig::layout(Scoring::default());
    let with = |change: &dyn Fn(&mut KvLayout)| {
        let mut layout = small.clone();
        change(&mut layout);
        layout
    };
    for (key, got, layout) in [
        ("model.layers", "65", with(&|l| l.layers = 65)),
        ("model.head_dim", "48", rig::with_width(small.clone(), 48)),
        ("model.head_dim", "224", rig::with_width(small.clone(), 224)),
        ("memory.video_slots", "641", with(&|l| l.video_slots = 641)),
        ("memory.action_slots", "641", with(&|l| l.action_slots = 641)),
        ("memory.video_slots", "634", with(&|l| (l.video_slots, l.scoring.scored) = (634, Scored::PoolAndNew))),
        ("memory.video_slots", "2000", with(&|l| (l.video_slots, l.policy) = (2000, MemoryPolicy::Fifo))),
    ] {
        let error = open(&layout, DType::F32).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Capacity, "{error}");
        let text = error.to_string();
        assert!(text.contains(key) && text.contains(&format!("got {got}")) && text.contains("wanted"), "{text}");
    }
    for layout in [
        rig::with_width(with(&|l| l.video_slots = 640), 192),
        with(&|l| l.video_slots = 640),
        with(&|l| (l.video_slots, l.scoring.scored) = (626, Scored::PoolAndNew)),
        with(&|l| (l.video_slots, l.policy) = (1536, MemoryPolicy::Fifo)),
        // Without selection any number of slots is supported.
        with(&|l| (l.video_slots, l.policy) = (8512, MemoryPolicy::Full)),
    ] {
        open(&layout, DType::F32).unwrap();
    }
    let error = open(&small, DType::I32).unwrap_err().to_string();
    assert!(error.contains("mem_k") && error.contains("i32"), "{error}");
}
