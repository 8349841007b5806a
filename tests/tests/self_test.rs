//! The self-test reaches the trajectory: constants and texts of a manifest that agrees with itself,
//! but not with the reference, are refused.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::{Plan, RideOptions, SourceCamera, load_config};
use drivewam_core::config::Layer;
use drivewam_core::manifest::{FILE_NAME, FileRole, Manifest};
use drivewam_core::trajectory::Point;
use drivewam_core::{Error, ErrorKind};
use drivewam_engine::bundle::{attest, manifest_of};
use drivewam_engine::{EngineBundle, Trust};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

const TEXTS: &str = "commands.safetensors";
const ANSWERS: &str = "self_test.safetensors";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A copy of the shipped bundle that `change` has changed. The manifest then attests its present
/// files.
fn changed(change: impl FnOnce(&Path, &mut Manifest)) -> tempfile::TempDir {
    let (shipped, dir) = (root().join("engines/tiny"), tempfile::tempdir().unwrap());
    for entry in fs::read_dir(&shipped).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let mut manifest = manifest_of(&shipped).unwrap();
    change(dir.path(), &mut manifest);
    for (name, role) in [(TEXTS, FileRole::Commands), (ANSWERS, FileRole::SelfTest)] {
        manifest.files.insert(name.to_owned(), attest(&fs::read(dir.path().join(name)).unwrap(), role));
    }
    fs::write(dir.path().join(FILE_NAME), serde_saphyr::to_string(&manifest).unwrap()).unwrap();
    dir
}

fn warm(folder: &Path) -> Result<(), Error> {
    let layer = Layer { name: "test".to_owned(), text: serde_json::json!({"engine": {"folder": folder}}).to_string() };
    let config = load_config(&root().join("configs/tiny.yaml"), &[layer])?;
    let bundle = EngineBundle::open(folder, &Trust::of_config(&config)?)?;
    let camera = SourceCamera::of_model(&config.model);
    Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION)?.warm(bundle).map(drop)
}

/// Where the numbers of the tensor `name` lie in a safetensors file.
fn tensor(content: &[u8], name: &str) -> Range<usize> {
    let head = 8 + usize::try_from(u64::from_le_bytes(content[..8].try_into().unwrap())).unwrap();
    let tensors: serde_json::Value = serde_json::from_slice(&content[8..head]).unwrap();
    let [from, to] = [0, 1].map(|i| head + usize::try_from(tensors[name]["data_offsets"][i].as_u64().unwrap()).unwrap());
    from..to
}

/// Swaps the content of two tensors of one size.
fn swap(file: &Path, names: [&str; 2]) {
    let mut content = fs::read(file).unwrap();
    let [a, b] = names.map(|name| tensor(&content, name));
    let (first, second) = (content[a.clone()].to_vec(), content[b.clone()].to_vec());
    content[a].copy_from_slice(&second);
    content[b].copy_from_slice(&first);
    fs::write(file, content).unwrap();
}

/// A change of the bundle, and what its refusal must say.
struct Case {
    name: &'static str,
    change: fn(&Path, &mut Manifest),
    words: &'static [&'static str],
}

const CASES: [Case; 9] = [
    Case {
        name: "a digit of q99: plans 2.9 m longer",
        change: |_, m| m.normalisation.action.q99[0] = 1.350_887_655_421_223_2,
        words: &[ANSWERS, "normalisation.action", "another trajectory", "to 1e-5 m"],
    },
    Case {
        name: "the sixth digit of q99",
        change: |_, m| m.normalisation.action.q99[0] += 1e-6,
        words: &["normalisation.action", "another trajectory"],
    },
    Case {
        name: "a digit of q01",
        change: |_, m| m.normalisation.action.q01[1] = -0.337_524_764_529_844_3,
        words: &["normalisation.action", "another trajectory"],
    },
    Case {
        name: "a digit of the yaw's q99",
        change: |_, m| m.normalisation.action.q99[2] += 1e-6,
        words: &["normalisation.action", "another trajectory"],
    },
    Case { name: "epsilon", change: |_, m| m.normalisation.action.epsilon = 2e-6, words: &["normalisation.action", "another trajectory"] },
    Case {
        name: "texts of two commands swapped",
        change: |dir, _| swap(&dir.join(TEXTS), ["left", "right"]),
        words: &["self-test of graph context_text", "left/text_k"],
    },
    Case {
        name: "texts of two commands that are not first swapped",
        change: |dir, _| swap(&dir.join(TEXTS), ["straight", "unknown"]),
        words: &["self-test of graph context_text", "straight/text_k"],
    },
    Case {
        name: "a rollout that leads elsewhere",
        change: |dir, _| {
            let mut content = fs::read(dir.join(ANSWERS)).unwrap();
            let place = tensor(&content, "trajectory/predicted");
            content[place][..4].copy_from_slice(&9f32.to_le_bytes());
            fs::write(dir.join(ANSWERS), content).unwrap();
        },
        words: &["short rollout", "another trajectory", "pose 0 at", "(9.000000 m", "to 3e-2 m"],
    },
    Case {
        name: "a self-test without trajectories, as older exporters wrote",
        change: |dir, _| {
            let mut content = fs::read(dir.join(ANSWERS)).unwrap();
            while let Some(at) = content.windows(11).position(|w| w == b"\"trajectory") {
                content[at + 1] = b'T';
            }
            fs::write(dir.join(ANSWERS), content).unwrap();
        },
        words: &[ANSWERS, "lacks a tensor", "trajectory/decoded", "this version's exporter"],
    },
];

/// Breaks when a constant of the manifest, or whose text a command has, is no longer compared with
/// the reference's.
#[test]
fn a_manifest_whose_constants_are_not_the_reference_s_is_refused() {
    warm(changed(|_, _| ()).path()).unwrap();
    let mut failures = Vec::new();
    for Case { name, change, words } in CASES {
        match warm(changed(change).path()) {
            Ok(()) => failures.push(format!("{name}: accepted")),
            Err(error) => {
                let said = error.to_string();
                println!("{name}: {said}");
                if !words.iter().all(|word| said.contains(word)) || !matches!(error.kind(), ErrorKind::Manifest | ErrorKind::Engine) {
                    failures.push(format!("{name}: {said}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Breaks when the tolerance is no longer the documented one, or a trajectory beyond it is taken.
#[test]
fn a_rollout_is_compared_to_the_documented_tolerance() {
    let bundle = EngineBundle::open(&root().join("engines/tiny"), &Trust::default()).unwrap();
    let test = bundle.trajectory_test().unwrap().unwrap();
    assert!((0.0255..0.0265).contains(&test.tolerance), "docs/engines.md says 0.026 m: {}", test.tolerance);
    let moved = |by_m: f64| -> Vec<Point> {
        test.wanted.iter().map(|[x, y, yaw]| Point { x_m: *x, y_m: y + by_m, yaw_rad: *yaw, v_mps: 0.0 }).collect()
    };
    test.check(&moved(0.02)).unwrap();
    for by_m in [0.03, f64::NAN] {
        let said = test.check(&moved(by_m)).unwrap_err().to_string();
        assert!(said.contains("short rollout"), "{said}");
    }
}
