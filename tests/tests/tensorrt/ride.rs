//! Whole rides: planned, warmed, driven, on each family.

use super::{Case, home, library};
use drivewam::ingest::EgoState;
use drivewam::{Plan, Progress, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::Result;
use drivewam_core::arena::Planner;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, EngineKind, Layer};
use drivewam_core::dims::Command;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::Family;
use drivewam_core::pose::Pose2;
use drivewam_device::{Device, HostDevice};
use drivewam_engine::tensorrt::double::{Double, Executor, Tensor};
use drivewam_engine::{Binding, Bound, Engine, Folder, Io, Trust, load};
use drivewam_tests::fake_engines::Made;
use drivewam_world::{Canvas, World};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) const CASES: [Case; 6] = [
    Case { name: "a ride on TensorRT", machine: &[], body: || equals_the_hosts(Family::Tensorrt, "{}") },
    Case { name: "a ride on TensorRT-RTX", machine: &[], body: || equals_the_hosts(Family::TensorrtRtx, "{}") },
    Case {
        name: "a ride on TensorRT without graphs",
        machine: &[],
        body: || equals_the_hosts(Family::Tensorrt, "{engine: {tensorrt: {cuda_graphs: false}}}"),
    },
    Case { name: "a ride in half precision", machine: &[], body: || in_half("target/tiny-f16", "f16") },
    Case { name: "a ride in bfloat16", machine: &[], body: || in_half("target/tiny-bf16", "bf16") },
    Case { name: "everything is given back", machine: &[], body: given_back },
];

/// The shipped configuration with `set` on top.
pub(crate) fn config(set: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    load_config(&path, &[Layer { name: "test".to_owned(), text: set.to_owned() }]).unwrap()
}

/// The same for the engines in `folder` on the doubles.
pub(crate) fn on_gpu(family: Family, folder: &Path, set: &str) -> Config {
    let mut config = config(set);
    config.engine.kind = match family {
        Family::Tensorrt => EngineKind::Tensorrt,
        Family::TensorrtRtx => EngineKind::TensorrtRtx,
    };
    config.engine.folder = folder.display().to_string();
    config.engine.tensorrt.library = Some(library(family).display().to_string());
    config.engine.tensorrt.kernels = Some(home().join("kernels").display().to_string());
    config
}

/// Warms a ride.
pub(crate) fn warm(config: Config) -> Result<Ride> {
    let folder = Folder::open(config.engine.folder.as_ref(), &Trust::of(&config.vehicle)?, None)?;
    let camera = SourceCamera::of_model(&config.model);
    Plan::new(config, folder.manifest(), camera, RideOptions { decoder: true, ..RideOptions::default() })?.warm(&folder)
}

/// Drives a drawn world; all numbers of all trajectories, or the first fault.
pub(crate) fn drive(ride: &mut Ride, chunks: i64) -> Result<Vec<f64>> {
    let model = ride.config().model.clone();
    let mut world = World::new(5, drivewam_world::Options::default());
    let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
    let mut numbers = Vec::new();
    for tick in 0..=(chunks - 1) * 40 {
        let (stamp, ego) = (tick * 100_000_000, world.ego());
        let state = EgoState { speed_mps: ego.speed_mps, acceleration_mps2: ego.acceleration_mps2, curvature_1pm: ego.curvature_1pm };
        ride.push_ego(stamp, state)?;
        ride.push_pose(stamp, Pose2::new(ego.pose.x_m, ego.pose.y_m, ego.pose.yaw_rad))?;
        if tick == 0 {
            ride.push_command(0, Command::Straight)?;
        }
        if tick % 10 == 0 {
            world.render(&mut canvas);
            ride.push_frame(stamp, &canvas.rgb)?;
        }
        if let Progress::Outcome(outcome) = ride.step(stamp)? {
            numbers.extend(outcome.trajectory.points().iter().flat_map(|p| [p.x_m, p.y_m, p.yaw_rad, p.v_mps]));
        }
        world.step(world.expert());
    }
    Ok(numbers)
}

/// An engine, and tensors of its own.
type Bench = (Box<dyn Engine>, HostDevice, Io, Binding);

