//! Machines on which engines cannot be loaded or fail while running: each gives its error, without
//! a fallback.

use super::ride::{on_gpu, real_graphs, warm};
use super::{Case, home, library};
use drivewam_core::arena::Planner;
use drivewam_core::bindings::Graph;
use drivewam_core::config::TensorRtConfig;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::Family;
use drivewam_core::tensor::TensorSpec;
use drivewam_core::{Error, ErrorKind};
use drivewam_device::cuda::Nvidia;
use drivewam_device::gpu::StreamPriority;
use drivewam_device::{CudaDevice, HostDevice};
use drivewam_engine::tensorrt::fake::{FakeTensorRt, PassTensor};
use drivewam_engine::tensorrt::{Library, headers};
use drivewam_engine::{BoundTensor, Engine, EngineBundle, Io, Trust};
use drivewam_tests::drive::drive;
use drivewam_tests::fake_engines::FakeBundle;

const RTX: Family = Family::TensorrtRtx;

pub(crate) const CASES: [Case; 29] = [
    Case {
        name: "a driver that is too old",
        machine: &[("FAKE_CUDA_VERSION", "11080")],
        body: || refused(&["driver is too old", "CUDA 11.8"]),
    },
    Case { name: "no GPU", machine: &[("FAKE_CUDA_COUNT", "0")], body: || refused(&["no such GPU", "got 0"]) },
    Case {
        name: "a GPU that the kernels are not for",
        machine: &[("FAKE_CUDA_CAPABILITY", "86")],
        body: || refused(&["no kernels for this device", "sm_86"]),
    },
    Case {
        name: "a library of an older minor than the headers",
        machine: &[("FAKE_TENSORRT_VERSION", "10600")],
        body: || refused(&["not built for this version of the library", "1.6.0", "1.7.1"]),
    },
    Case {
        name: "a library of another major",
        machine: &[("FAKE_TENSORRT_VERSION", "20000")],
        body: || refused(&["not built for this version", "2.0.0"]),
    },
    Case {
        name: "a newer library than the engines",
        machine: &[("FAKE_TENSORRT_VERSION", "10800")],
        body: || refused(&["not built for this version of the library", "1.8.0", "1.7.1"]),
    },
    Case {
        name: "TensorRT of an older minor than the headers",
        machine: &[("FAKE_TENSORRT_VERSION", "110300")],
        body: || refused_on(Family::Tensorrt, &["older than the headers", "11.3.0", "11.4.0"]),
    },
    Case {
        name: "TensorRT newer than the engines",
        machine: &[("FAKE_TENSORRT_VERSION", "110500")],
        body: || refused_on(Family::Tensorrt, &["built.compatible.library", "11.5.0", "11.4.0 to 11.4.0", "build the engines"]),
    },
    Case {
        name: "TensorRT of another major",
        machine: &[("FAKE_TENSORRT_VERSION", "120000")],
        body: || refused_on(Family::Tensorrt, &["not built for this major version", "12.0.0"]),
    },
    Case {
        name: "another model of GPU",
        machine: &[("FAKE_CUDA_MULTIPROCESSORS", "8")],
        body: || refused_on(Family::Tensorrt, &["built.gpu", "another model of GPU", "8 multiprocessors", "2 multiprocessors"]),
    },
    Case { name: "a library of the other family", machine: &[], body: other_family },
    Case { name: "a file that is no library", machine: &[], body: no_library },
    Case {
        name: "an engine whose header does not fit the GPU",
        machine: &[("FAKE_TENSORRT_NOT_FOR_THIS_GPU", "1")],
        body: || refused(&["by its first bytes", "not for this compute capability"]),
    },
    Case { name: "no runtime", machine: &[("FAKE_TENSORRT_NO_RUNTIME", "1")], body: || refused(&["makes no runtime"]) },
    Case { name: "no context", machine: &[("FAKE_TENSORRT_NO_CONTEXT", "1")], body: || refused(&["makes no execution context"]) },
    Case {
        name: "the first pass fails",
        machine: &[("FAKE_TENSORRT_FAIL_ENQUEUE", "1")],
        body: || refused(&["the pass failed to start", "enqueue failed: vae_encode_first"]),
    },
    Case {
        name: "a pass cannot be captured",
        machine: &[("FAKE_TENSORRT_FAIL_CAPTURE", "1")],
        body: || refused(&["capture of a pass", "failed to start"]),
    },
    Case {
        name: "a pass that compiles every time",
        machine: &[("FAKE_TENSORRT_COMPILES_ALWAYS", "1")],
        body: || refused(&["would still compile", "after the first pass"]),
    },
    Case {
        name: "a pass that cannot be a graph",
        machine: &[("FAKE_TENSORRT_NOT_CAPTURABLE", "1")],
        body: || refused(&["cannot be captured", "engine.tensorrt.cuda_graphs"]),
    },
    Case {
        name: "a graph that allocates",
        machine: &[("FAKE_CUDA_NODE_KIND", "10")],
        body: || refused(&["a graph that allocates", "memory: 1"]),
    },
    Case {
        name: "shapes that need more than the engine said",
        machine: &[("FAKE_TENSORRT_WRONG_SCRATCH", "1")],
        body: || refused(&["more scratch memory than the plan has", "engine.tensorrt.scratch_bytes", "4096", "4352"]),
    },
    Case {
        name: "outputs that are NaN",
        machine: &[("FAKE_TENSORRT_NAN", "1")],
        body: || refused(&["self-test", "vae_encode_first", "NaN"]),
    },
    Case { name: "a binding of another device", machine: &[], body: another_device },
    Case {
        name: "wrong outputs: a hundredth too large",
        machine: &[],
        body: || wrong(|_, data| data.iter_mut().for_each(|x| *x *= 1.01), "video/velocity", "differs from the reference's"),
    },
    Case {
        name: "wrong outputs: in one profile alone",
        machine: &[],
        body: || {
            wrong(
                |n, data| {
                    if n == 8 {
                        data.rotate_left(1)
                    }
                },
                "action/velocity",
                "differs from the reference's",
            )
        },
    },
    Case {
        name: "wrong outputs: where no sample is",
        machine: &[],
        body: || wrong(|_, data| data[1] += 40.0, "video/velocity", "another norm"),
    },
    Case { name: "a warning is no error", machine: &[("FAKE_TENSORRT_WARN", "1")], body: || drop(fresh(RTX).unwrap()) },
    Case { name: "a pass fails in the ride", machine: &[("FAKE_TENSORRT_FAIL_ENQUEUE", "100")], body: fails_in_the_ride },
    Case { name: "the device is lost in the ride", machine: &[("FAKE_CUDA_FAIL_LAUNCH", "100")], body: lost_in_the_ride },
];

