//! Complete rides on each family: planned, warmed up and driven.

use super::{Case, home, library};
use drivewam::guidance::status::GuidanceSource;
use drivewam::{Plan, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::Result;
use drivewam_core::arena::Planner;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{self, Config, EngineKind, Layer};
use drivewam_core::dtype::DType;
use drivewam_core::manifest::Family;
use drivewam_device::{DeviceMemory, HostDevice};
use drivewam_engine::tensorrt::fake::{Executor, FakeTensorRt, PassTensor};
use drivewam_engine::{Binding, BoundTensor, Engine, EngineBundle, Io, Trust, load};
use drivewam_tests::drive::{Driven, drive};
use drivewam_tests::fake_engines::FakeBundle;
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) const CASES: &[Case] = &[
    Case { name: "a ride on TensorRT", machine: &[], body: || equals_the_hosts(Family::Tensorrt, "{}") },
    Case { name: "a ride on TensorRT-RTX", machine: &[], body: || equals_the_hosts(Family::TensorrtRtx, "{}") },
    Case {
        name: "a ride on TensorRT without graphs",
        machine: &[],
        body: || equals_the_hosts(Family::Tensorrt, "{engine: {tensorrt: {cuda_graphs: false}}}"),
    },
    Case { name: "a ride in half precision", machine: &[], body: || in_half("target/tiny-f16", "f16") },
    #[cfg(feature = "long")]
    Case { name: "a ride in bfloat16", machine: &[], body: || in_half("target/tiny-bf16", "bf16") },
    Case { name: "a language model on TensorRT", machine: &[], body: || rides_with_guidance(Family::Tensorrt, "engines/tiny", 1e-3) },
    Case {
        name: "a language model on TensorRT-RTX",
        machine: &[],
        body: || rides_with_guidance(Family::TensorrtRtx, "engines/tiny", 1e-3),
    },
    #[cfg(feature = "long")]
    Case {
        name: "a language model in half precision",
        machine: &[],
        body: || rides_with_guidance(Family::TensorrtRtx, "target/tiny-vlm-f16", 0.02),
    },
    Case { name: "all handles are released", machine: &[], body: releases_all_handles },
    Case { name: "the program for a machine with a GPU", machine: &[], body: program },
];

/// The shipped configuration with `set` on top.
pub(crate) fn config(set: &str) -> Config {
    shipped("tiny", set)
}

fn shipped(name: &str, set: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../configs/{name}.yaml"));
    load_config(&path, &[Layer { name: "test".to_owned(), text: set.to_owned() }]).unwrap()
}

/// The same for the engines in `folder`, on the fakes.
pub(crate) fn on_gpu(family: Family, folder: &Path, set: &str) -> Config {
    moved(config(set), family, folder)
}

fn moved(mut config: Config, family: Family, folder: &Path) -> Config {
    config.engine.kind = match family {
        Family::Tensorrt => EngineKind::Tensorrt,
        Family::TensorrtRtx => EngineKind::TensorrtRtx,
    };
    config.engine.folder = folder.display().to_string();
    config.engine.tensorrt.library = Some(library(family).display().to_string());
    config.engine.tensorrt.kernels = Some(home().join("kernels").display().to_string());
    config
}

/// Warms up a ride.
pub(crate) fn warm(config: Config) -> Result<Ride> {
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::of_config(&config)?)?;
    let camera = SourceCamera::of_model(&config.model);
    Plan::new(config, bundle.manifest(), camera, RideOptions { decoder: true, ..RideOptions::EVALUATION })?.warm(bundle)
}

/// An engine with its own tensors.
type Bench = (Box<dyn Engine>, HostDevice, Io, Binding);

/// An executor for the fake library that computes the shipped graphs with the embedded engine.
pub(crate) fn real_graphs() -> Executor {
    graphs_of(config("{}").engine)
}

