//! The image processor against Qwen3-VL's own (`export/drivewam_export/guidance/pictures.py`): the
//! resized bytes and the normalised patches have the same bits.
//!
//! Breaks when a weight of the resize, the order of its passes, a rounding, the normalisation of a
//! channel or the order of the patches differs. `make fixtures` writes the images first.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::guidance::Image;
use drivewam_guidance::image_processor::ImageProcessor;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Index {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    height: usize,
    width: usize,
    to: (usize, usize),
    settings: Settings,
}

#[derive(Deserialize)]
struct Settings {
    patch_size: usize,
    temporal_patch_size: usize,
    merge_size: usize,
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

fn folder() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/vlm_pictures");
    assert!(path.join("index.json").exists(), "{path:?} is missing: `make fixtures` writes it");
    path
}

fn index() -> Index {
    serde_json::from_slice(&std::fs::read(folder().join("index.json")).unwrap()).unwrap()
}

#[test]
fn images_have_the_bits_of_the_reference() {
    let cases = index().cases;
    assert!(cases.len() >= 9, "{} images", cases.len());
    let mut faults = Vec::new();
    for case in cases {
        let bytes = std::fs::read(folder().join(&case.file)).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |name: &str| golden.tensor(name).unwrap();
        let Settings { patch_size, temporal_patch_size, merge_size, image_mean: mean, image_std: std } = case.settings;
        let (height, width) = case.to;
        let image = Image { height, width, patch: patch_size, temporal_patch: temporal_patch_size, merge: merge_size, mean, std };
        let mut processor = ImageProcessor::new((case.height, case.width), image).unwrap();
        let (rows, values) = (image.patches(), image.patch_len());
        assert_eq!(tensor("pixel_values").shape(), [rows, values], "{}", case.file);
        let grid: Vec<i64> = tensor("grid_thw").data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(grid, [1, case.to.0 / patch_size, case.to.1 / patch_size].map(|n| n as i64), "{}", case.file);
        // Twice: an image must leave nothing behind for the next.
        let mut patches = vec![f32::NAN; rows * values];
        processor.run(&vec![255; case.height * case.width * 3], &mut patches).unwrap();
        let start = std::time::Instant::now();
        processor.run(tensor("rgb").data(), &mut patches).unwrap();
        let took = start.elapsed();
        let bytes = processor.resized().iter().zip(tensor("resized").data()).filter(|(a, b)| a != b).count();
        let wanted = tensor("pixel_values").data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
        let numbers = patches.iter().zip(&wanted).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        println!("{}: {took:?}, {bytes} bytes and {numbers} numbers differ", case.file);
        if bytes + numbers > 0 || processor.resized().len() != tensor("resized").data().len() {
            faults.push(format!("{}: {bytes} bytes and {numbers} numbers", case.file));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