/// A ride on fake engines that compute the shipped graphs.
fn fresh(family: Family) -> drivewam_core::Result<drivewam::Ride> {
    let folder = tempfile::tempdir().unwrap();
    FakeBundle::new(family).write(folder.path());
    FakeTensorRt::open(&library(family))?.execute(real_graphs())?;
    warm(on_gpu(family, folder.path(), "{}"))
}

fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    println!("    {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
}

fn refused(words: &[&str]) {
    refused_on(RTX, words);
}

fn refused_on(family: Family, words: &[&str]) {
    says(&fresh(family).unwrap_err(), words);
}

/// Breaks if objects of one family are called through the vtables of the other.
fn other_family() {
    for (asked, given) in [(RTX, Family::Tensorrt), (Family::Tensorrt, RTX)] {
        let error = Library::open(asked, Some(&library(given).display().to_string())).unwrap_err();
        says(&error, &["engine.tensorrt.library", "of the other family"]);
    }
    assert_eq!(headers().len(), 2, "{:?}", headers());
}

fn no_library() {
    let at = |name: &str| home().join(name).display().to_string();
    says(&Library::open(RTX, Some(&at("nothing.so"))).unwrap_err(), &["no library of TensorRT-RTX", "nothing.so", "DRIVEWAM_TENSORRT"]);
    std::fs::write(home().join("text.so"), "no library").unwrap();
    says(&Library::open(RTX, Some(&at("text.so"))).unwrap_err(), &["text.so"]);
    says(&Library::open(RTX, Some(&at("libcuda.so"))).unwrap_err(), &["lacks an entry point", "getInferLibMajorVersion"]);
}

