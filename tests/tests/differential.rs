//! Compares `rten` with ONNX Runtime: every shipped graph, at every shape that a ride binds.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::{FLOW_TIME, Graph, IS_ACTION, MASKED, MEM_BIAS, TEXT_BIAS};
use drivewam_core::config::{EngineConfig, EngineKind};
use drivewam_core::dims::Model;
use drivewam_core::dtype::DType;
use drivewam_core::noise::{Stream, standard_normal};
use drivewam_core::tensor::TensorSpec;
use drivewam_device::{DeviceMemory, HostDevice};
use drivewam_engine::{BoundTensor, EngineBundle, Io, Trust, load};

/// Largest difference of the two libraries, relative to the largest absolute value of the tensor.
const TOLERANCE: f32 = 1e-4;

/// Slots of the shipped configuration's memory: two pools of four chunks, and the tail.
fn slots(model: &Model) -> usize {
    4 * model.packed_tokens() + model.video_tokens()
}

fn shipped() -> EngineBundle {
    let path =
        std::env::var("DRIVEWAM_TEST_ENGINES").unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../engines/tiny").to_owned());
    EngineBundle::open(path.as_ref(), &Trust::default()).unwrap()
}

/// A realistic input: unit noise, rotations, flow times within 0 and 1, a third of the slots empty,
/// tokens of one modality or the video tokens first.
fn input(model: &Model, bound: &BoundTensor, n: usize, seed: u64) -> Vec<f32> {
    let mut data = vec![0.0; bound.region.len()];
    standard_normal(seed, 0, Stream::Video, &mut data);
    match bound.name.as_str() {
        IS_ACTION if n == model.video_tokens() => data.fill(0.0),
        IS_ACTION if n == model.action_tokens() => data.fill(1.0),
        IS_ACTION => data.iter_mut().enumerate().for_each(|(i, x)| *x = f32::from(u8::from(i >= model.video_tokens()))),
        FLOW_TIME => data.iter_mut().for_each(|x| *x = (x.abs() / 4.0).min(1.0)),
        MEM_BIAS => data.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 3 == 2 { MASKED } else { 0.0 }),
        TEXT_BIAS => data.iter_mut().enumerate().for_each(|(i, x)| *x = if i > 4 { MASKED } else { 0.0 }),
        "rope" => data.chunks_exact_mut(2).for_each(|pair| {
            let angle = 3.0 * pair[0];
            pair.copy_from_slice(&[angle.cos(), angle.sin()]);
        }),
        "self_scale" => data.iter_mut().for_each(|x| *x = 1.0 + 0.1 * x.clamp(-3.0, 3.0)),
        "frames" => data.iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0)),
        _ => {}
    }
    data
}

#[test]
fn every_shipped_graph_gives_the_same_output_in_rten_and_in_onnx_runtime() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none_or(|path| path.is_empty()) {
        println!("skipped: ORT_DYLIB_PATH does not say where ONNX Runtime is");
        return;
    }
    let folder = shipped();
    let model = &folder.manifest().model;
    let config = |kind| EngineConfig { threads: 2, ..EngineConfig::new(kind) };
    let mut failed = Vec::new();
    for (&graph, entry) in &folder.manifest().graphs {
        let mut engines = [EngineKind::Rten, EngineKind::Ort].map(|kind| load(&config(kind), &folder, graph).unwrap());
        let shapes = match graph {
            Graph::Dit => vec![model.action_tokens(), model.video_tokens(), model.packed_tokens()],
            Graph::VlmDecoder => vec![1, 124],
            _ => vec![0],
        };
        for n in shapes {
            let mut planner = Planner::new();
            let mut plan = |specs: &[TensorSpec]| -> Vec<BoundTensor> {
                let bound = |spec: &TensorSpec| {
                    let shape = spec.resolve(n, slots(model));
                    BoundTensor { name: spec.name.clone(), region: planner.add("test", &spec.name, DType::F32, &shape).unwrap(), shape }
                };
                specs.iter().map(bound).collect()
            };
            let io = Io { inputs: plan(&entry.inputs), outputs: plan(&entry.outputs), scratch: None };
            let mut device = HostDevice::new(planner.finish(1 << 30).unwrap(), 1).unwrap();
            let mut results: Vec<Vec<Vec<f32>>> = Vec::new();
            for engine in &mut engines {
                let binding = engine.bind(&mut device, &io).unwrap();
                for (i, bound) in io.inputs.iter().enumerate() {
                    device.upload(bound.region, &input(model, bound, n, i as u64)).unwrap();
                }
                // Outputs that an engine does not write stay NaN, and fail below.
                io.outputs.iter().for_each(|bound| device.fill(bound.region, f32::NAN).unwrap());
                engine.run(binding, &mut device).unwrap();
                let mut get = |region: Region| {
                    let mut data = vec![0.0; region.len()];
                    device.download(region, &mut data).unwrap();
                    data
                };
                results.push(io.outputs.iter().map(|bound| get(bound.region)).collect());
            }
            let mut worst = (0.0f32, "");
            for ((bound, rten), ort) in io.outputs.iter().zip(&results[0]).zip(&results[1]) {
                assert!(rten.iter().chain(ort).all(|x| x.is_finite()), "{graph}, N = {n}: {} is not finite", bound.name);
                let scale = ort.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
                let difference = rten.iter().zip(ort).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
                if difference >= worst.0 {
                    worst = (difference, &bound.name);
                }
            }
            println!(
                "{graph}{}: rten and ONNX Runtime differ by {:.1e} at most, in {}",
                if n > 0 { format!(", N = {n}") } else { String::new() },
                worst.0,
                worst.1
            );
            if worst.0 > TOLERANCE {
                failed.push(format!("{graph}, N = {n}: {:.1e} in {}", worst.0, worst.1));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
