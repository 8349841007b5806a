//! Tests the CUDA device with a fake driver library: needs no GPU and makes every driver call.
//!
//! The library (`runtime/device/emulator/libcuda.cpp`) is compiled here and found by the name of
//! the real one. A process loads it once, so every case runs this program again; environment
//! variables select the case and the machine.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failed unwrap is a failed test, and this is its program")]

use drivewam_core::arena::{Planner, Region};
use drivewam_core::dtype::DType;
use drivewam_core::flow::solver::SolverStep;
use drivewam_core::selection::{Policy, Scoring};
use drivewam_core::{Error, ErrorKind};
use drivewam_device::cuda::{CudaDevice, Nvidia};
use drivewam_device::gpu::{GraphNodeCounts, StreamPriority, capture};
use drivewam_device::{Commit, Device, DeviceMemory, Gpu, KvCounts, KvMemory, PassKv, Pool};
use drivewam_tests::cases::{self, Case};
use drivewam_tests::conformance::rig::Rig;
use drivewam_tests::conformance::{Make, suite};
use drivewam_tests::fakes;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable with the kernels folder.
const KERNELS: &str = "DRIVEWAM_TEST_KERNELS";

fn kernels() -> PathBuf {
    std::env::var_os(KERNELS).unwrap().into()
}

fn open() -> drivewam_core::Result<Box<Nvidia>> {
    Nvidia::open(0, &kernels(), StreamPriority::High).map(Box::new)
}

/// In the type that the other suites leave to `long`: the emulator runs f32, the sanitizer bf16.
const DEVICE: Make = Make { device: |plan| Ok(Box::new(CudaDevice::new(open()?, plan)?)), kv: DType::F16 };

const CASES: [Case; 11] = [
    Case { name: "the conformance suite", machine: &[], body: conformance },
    Case { name: "a graph repeats a commit, with another chunk", machine: &[], body: graph },
    Case {
        name: "a driver that is too old",
        machine: &[("FAKE_CUDA_VERSION", "11080")],
        body: || refused(&["too old", "CUDA 11.8", "CUDA 12.2"]),
    },
    Case { name: "no GPU", machine: &[("FAKE_CUDA_COUNT", "0")], body: || refused(&["no such GPU", "got 0", "below 0"]) },
    Case {
        name: "a GPU without kernels",
        machine: &[("FAKE_CUDA_CAPABILITY", "75")],
        body: || refused(&["no kernels for this device", "sm_90", "sm_75"]),
    },
    Case { name: "kernels that were changed", machine: &[], body: changed },
    Case { name: "less free memory than the plan needs", machine: &[("FAKE_CUDA_MEMORY", "100000")], body: out_of_memory },
    Case { name: "a kernel that dies", machine: &[("FAKE_CUDA_FAIL_LAUNCH", "9")], body: lost },
    Case { name: "a device that cannot be released", machine: &[("FAKE_CUDA_FAIL_RELEASE", "1")], body: not_released },
    Case { name: "the program for a machine with a GPU", machine: &[], body: program },
    Case { name: "memory nodes are counted", machine: &[("FAKE_CUDA_NODE_KIND", "10")], body: memory_nodes },
];

fn main() {
    if cases::run_in_child(CASES.iter()) {
        return;
    }
    // A missing library or folder is an error message, on any machine.
    if let Err(error) = Nvidia::open(0, Path::new("no/such/folder"), StreamPriority::High) {
        println!("on this machine: {error}");
    }
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("kernels");
    fakes::kernels(&folder);
    fakes::driver(temp.path());
    cases::run_all(&CASES.each_ref(), temp.path(), &[(KERNELS, folder.as_path())]);
}

fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
}

/// The fake driver delays all work until a synchronisation and counts its handles. Breaks if a copy
/// is enqueued too late or read too early, a staging buffer is reused during a copy, or a handle is
/// not released.
fn conformance() {
    for (name, test) in suite() {
        println!("{name}");
        test(DEVICE);
    }
    // Fails if the last device was not released.
    drop(open().unwrap());
}

fn refused(words: &[&str]) {
    says(&open().unwrap_err(), words);
}

fn changed() {
    let copy = tempfile::tempdir().unwrap();
    fakes::kernels(copy.path());
    std::fs::write(copy.path().join("sm_90.cubin"), b"kernels of another").unwrap();
    says(&Nvidia::open(0, copy.path(), StreamPriority::High).unwrap_err(), &["attests", "sm_90.cubin"]);
}

fn out_of_memory() {
    let mut planner = Planner::new();
    planner.add("test", "much", DType::F32, &[1 << 18]).unwrap();
    let error = CudaDevice::new(open().unwrap(), planner.finish(1 << 24).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity);
    says(&error, &["1048576 bytes", "100000", "memory.video_slots"]);
}