/// Passes that fail after Warm: the ride returns the error and the guard publishes an outcome.
fn fails_in_the_ride() {
    let folder = tempfile::tempdir().unwrap();
    FakeBundle::new(Family::Tensorrt).write(folder.path());
    FakeTensorRt::open(&library(Family::Tensorrt)).unwrap().execute(real_graphs()).unwrap();
    let config = on_gpu(Family::Tensorrt, folder.path(), "{engine: {tensorrt: {cuda_graphs: false}}}");
    let mut ride = warm(config).unwrap();
    let error = drive(&mut ride, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Engine);
    says(&error, &["the pass failed to start", "enqueue failed"]);
    assert!(ride.outcome().is_some(), "the guard published no outcome");
}

/// Breaks if a ride on a device whose context is lost gives no error.
fn lost_in_the_ride() {
    let mut ride = fresh(RTX).unwrap();
    let error = drive(&mut ride, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    says(&error, &["CUDA_ERROR_ILLEGAL_ADDRESS"]);
    says(&ride.synchronize().unwrap_err(), &["lost"]);
}

/// Addresses belong to one device. Breaks if a pass is enqueued on another device's stream, or runs
/// in host memory.
fn another_device() {
    let temp = tempfile::tempdir().unwrap();
    FakeBundle::new(RTX).write(temp.path());
    let bundle = EngineBundle::open(temp.path(), &Trust::default()).unwrap();
    let entry = bundle.manifest().graph(Graph::ContextEgo).unwrap().clone();
    let mut planner = Planner::new();
    let mut bound = |specs: &[TensorSpec]| -> Vec<BoundTensor> {
        let mut add = |spec: &TensorSpec| {
            let shape = spec.resolve(0, 0);
            BoundTensor { name: spec.name.clone(), region: planner.add("test", &spec.name, spec.dtype, &shape).unwrap(), shape }
        };
        specs.iter().map(&mut add).collect()
    };
    let (inputs, outputs) = (bound(&entry.inputs), bound(&entry.outputs));
    let scratch = Some(planner.add("test", "scratch", DType::U8, &[4096]).unwrap());
    let plan = planner.finish(1 << 20).unwrap();
    let device =
        || CudaDevice::new(Box::new(Nvidia::open(0, &home().join("kernels"), StreamPriority::High).unwrap()), plan.clone()).unwrap();
    let (mut first, mut second, mut host) = (device(), device(), HostDevice::new(plan.clone(), 1).unwrap());
    let options = TensorRtConfig { library: Some(library(RTX).display().to_string()), ..TensorRtConfig::default() };
    let mut engine = drivewam_engine::tensorrt::TensorRt::open(&bundle, Graph::ContextEgo, RTX, &options).unwrap();
    let io = Io { inputs, outputs, scratch };
    let binding = engine.bind(&mut first, &io).unwrap();
    engine.run(binding, &mut first).unwrap();
    says(&engine.run(binding, &mut second).unwrap_err(), &["a binding of another device"]);
    says(&engine.run(binding, &mut host).unwrap_err(), &["computes on a GPU", "host"]);
    let mut short = Io { outputs: io.outputs[1..].to_vec(), ..io.clone() };
    says(&engine.bind(&mut first, &short).unwrap_err(), &["an output is not bound", "ego_k.0"]);
    short = Io { scratch: None, ..io };
    says(&engine.bind(&mut first, &short).unwrap_err(), &["more scratch memory", "got 0 bytes"]);
}

/// Passes of `dit` whose velocity is changed by `corrupt`, which gets N. Breaks if the self-test
/// accepts an engine with wrong outputs.
fn wrong(corrupt: fn(usize, &mut [f32]), place: &str, what: &str) {
    let temp = tempfile::tempdir().unwrap();
    FakeBundle::new(RTX).write(temp.path());
    let mut real = real_graphs();
    let executor = move |name: &str, tensors: &mut [PassTensor]| {
        let done = real(name, tensors);
        for tensor in tensors.iter_mut().filter(|t| t.name == "velocity") {
            corrupt(tensor.shape[0], &mut tensor.data);
        }
        done
    };
    FakeTensorRt::open(&library(RTX)).unwrap().execute(Box::new(executor)).unwrap();
    says(&warm(on_gpu(RTX, temp.path(), "{}")).unwrap_err(), &["self-test of graph dit", place, what]);
}
