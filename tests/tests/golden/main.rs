//! Golden test against the reference implementation (`export/drivewam_export/golden.py`): with the
//! same frames, poses, ego states and noise the runtime computes the same latents, keys,
//! velocities, kept slots and trajectories.
//!
//! Breaks when anything between a frame and a trajectory differs from the reference: image
//! resampling, codec, normalisation, rotary table, masks, flow times, solver, slots, selection.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::ndarray::{ArrayView2, ArrayViewD};
use drivewam::probe::Probe;
use drivewam::{Plan, Progress, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::config::Layer;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_device::cuda::{CudaDevice, Emulator};
use drivewam_device::{Device, HostDevice, Pool};
use drivewam_engine::{EngineBundle, Trust, load};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const SECOND: i64 = 1_000_000_000;
/// Largest difference relative to the largest absolute value of the tensor, from f32 sums in
/// another order through fourteen passes.
const TOLERANCE: f32 = 2e-5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn tensor(&self, name: &str) -> Option<Vec<f32>> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).ok()?;
        Some(view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
    }

    fn integers(&self, name: &str) -> Option<Vec<i32>> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).ok()?;
        Some(view.data().chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect())
    }

    fn frames(&self, chunk: u64) -> Option<Vec<u8>> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.tensor(&format!("chunk.{chunk}.frames")).ok().map(|view| view.data().to_vec())
    }
}

