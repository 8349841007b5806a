//! The house stands: no dependency goes up, `unsafe` stays on its two floors, a file has one subject.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The floors, lowest first. Crates of one floor may not use one another, except where a floor is named twice: `world` is drawn below the tools.
const FLOORS: [(&str, u32); 12] = [
    ("drivewam-core", 0),
    ("drivewam-device", 1),
    ("drivewam-engine", 2),
    ("drivewam-recording", 3),
    ("drivewam", 4),
    ("drivewam-world", 5),
    ("drivewam-simulation", 6),
    ("drivewam-build-engines", 7),
    ("drivewam-build-kernels", 7),
    ("drivewam-profile-latency", 7),
    ("drivewam-tools", 7),
    ("drivewam-tests", 8),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metadata() -> serde_json::Value {
    let done = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Every `.rs` file below `folder`, without build outputs.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, out);
            }
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

#[test]
fn no_dependency_goes_up() {
    let floors: BTreeMap<&str, u32> = FLOORS.into_iter().collect();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), floors.len(), "a crate without a floor");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let floor = floors[name];
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if let Some(below) = floors.get(to) {
                assert!(*below < floor, "{name} (floor {floor}) uses {to} (floor {below})");
            }
        }
    }
}

/// Breaks when a block, function or implementation outside of the two floors, and the counting allocator of the tests, says `unsafe`.
#[test]
fn unsafe_stays_in_device_and_engine() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 50, "{} files", files.len());
    let allowed = ["runtime/device/", "runtime/engine/", "tests/tests/no_alloc.rs"];
    let mut found = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let relative = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"];
        let says = code.filter(|line| !line.contains("\"unsafe")).any(|line| words.iter().any(|w| line.contains(w)));
        if says {
            found += 1;
            assert!(allowed.iter().any(|a| relative.starts_with(a)), "{relative} says unsafe");
        }
    }
    assert!(found > 0, "the search finds nothing at all");
}

#[test]
fn a_file_begins_with_its_subject_and_stays_under_400_lines() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if lines >= 400 {
            failures.push(format!("{}: {lines} lines", file.display()));
        }
        if !text.starts_with("//!") {
            failures.push(format!("{}: does not begin with `//!`", file.display()));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