/// The shipped graphs in the embedded engine, one for each shape that was asked for.
pub(crate) fn real_graphs() -> Executor {
    let engine = config("{}").engine;
    let folder = Folder::open(engine.folder.as_ref(), &Trust::default(), None).unwrap();
    let mut known: BTreeMap<(String, usize), Bench> = BTreeMap::new();
    Box::new(move |name, tensors| {
        let rows = tensors.iter().find(|t| t.name == "tokens").map_or(0, |t| t.shape[0]);
        let (engine, device, io, binding) = known.entry((name.to_owned(), rows)).or_insert_with(|| {
            let graph = Graph::ALL.into_iter().find(|graph| graph.as_str() == name).unwrap();
            let mut planner = Planner::new();
            let mut bound = |inputs: bool| -> Vec<Bound> {
                let mut add = |t: &Tensor| {
                    let region = planner.add("double", &t.name, DType::F32, &t.shape).unwrap();
                    Bound { name: t.name.clone(), region, shape: t.shape.clone() }
                };
                tensors.iter().filter(|t| t.is_input == inputs).map(&mut add).collect()
            };
            let io = Io { inputs: bound(true), outputs: bound(false), scratch: None };
            let mut device = HostDevice::new(planner.finish(1 << 26).unwrap(), 1).unwrap();
            let mut engine = load(&engine, &folder, graph).unwrap();
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

/// Breaks if a tensor is bound to another's place or an old one, a pass is left out of a graph or repeated, work leaves the stream's order, or scratch memory
/// overlaps anything: the trained network would drive elsewhere.
fn equals_the_hosts(family: Family, set: &str) {
    let folder = tempfile::tempdir().unwrap();
    Made::new(family).write(folder.path());
    let double = Double::open(&library(family)).unwrap();
    double.execute(real_graphs()).unwrap();
    let mut ride = warm(on_gpu(family, folder.path(), set)).unwrap();
    let words: String = ride.engines().into_iter().map(|(_, words)| words).collect();
    let (name, how) = (family.to_string(), if set == "{}" { "a CUDA graph a pass" } else { "enqueued" });
    assert!(words.contains(&name) && words.contains(how) && words.contains("compute capability 9.0"), "{words}");
    let compiled = double.count("fake_tensorrt_compiled").unwrap();
    let got = drive(&mut ride, 8).unwrap();
    assert_eq!(double.count("fake_tensorrt_compiled").unwrap(), compiled, "kernels were compiled in the ride");
    let wanted = drive(&mut warm(config("{}")).unwrap(), 8).unwrap();
    assert_eq!((got.len(), wanted.len()), (8 * 160, 8 * 160));
    let worst = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("    8 trajectories differ from the host's by {worst:.1e} m at most");
    assert!(worst < 2e-3, "{worst}");
}

/// A memory of halves on the kernels, between passes that are computed in f32 and rounded. Breaks if a region, a kernel or a border has another type than the
/// manifest says: the numbers would be others altogether.
fn in_half(graphs: &str, precision: &str) {
    let folder = tempfile::tempdir().unwrap();
    Made::of(Family::TensorrtRtx, graphs).write(folder.path());
    Double::open(&library(Family::TensorrtRtx)).unwrap().execute(real_graphs()).unwrap();
    let mut ride = warm(on_gpu(Family::TensorrtRtx, folder.path(), "{}")).unwrap();
    assert!(ride.engines().iter().any(|(_, words)| words.contains(precision)));
    let (got, wanted) = (drive(&mut ride, 6).unwrap(), drive(&mut warm(config("{}")).unwrap(), 6).unwrap());
    // Positions alone: x, y of each point.
    let off = |(a, b): (&[f64], &[f64])| ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sqrt();
    let all: Vec<f64> = got.chunks(4).zip(wanted.chunks(4)).map(off).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    println!(
        "    6 trajectories differ from the host's by {mean:.1e} m in the mean, {:.1e} m at most",
        all.iter().copied().fold(0.0, f64::max)
    );
    assert!(mean > 0.0 && mean < 0.1, "{mean}");
}

/// Breaks if a handle is not given back, or in the wrong order, which ends the process.
fn given_back() {
    for family in [Family::Tensorrt, Family::TensorrtRtx] {
        let folder = tempfile::tempdir().unwrap();
        Made::new(family).write(folder.path());
        let double = Double::open(&library(family)).unwrap();
        double.execute(real_graphs()).unwrap();
        let ride = warm(on_gpu(family, folder.path(), "{}")).unwrap();
        assert!(double.count("fake_tensorrt_alive").unwrap() > 12, "nothing was made");
        drop(ride);
        assert_eq!(double.count("fake_tensorrt_alive").unwrap(), 0);
    }
    // The driver's own were given back too, or the next device would be told.
    let _primary = drivewam_device::cuda::Primary::retain(0).unwrap();
}