/// The tensors that the probe saw, by (chunk, name, layer), in order.
type Seen = Arc<Mutex<BTreeMap<(u64, &'static str, usize), Vec<Vec<f32>>>>>;

#[derive(Debug, Clone, Default)]
struct Recorder(Seen);

impl Probe for Recorder {
    fn tensor(&mut self, chunk: u64, name: &'static str, layer: usize, values: ArrayViewD<'_, f32>) {
        self.0.lock().unwrap().entry((chunk, name, layer)).or_default().push(values.iter().copied().collect());
    }
}

/// The largest relative difference and the number of tensors, by kind of tensor.
#[derive(Default)]
struct Worst(BTreeMap<&'static str, (f32, usize)>);

impl Worst {
    fn compare(&mut self, kind: &'static str, got: &[f32], wanted: &[f32]) {
        assert_eq!(got.len(), wanted.len(), "{kind}");
        let scale = wanted.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
        let worst = got.iter().zip(wanted).map(|(g, w)| (g - w).abs() / scale).fold(0.0, f32::max);
        let entry = self.0.entry(kind).or_default();
        *entry = (entry.0.max(worst), entry.1 + 1);
    }
}

fn commands(golden: &serde_json::Value) -> Vec<Command> {
    golden["commands"].as_array().unwrap().iter().map(|c| Command::parse(c.as_str().unwrap()).unwrap()).collect()
}

mod lanes;

fn drive(ride: &mut Ride, golden: &Golden, words: &[Command], mut each: impl FnMut(&mut Ride, u64)) -> u64 {
    let (mut origin, mut t_ns) = (Pose2::default(), 0i64);
    let last = (1u64..).take_while(|c| golden.tensor(&format!("chunk.{c}.trajectory.increments")).is_some()).last().unwrap();
    ride.push_pose(0, origin).unwrap();
    for chunk in 1..=last {
        // At the start of a chunk: the poses since the previous chunk, then ego state and
        // command.
        if chunk > 1 {
            let steps = golden.tensor(&format!("chunk.{}.observed.increments", chunk - 1)).unwrap();
            let mut local = Pose2::default();
            for (i, step) in (1i64..).zip(steps.chunks_exact(3)) {
                local.x_m += f64::from(step[0]);
                local.y_m += f64::from(step[1]);
                local.yaw_rad += f64::from(step[2]);
                ride.push_pose(t_ns + i * SECOND / 10, origin.compose(&local)).unwrap();
            }
            origin = origin.compose(&local);
        }
        let frames = golden.frames(chunk - 1).unwrap();
        let size = 64 * 112 * 3;
        let count = (frames.len() / size) as i64;
        if chunk > 1 {
            t_ns += count * SECOND;
        }
        let ego = golden.tensor(&format!("chunk.{chunk}.ego")).unwrap();
        let [speed_mps, acceleration_mps2, curvature_1pm] = [ego[0], ego[1], ego[2]].map(f64::from);
        ride.push_command(t_ns, words[chunk as usize - 1]).unwrap();
        ride.push_ego(t_ns, EgoState { speed_mps, acceleration_mps2, curvature_1pm }).unwrap();
        let noise = golden.tensor(&format!("chunk.{chunk}.video.noise")).unwrap();
        let rows = ArrayView2::from_shape((noise.len() / 96, 96), &noise).unwrap();
        ride.set_noise(rows, ArrayView2::from(&[[0.0; 96]; 8])).unwrap();
        let mut outcome = None;
        for (i, frame) in (1 - count..).zip(frames.chunks_exact(size)) {
            let stamp_ns = t_ns + i * SECOND;
            ride.push_frame(stamp_ns, frame).unwrap();
            if let Progress::Outcome(o) = ride.step(stamp_ns).unwrap() {
                outcome = Some(o.chunk);
            }
        }
        assert_eq!(outcome, Some(chunk));
        each(ride, chunk);
    }
    last
}

#[test]
fn the_ride_equals_the_reference_chunk_by_chunk() {
    equals_the_reference(|arena| Ok(Box::new(HostDevice::new(arena, 2)?)));
}

/// The same on the emulated CUDA kernels, with an engine that works in the same memory.
#[test]
fn the_ride_on_the_cuda_kernels_equals_the_reference_too() {
    equals_the_reference(|arena| Ok(Box::new(CudaDevice::new(Box::new(Emulator::new(5)), arena)?)));
}

/// A ride of the goldens in `folder`, with `lanes` lanes, and the goldens with their index.
fn opened(folder: &str, lanes: usize, device: fn(ArenaPlan) -> Result<Box<dyn Device>>) -> (Ride, Golden, serde_json::Value) {
    let folder = root().join("tests/golden").join(folder);
    let golden = Golden { bytes: std::fs::read(folder.join("golden.safetensors")).unwrap() };
    let index: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(folder.join("golden.yaml")).unwrap()).unwrap();
    // The sampler and memory settings of the goldens, which may differ from the shipped
    // configuration.
    let text = serde_json::json!({"flow": index["flow"], "memory": index["memory"], "lanes": {"count": lanes}}).to_string();
    let config = load_config(&root().join("configs/tiny.yaml"), &[Layer { name: "golden.yaml".to_owned(), text }]).unwrap();
    let (model, engine) = (config.model.clone(), config.engine.clone());
    let engines = EngineBundle::open(config.engine.folder.as_ref(), &Trust::default()).unwrap();
    for (file, hash) in index["weights"].as_object().unwrap() {
        let shipped = &engines.manifest().files[file].sha256;
        assert_eq!(
            hash.as_str(),
            Some(shipped.as_str()),
            "the goldens were made with other weights of {file}: renew them (docs/training.md)"
        );
    }
    let camera = SourceCamera::of_model(&model);
    let ride = Plan::new(config, engines.manifest(), camera, RideOptions::EVALUATION)
        .unwrap()
        .warm_with(engines, device, |bundle, graph| load(&engine, bundle, graph))
        .unwrap();
    (ride, golden, index)
}

fn equals_the_reference(device: fn(ArenaPlan) -> Result<Box<dyn Device>>) {
    let (mut ride, golden, index) = opened("tiny", 1, device);
    let model = ride.config().model.clone();
    let recorder = Recorder::default();
    ride.set_probe(Some(Box::new(recorder.clone())));
    let (mut worst, mut kept, mut forgotten) = (Worst::default(), 0, 0);
    let chunks = drive(&mut ride, &golden, &commands(&index), |ride, chunk| {
        let observed = chunk - 1;
        for (pool, first, name) in [(Pool::Video, 0, "video"), (Pool::Action, 112, "action")] {
            let wanted = golden.integers(&format!("chunk.{observed}.observed.destinations.{name}")).unwrap();
            let tokens = wanted.len() / model.layers;
            for layer in 0..model.layers {
                let table = ride.memory_table(layer).unwrap();
                let size = if pool == Pool::Video { 112 } else { 32 };
                let slots = table.pool(0, first..first + size).unwrap();
                for (token, slot) in wanted[layer * tokens..(layer + 1) * tokens].iter().enumerate() {
                    let slot = slots[*slot as usize];
                    assert_eq!((slot.chunk, slot.token), (observed as u32, token as u32), "chunk {observed}, layer {layer}, {name} pool");
                    kept += 1;
                }
            }
            forgotten += usize::from(golden.tensor(&format!("chunk.{observed}.observed.scores.{name}")).is_some());
        }
        let seen = std::mem::take(&mut *recorder.0.lock().unwrap());
        for layer in [0, model.layers - 1] {
            for (kind, name) in [("observed k", "observed.k"), ("observed v", "observed.v")] {
                let wanted = golden.tensor(&format!("chunk.{observed}.{name}.{layer}")).unwrap();
                worst.compare(kind, &seen[&(observed, name, layer)][0], &wanted);
            }
        }
        for (kind, name, width) in [("video velocity", "video.velocity", 96), ("action velocity", "action.velocity", 15)] {
            for (i, rows) in seen[&(chunk, name, 0)].iter().enumerate() {
                let wanted = golden.tensor(&format!("chunk.{chunk}.{name}.{i}")).unwrap();
                let got: Vec<f32> = rows.chunks_exact(96).flat_map(|row| row[..width].to_vec()).collect();
                worst.compare(kind, &got, &wanted);
            }
        }
        let wanted = golden.tensor(&format!("chunk.{chunk}.trajectory.increments")).unwrap();
        let mut got = vec![drivewam_core::action::Increment::default(); wanted.len() / 3];
        ride.outcome().unwrap().trajectory.increments(&mut got).unwrap();
        let got: Vec<f32> = got.iter().flat_map(|i| [i.dx_m as f32, i.dy_m as f32, i.dyaw_rad as f32]).collect();
        worst.compare("trajectory", &got, &wanted);
    });
    for (kind, (difference, count)) in &worst.0 {
        println!("{kind}: {count} tensors, largest relative difference {difference:.1e}");
    }
    println!("{chunks} chunks, {kept} tokens in the same slots, {forgotten} selections that forgot");
    assert!(chunks >= 7 && forgotten >= 4, "the goldens are too short to test eviction");
    let words = commands(&index);
    assert!(
        words.windows(2).filter(|w| w[0] != w[1]).count() >= 2,
        "the route command must change, or the test does not show that it is used"
    );
    let counts: Vec<usize> = worst.0.values().map(|(_, count)| *count).collect();
    let chunks = chunks as usize;
    assert_eq!(counts, [10 * chunks, 2 * chunks, 2 * chunks, chunks, 3 * chunks], "a pass was not seen");
    assert!(worst.0.values().all(|(difference, _)| *difference <= TOLERANCE));
}
