//! The paper's codec in the embedded engine: diffusers' `AutoencoderKLWan` as streaming graphs
//! (`export/drivewam_export/wan_vae.py`, random weights), with the causal cache fed back from chunk
//! to chunk, on rten and on ONNX Runtime.
//!
//! The export's own tests compare the graphs with diffusers on a whole clip. This test breaks when
//! an engine cannot run the exported graphs, a cache is bound to the wrong tensor, or the weights
//! do not reach the engine. `make fixtures` writes the folder.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::arena::Planner;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{EngineConfig as Settings, EngineKind};
use drivewam_core::tensor::TensorRole;
use drivewam_device::{DeviceMemory, HostDevice};
use drivewam_engine::{BoundTensor, EngineBundle, Io, Trust, load};
use std::path::{Path, PathBuf};

/// Encoded chunks; the first is a single frame.
const CHUNKS: usize = 4;

fn folder() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/wan_vae");
    assert!(path.join("manifest.yaml").exists(), "{path:?} is missing: `make fixtures` writes it");
    path
}

/// The output with this role.
fn output(io: &Io, role: TensorRole) -> &BoundTensor {
    io.outputs.iter().find(|tensor| TensorRole::of_name(&tensor.name) == Some(role)).unwrap()
}

/// The latents of a synthetic clip, by chunk.
fn encode(kind: EngineKind, mix_up_caches: bool) -> Vec<Vec<f32>> {
    let bundle = EngineBundle::open(&folder(), &Trust::default()).unwrap();
    let (manifest, mut planner) = (bundle.manifest(), Planner::new());
    let graphs = [Graph::VaeEncodeFirst, Graph::VaeEncode];
    // Every tensor of both graphs has a region of its own; caches are copied from outputs to
    // inputs.
    let ios: Vec<Io> = graphs
        .iter()
        .map(|&graph| {
            let signature = manifest.signature(graph).unwrap();
            let mut bind = |specs: &[drivewam_core::tensor::TensorSpec]| -> Vec<BoundTensor> {
                specs
                    .iter()
                    .map(|spec| {
                        let shape = spec.resolve(0, 0);
                        let region = planner.add("codec", format!("{graph}.{}", spec.name), spec.dtype, &shape).unwrap();
                        BoundTensor { name: spec.name.clone(), region, shape }
                    })
                    .collect()
            };
            Io { inputs: bind(&signature.inputs), outputs: bind(&signature.outputs), scratch: None }
        })
        .collect();
    let mut device = HostDevice::new(planner.finish(1 << 30).unwrap(), 1).unwrap();
    let settings = Settings { threads: 2, ..Settings::new(kind) };
    let mut engines: Vec<_> = graphs.iter().map(|&graph| load(&settings, &bundle, graph).unwrap()).collect();
    let bindings: Vec<_> = engines.iter_mut().zip(&ios).map(|(engine, io)| engine.bind(&mut device, io).unwrap()).collect();
    let mut latents = Vec::new();
    for chunk in 0..CHUNKS {
        let which = usize::from(chunk > 0);
        let io = &ios[which];
        for tensor in &io.inputs {
            match TensorRole::of_name(&tensor.name).unwrap() {
                TensorRole::CacheIn(i) => {
                    let from = output(&ios[usize::from(chunk > 1)], TensorRole::CacheOut(i));
                    let mut cache = vec![0.0; from.region.len()];
                    device.download(from.region, &mut cache).unwrap();
                    device.upload(tensor.region, &cache).unwrap();
                    if mix_up_caches {
                        device.fill(tensor.region, 0.0).unwrap();
                    }
                }
                _ => {
                    let frames: Vec<f32> =
                        (0..tensor.region.len()).map(|i| ((i * 7919 + chunk * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect();
                    device.upload(tensor.region, &frames).unwrap();
                }
            }
        }
        engines[which].run(bindings[which], &mut device).unwrap();
        let latent = output(io, TensorRole::Latent);
        let mut values = vec![0.0; latent.region.len()];
        device.download(latent.region, &mut values).unwrap();
        latents.push(values);
    }
    latents
}

fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let scale = b.iter().flatten().fold(1e-9f32, |m, x| m.max(x.abs()));
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max)
}

#[test]
fn rten_runs_the_streaming_wan_encoder_and_its_cache_matters() {
    let latents = encode(EngineKind::Rten, false);
    assert!(latents.iter().flatten().all(|x| x.is_finite()));
    let forgetful = encode(EngineKind::Rten, true);
    assert_eq!(latents[0], forgetful[0], "the first frame has no cache");
    let worst = difference(&latents, &forgetful);
    println!("without the cache: largest relative difference {worst:.1e}");
    assert!(worst > 1e-2);
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        println!("ORT_DYLIB_PATH is not set: rten was not compared with ONNX Runtime");
        return;
    }
    let worst = difference(&latents, &encode(EngineKind::Ort, false));
    println!("rten and ONNX Runtime: largest relative difference {worst:.1e}");
    assert!(worst <= 1e-4, "{worst:.1e}");
}
