//! The language model of this runtime against `transformers`, token for token, on bundles that
//! `make fixtures` writes: `guided`, whose random weights are large enough for every part to
//! matter; `tiny-vlm`, with the shipped weights; and `smollm2`, a pretrained language model
//! (SmolLM2-135M-Instruct) without images.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::arena::Planner;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{EngineConfig, EngineKind};
use drivewam_device::HostDevice;
use drivewam_engine::{EngineBundle, Trust, load};
use drivewam_guidance::text_encoder::TextEncoderPlan;
use drivewam_guidance::vlm::{StopReason, VlmPlan};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

fn folder(name: &str) -> EngineBundle {
    let path = if name == "tiny-vlm" { target().join("../engines/tiny") } else { target().join(name) };
    EngineBundle::open(&path, &Trust::default()).unwrap_or_else(|e| panic!("{path:?}: run `make fixtures` ({e})"))
}

fn golden(name: &str) -> Vec<u8> {
    let path = target().join(format!("{name}.golden.safetensors"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: run `make fixtures` ({e})"))
}

fn whole(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let data = file.tensor(name).unwrap();
    data.data().as_chunks::<8>().0.iter().map(|bytes| u32::try_from(i64::from_le_bytes(*bytes)).unwrap()).collect()
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    file.tensor(name).unwrap().data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Breaks with any wrong part: a position after an image, a row of an image in another place, keys
/// of a token in another slot, a mask, rows of the previous prompt that stay visible, another token
/// of equal logits.
fn generates_as_transformers(kind: EngineKind, name: &str, at_least: usize, cap: usize) {
    let (golden, folder) = (golden(name), folder(name));
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let count = golden.names().iter().filter(|name| name.ends_with("/tokens")).count();
    assert!(count >= at_least, "{count}");
    let prompts: Vec<Vec<u32>> = (0..count).map(|i| whole(&golden, &format!("{i}/ids"))).collect();
    let mut planner = Planner::new();
    let plan = VlmPlan::new(&mut planner, folder.manifest(), &prompts, cap).unwrap();
    let mut device = HostDevice::new(planner.finish(usize::MAX).unwrap(), 1).unwrap();
    let mut vlm = plan.warm(&|graph| load(&EngineConfig::new(kind), &folder, graph), &mut device, None).unwrap();
    let facts = &folder.manifest().guidance.as_ref().unwrap().vlm;
    let (mut answer, mut images) = (Vec::new(), 0);
    // A second time in reverse order: a prompt must leave nothing behind for the next.
    for i in (0..count).chain((0..count).rev()) {
        let patches = floats(&golden, &format!("{i}/patches"));
        let len = facts.image.patches() * facts.image.patch_len();
        let write_patches = |image: usize, to: &mut [f32]| {
            images += 1;
            to.copy_from_slice(&patches[image * len..(image + 1) * len]);
            Ok(())
        };
        let ended = vlm.generate(&mut device, i, write_patches, Duration::from_secs(60), &mut answer).unwrap();
        let mut wanted = whole(&golden, &format!("{i}/tokens"));
        let stops = wanted.last().is_some_and(|token| facts.end_tokens.contains(token));
        if stops {
            wanted.pop();
        }
        assert_eq!(answer, wanted, "prompt {i}");
        assert_eq!(ended, if stops { StopReason::EndToken } else { StopReason::MaxTokens }, "prompt {i}");
    }
    println!("{count} prompts, {images} images: {}", vlm.describe().join("; "));
}

#[test]
fn rten_generates_as_transformers() {
    generates_as_transformers(EngineKind::Rten, "guided", 50, 20);
}

#[test]
fn onnx_runtime_generates_as_transformers() {
    if std::env::var_os("ORT_DYLIB_PATH").is_some() {
        generates_as_transformers(EngineKind::Ort, "guided", 50, 20);
        if cfg!(feature = "long") {
            generates_as_transformers(EngineKind::Ort, "smollm2", 8, 20);
        }
        generates_as_transformers(EngineKind::Ort, "tiny-vlm", 50, 64);
    } else {
        println!("compared nothing: ORT_DYLIB_PATH names no library (make test does)");
    }
}

/// Breaks as the tests above, and where pretrained weights need what random ones do not: 30 layers,
/// a vocabulary of 49,152, keys without a norm.
#[cfg(feature = "long")]
#[test]
fn rten_generates_as_a_pretrained_model() {
    generates_as_transformers(EngineKind::Rten, "smollm2", 8, 20);
}

/// Breaks as the first, with the shipped weights, whose text depends on images and commands.
#[test]
fn rten_generates_as_the_shipped_model() {
    generates_as_transformers(EngineKind::Rten, "tiny-vlm", 50, 64);
}

/// Breaks when padding is visible, or embeddings of the previous text remain.
#[test]
fn texts_have_the_embeddings_of_transformers() {
    for name in ["guided", "tiny-vlm"] {
        texts_of(name);
    }
}

fn texts_of(name: &str) {
    let (golden, folder) = (golden(name), folder(name));
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let mut planner = Planner::new();
    let plan = TextEncoderPlan::new(&mut planner, folder.manifest()).unwrap();
    let mut device = HostDevice::new(planner.finish(usize::MAX).unwrap(), 1).unwrap();
    let open = load(&EngineConfig::new(EngineKind::Rten), &folder, Graph::TextEncode).unwrap();
    let mut encoder = plan.warm(open, &mut device, None).unwrap();
    let dim = folder.manifest().model.text.dim;
    let mut rows = vec![0.0; encoder.max_tokens() * dim];
    let mut worst = 0.0f32;
    for i in [4, 0, 3, 1, 2] {
        let (ids, wanted) = (whole(&golden, &format!("text.{i}/ids")), floats(&golden, &format!("text.{i}/rows")));
        encoder.encode(&mut device, &ids, &mut rows).unwrap();
        let largest = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        worst = rows.iter().zip(&wanted).fold(worst, |worst, (got, wanted)| worst.max((got - wanted).abs() / largest));
    }
    println!("{name}: embeddings differ by {worst:.1e} of the largest number");
    assert!(worst < 1e-5, "{worst}");
    let too_long = vec![2; encoder.max_tokens() + 1];
    for (tokens, words) in [(&too_long[..], "65 tokens"), (&[], "0 tokens"), (&[100_000], "vocabulary")] {
        let error = encoder.encode(&mut device, tokens, &mut rows).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