/// An executor for the graphs of an engine folder, with an embedded engine for each shape.
fn graphs_of(engine: config::EngineConfig) -> Executor {
    let bundle = EngineBundle::open(engine.folder.as_ref(), &Trust::default()).unwrap();
    let mut known: BTreeMap<(String, Vec<Vec<usize>>), Bench> = BTreeMap::new();
    Box::new(move |name, tensors| {
        let shapes = tensors.iter().map(|t| t.shape.clone()).collect();
        let (engine, device, io, binding) = known.entry((name.to_owned(), shapes)).or_insert_with(|| {
            let graph = Graph::ALL.into_iter().find(|graph| graph.as_str() == name).unwrap();
            let mut planner = Planner::new();
            let mut bound = |inputs: bool| -> Vec<BoundTensor> {
                let mut add = |t: &PassTensor| {
                    let region = planner.add("double", &t.name, DType::F32, &t.shape).unwrap();
                    BoundTensor { name: t.name.clone(), region, shape: t.shape.clone() }
                };
                tensors.iter().filter(|t| t.is_input == inputs).map(&mut add).collect()
            };
            let io = Io { inputs: bound(true), outputs: bound(false), scratch: None };
            let mut device = HostDevice::new(planner.finish(1 << 26).unwrap(), 1).unwrap();
            let mut engine = load(&engine, &bundle, graph).unwrap();
            let binding = engine.bind(&mut device, &io).unwrap();
            (engine, device, io, binding)
        });
        for bound in &io.inputs {
            let tensor = tensors.iter().find(|t| t.name == bound.name).unwrap();
            device.upload(bound.region, &tensor.data).unwrap();
        }
        engine.run(*binding, device).unwrap();
        for bound in &io.outputs {
            let tensor = tensors.iter_mut().find(|t| t.name == bound.name).unwrap();
            device.download(bound.region, &mut tensor.data).unwrap();
        }
        true
    })
}

/// Breaks if a tensor is bound to a wrong or outdated address, a pass is missing in a graph or
/// repeated, work leaves the order of the stream, or scratch memory overlaps a region: the trained
/// network's trajectories would differ.
fn equals_the_hosts(family: Family, set: &str) {
    let folder = tempfile::tempdir().unwrap();
    FakeBundle::new(family).write(folder.path());
    let double = FakeTensorRt::open(&library(family)).unwrap();
    double.execute(real_graphs()).unwrap();
    let mut ride = warm(on_gpu(family, folder.path(), set)).unwrap();
    let words: String = ride.engines().into_iter().map(|(_, words)| words).collect();
    let (name, how) = (family.to_string(), if set == "{}" { "a CUDA graph a pass" } else { "enqueued" });
    assert!(words.contains(&name) && words.contains(how) && words.contains("compute capability 9.0"), "{words}");
    let compiled = double.count("fake_tensorrt_compiled").unwrap();
    let got = drive(&mut ride, 8).unwrap();
    assert_eq!(double.count("fake_tensorrt_compiled").unwrap(), compiled, "kernels were compiled in the ride");
    let wanted = drive(&mut warm(config("{}")).unwrap(), 8).unwrap();
    assert_eq!((got.poses.len(), wanted.poses.len()), (8 * 40, 8 * 40));
    let (_, worst) = got.distance(&wanted);
    println!("    8 trajectories differ from the host's by {worst:.1e} m at most");
    assert!(worst < 1e-3, "{worst}");
}

