//! The structure holds: crates and modules use what lies below them, names are unique, `unsafe`
//! stays where it belongs, files are short and prose is narrow. Each rule is proven by a violation
//! that its own test makes up.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod commands;
mod crates;
mod files;
mod modules;
mod names;
mod python;
mod text;

use drivewam_tests::documented;
use files::{Source, sources};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where `unsafe` may stand: the two crates that own it, and the allocators that count in a test.
const UNSAFE: [&str; 4] = ["runtime/device/", "runtime/engine/", "tests/tests/no_alloc.rs", "tests/tests/fuzz/heap.rs"];

/// The device contract. It names no implementation.
const CONTRACT: [&str; 6] = [
    "runtime/device/src/arena.rs",
    "runtime/device/src/camera.rs",
    "runtime/device/src/device.rs",
    "runtime/device/src/gpu.rs",
    "runtime/device/src/kv.rs",
    "runtime/device/src/picture.rs",
];

/// Implementations of the device contract.
const IMPLEMENTATIONS: [&str; 2] = ["runtime/device/src/host/", "runtime/device/src/cuda/"];

#[test]
fn crates_depend_on_what_the_table_allows() {
    let metadata = crates::metadata(&root(), false);
    let failures = crates::misplaced(&crates::dependencies(&metadata));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn dependencies_come_from_the_registry_under_listed_licences() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let metadata = crates::metadata(&root(), true);
    assert!(metadata["packages"].as_array().unwrap().len() > 100, "the list is not the whole tree");
    let failures = crates::unlicensed(&metadata, &deny);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn no_module_takes_part_in_an_import_circle() {
    let rust = sources(&root(), &["rs"]);
    let mut failures = Vec::new();
    let mut crates = 0;
    for file in rust.iter().filter(|file| ["lib.rs", "main.rs"].contains(&file.path.rsplit('/').next().unwrap())) {
        let src = file.path.rsplit_once('/').unwrap().0;
        let held = src.starts_with("runtime/") || src.starts_with("tools/");
        if held && src.ends_with("/src") {
            crates += 1;
            failures.extend(modules::circles(&modules::edges(&format!("{src}/"), &rust)));
        }
    }
    assert!(crates >= 12, "{crates} crates read");
    failures.extend(modules::circles(&python::edges("export/drivewam_export/", &sources(&root(), &["py"]))));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_device_contract_names_no_implementation() {
    let edges = modules::edges("runtime/device/src/", &sources(&root(), &["rs"]));
    let mut failures = Vec::new();
    for file in CONTRACT {
        let used = edges.get(file).unwrap_or_else(|| panic!("{file} is not there"));
        let above = used.iter().filter(|to| IMPLEMENTATIONS.iter().any(|folder| to.starts_with(folder)));
        failures.extend(above.map(|to| format!("{file} -> {to}")));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_public_type_has_a_name_of_its_own_in_the_runtime() {
    let rust = sources(&root(), &["rs"]);
    let runtime: Vec<Source> = rust.into_iter().filter(|f| f.path.starts_with("runtime/") && !is_test(&f.path)).collect();
    let failures = names::shared(&runtime);
    assert!(failures.is_empty(), "{failures:#?}");
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

#[test]
fn unsafe_stays_in_device_and_engine() {
    let mut found = 0;
    let mut failures = Vec::new();
    for file in sources(&root(), &["rs"]) {
        if says_unsafe(&file.text) {
            found += 1;
            if !UNSAFE.iter().any(|place| file.path.starts_with(place)) {
                failures.push(file.path);
            }
        }
    }
    assert!(found > 5, "the search finds {found} files");
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Whether code says `unsafe`, comments and texts aside.
fn says_unsafe(text: &str) -> bool {
    let mut words = Vec::new();
    modules::flatten(text.parse().unwrap(), &mut words);
    words.iter().any(|word| word == "unsafe")
}

#[test]
fn unsafe_is_found_in_code_alone() {
    assert!(says_unsafe("fn f() { unsafe { g() } }") && says_unsafe("unsafe impl Send for A {}"));
    assert!(!says_unsafe("// unsafe {\nconst A: &str = \"unsafe {\";"));
}

#[test]
fn a_source_file_begins_with_its_subject_and_has_at_most_400_lines() {
    let failures = text::shapes(&sources(&root(), &["rs", "py", "cu", "cuh", "cpp", "h"]));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn documented_commands_stand_behind_what_they_need() {
    let all = documented::commands(&root());
    assert!(all.len() > 30, "{} commands found", all.len());
    let failures = commands::unprepared(&all, &root());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn prose_and_comments_have_at_most_100_columns() {
    let kinds = ["rs", "py", "cu", "cuh", "cpp", "h", "md", "yaml", "toml", "sh", "Makefile"];
    let failures = text::wide(&sources(&root(), &kinds));
    assert!(failures.is_empty(), "{} lines: {failures:#?}", failures.len());
}