/// Breaks if a device whose context is lost accepts work without an error.
fn lost() {
    let mut planner = Planner::new();
    let region = planner.add("test", "region", DType::F32, &[64]).unwrap();
    let mut device = CudaDevice::new(open().unwrap(), planner.finish(1 << 20).unwrap()).unwrap();
    let mut out = [0.0; 64];
    for value in 0..8u8 {
        device.fill(region, f32::from(value)).unwrap();
        device.download(region, &mut out).unwrap();
        assert_eq!(out, [f32::from(value); 64]);
    }
    device.fill(region, 9.0).unwrap();
    let error = device.download(region, &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    says(&error, &["CUDA_ERROR_ILLEGAL_ADDRESS"]);
    says(&device.fill(region, 1.0).unwrap_err(), &["lost", "a new process"]);
    says(&device.synchronize().unwrap_err(), &["lost"]);
}

fn not_released() {
    drop(open().unwrap());
    says(&open().unwrap_err(), &["cannot release an earlier device"]);
    // Reported once.
    let _again = open().unwrap();
}

/// The device operations of a chunk between engine calls: drop the predicted tokens, select and
/// write the observed ones, write the next prediction, and take solver steps (on two rows of the
/// pass that no commit reads).
fn sequence(device: &mut dyn Device, chunk: u32, pass: &PassKv) -> drivewam_core::Result<()> {
    device.kv_drop_predicted()?;
    let commits = [(Pool::Video, 0..6), (Pool::Action, 6..10)];
    device.kv_commit_observed(chunk, &commits.map(|(pool, rows)| Commit { pool, policy: Policy::Selective, pass, rows }))?;
    device.kv_commit_predicted(chunk + 1, pass, 0..8)?;
    let [x, velocity] = rows(pass);
    for _ in 0..3 {
        device.solve(&SolverStep::Euler { span: -0.25 }, x, velocity, &[], 32, &[0, 5, 31])?;
    }
    Ok(())
}

/// The last two token rows of the first head.
fn rows(pass: &PassKv) -> [Region; 2] {
    [pass.k[0], pass.v[0]].map(|region| region.part(10 * 32, 2 * 32).unwrap())
}

/// A device with a full memory, a rig in the same state for comparison, and the regions of their
/// pass.
fn full() -> (CudaDevice, Rig, PassKv) {
    let mut rig = Rig::new(Make { kv: DType::F32, ..DEVICE }, Scoring { max_age_chunks: 3, ..Scoring::default() });
    let mut device = CudaDevice::new(open().unwrap(), rig.device.plan().clone()).unwrap();
    device.kv_open(&rig.layout, std::slice::from_ref(&rig.regions)).unwrap();
    let mut pass = None;
    for chunk in 0..5 {
        let offer = rig.offer(12, u64::from(chunk));
        let here = rig.put(&offer);
        rig.put_on(&mut device, &offer);
        sequence(&mut *rig.device, chunk, &here).unwrap();
        sequence(&mut device, chunk, &here).unwrap();
        pass = Some(here);
    }
    device.synchronize().unwrap();
    (device, rig, pass.unwrap())
}

/// Breaks if a replay differs from the captured operations, a graph holds anything but launches, or
/// operations that cannot be replayed are captured.
fn graph() {
    let (mut device, mut rig, pass) = full();
    device.set_chunk(100).unwrap();
    let graph = capture(&mut device, |device| sequence(device, 100, &pass)).unwrap();
    // Drop; score, decide, scatter; decide, drop, scatter; three steps.
    assert_eq!(device.node_counts(graph).unwrap(), GraphNodeCounts { kernels: 10, memory: 0, others: 0 });
    for chunk in 5..9 {
        let offer = rig.offer(12, u64::from(chunk));
        let here = rig.put(&offer);
        rig.put_on(&mut device, &offer);
        sequence(&mut *rig.device, chunk, &here).unwrap();
        device.set_chunk(chunk).unwrap();
        device.replay(graph).unwrap();
        for layer in 0..rig.layout.layers {
            assert_eq!(device.kv_table(layer).unwrap(), rig.device.kv_table(layer).unwrap(), "chunk {chunk}, layer {layer}");
        }
        for region in rig.regions.k.iter().chain(&rig.regions.v).chain(&rows(&here)) {
            let mut both = [vec![0.0; region.len()], vec![1.0; region.len()]];
            device.download(*region, &mut both[0]).unwrap();
            rig.device.download(*region, &mut both[1]).unwrap();
            assert_eq!(both[0], both[1], "chunk {chunk}, {region:?}");
        }
    }
    let region = rig.regions.bias;
    says(&capture(&mut device, |device| device.upload(region, &[0.0])).unwrap_err(), &["a graph cannot hold a copy"]);
    device.kv_clear().unwrap();
    says(&device.replay(graph).unwrap_err(), &["captured for another memory", "video: 0", "video: 20"]);
    says(&capture(&mut device, |device| sequence(device, 0, &pass)).unwrap_err(), &["fill free slots"]);
    assert_eq!(device.kv_counts(), KvCounts::default(), "a refused capture must change nothing");
    sequence(&mut device, 0, &pass).unwrap();
    device.synchronize().unwrap();
}

/// Breaks if the program of `tests/gpu/run.sh` does not run.
fn program() {
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_drivewam-gpu")).args(arguments).arg("--kernels").arg(kernels()).output().unwrap();
        let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{stdout}{}", String::from_utf8_lossy(&done.stderr));
        stdout
    };
    assert!(run(&["suite", "--only", "tied"]).contains("3 of 3 passed"));
    let figures: serde_json::Value = serde_json::from_str(&run(&["bench", "--layers", "1", "--commits", "2", "--rounds", "1"])).unwrap();
    assert_eq!(figures["graph_nodes"], serde_json::json!({"kernels": 3, "memory": 0, "others": 0}));
    for name in ["score_bf16", "decide_bf16", "scatter_bf16"] {
        assert_eq!(figures["kernels_us"][name].as_array().unwrap().len(), 2, "{name}");
    }
}

fn memory_nodes() {
    let (mut device, _, pass) = full();
    device.set_chunk(0).unwrap();
    let graph = capture(&mut device, |device| sequence(device, 0, &pass)).unwrap();
    assert_eq!(device.node_counts(graph).unwrap(), GraphNodeCounts { kernels: 0, memory: 10, others: 0 });
}