/// Language model and text encoder run beside the ride on their own stream. Breaks if a token,
/// position, image row, key or text embedding goes to a wrong place, the ride reads an unfinished
/// answer, or both share a stream: the text or the trajectories would differ.
fn rides_with_guidance(family: Family, graphs: &str, limit_m: f64) {
    let config = shipped("tiny-vlm", "{guidance: {wait_ms: inf}}");
    let folder = tempfile::tempdir().unwrap();
    FakeBundle::with_guidance(family, graphs, &config).write(folder.path());
    FakeTensorRt::open(&library(family)).unwrap().execute(graphs_of(config.engine.clone())).unwrap();
    let mut ride = warm(moved(config.clone(), family, folder.path())).unwrap();
    let driver = FakeTensorRt::open(&home().join("libcuda.so")).unwrap();
    let streams = ["fake_cuda_first_streams", "fake_cuda_other_streams"].map(|which| driver.count(which).unwrap());
    assert_eq!(streams, [1, 1], "the ride's goes first");
    assert_eq!(ride.engines().iter().filter(|(_, words)| words.contains(&family.to_string())).count(), 9);
    let (got, wanted) = (drive(&mut ride, 6).unwrap(), drive(&mut warm(config).unwrap(), 6).unwrap());
    let status = |driven: &Driven| driven.guidance.iter().map(|status| (status.source, status.text.clone())).collect::<Vec<_>>();
    assert_eq!(status(&got), status(&wanted));
    assert!(got.guidance.iter().filter(|status| status.source == GuidanceSource::Vlm).count() >= 5, "{:?}", status(&got));
    let (_, worst) = got.distance(&wanted);
    println!("    6 trajectories with guidance differ from the host's by {worst:.1e} m at most");
    assert!(worst < limit_m, "{worst}");
}

/// A memory in half precision on the kernels, with passes that are computed in f32 and rounded.
/// Breaks if a region, a kernel or an input has another type than in the manifest: the trajectories
/// would be entirely different.
fn in_half(graphs: &str, precision: &str) {
    let folder = tempfile::tempdir().unwrap();
    FakeBundle::of(Family::TensorrtRtx, graphs).write(folder.path());
    FakeTensorRt::open(&library(Family::TensorrtRtx)).unwrap().execute(real_graphs()).unwrap();
    let mut ride = warm(on_gpu(Family::TensorrtRtx, folder.path(), "{}")).unwrap();
    assert!(ride.engines().iter().any(|(_, words)| words.contains(precision)));
    let (got, wanted) = (drive(&mut ride, 6).unwrap(), drive(&mut warm(config("{}")).unwrap(), 6).unwrap());
    let (mean, worst) = got.distance(&wanted);
    println!("    6 trajectories differ from the host's by {mean:.1e} m in the mean, {worst:.1e} m at most");
    assert!(mean > 0.0 && mean < 0.1, "{mean}");
}

/// Breaks if a handle is not released, or in the wrong order, which aborts the process.
fn releases_all_handles() {
    for family in [Family::Tensorrt, Family::TensorrtRtx] {
        let folder = tempfile::tempdir().unwrap();
        FakeBundle::new(family).write(folder.path());
        let double = FakeTensorRt::open(&library(family)).unwrap();
        double.execute(real_graphs()).unwrap();
        let ride = warm(on_gpu(family, folder.path(), "{}")).unwrap();
        assert!(double.count("fake_tensorrt_alive").unwrap() > 12, "no handles were counted");
        drop(ride);
        assert_eq!(double.count("fake_tensorrt_alive").unwrap(), 0);
    }
    // Fails if handles of the driver were not released.
    let _primary = drivewam_device::cuda::PrimaryContext::retain(0).unwrap();
}

/// Breaks if the program of `tests/gpu/run.sh` does not drive, or accepts a different ride.
fn program() {
    let folder = tempfile::tempdir().unwrap();
    let engines = folder.path().join("engines");
    FakeBundle::new(Family::Tensorrt).of_zeros().write(&engines);
    let path = folder.path().join("config.yaml");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml").canonicalize().unwrap();
    std::fs::write(&path, format!("extends: [{base:?}]\nengine: {{kind: tensorrt}}\n")).unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_drivewam-gpu"))
        .args(["ride", path.to_str().unwrap(), "--host", base.to_str().unwrap(), "--engines", engines.to_str().unwrap(), "--chunks", "3"])
        .arg("--kernels")
        .arg(home().join("kernels"))
        .env("DRIVEWAM_TENSORRT", library(Family::Tensorrt))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(stdout.matches("self-test passed").count(), 6, "{stdout}{stderr}");
    assert!(stdout.contains("3 chunks: median") && stdout.contains("no GPU, a test"), "{stdout}{stderr}");
    // Engines that return zeros do not drive.
    assert!(!done.status.success() && stderr.contains("the rides differ"), "{stdout}{stderr}");
}
