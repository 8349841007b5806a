//! The structure holds: crates and modules use what lies below them, names are unique, `unsafe`
//! stays where it belongs, files are short, prose is narrow and links lead somewhere. Each rule is
//! proven by a violation that its own test makes up.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod commands;
mod contract;
mod crates;
mod documents;
mod files;
mod modules;
mod names;
mod python;
mod safety;
mod text;
mod unsafe_code;

use drivewam_tests::documented;
use files::{Source, sources};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

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
    let failures = contract::breaches(&sources(&root(), &["rs"]));
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
    let rust = sources(&root(), &["rs"]);
    let (owners, failures) = unsafe_code::places(&rust);
    assert!(owners.len() > 5, "the search finds {owners:?}");
    assert!(failures.is_empty(), "{failures:#?}");
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

/// The documents: those beside the README, and all below `docs/`.
fn all_documents() -> Vec<Source> {
    let markdown = sources(&root(), &["md"]).into_iter();
    markdown.filter(|file| !file.path.contains('/') || file.path.starts_with("docs/")).collect()
}

#[test]
fn the_first_screen_of_the_readme_has_40_lines_of_100_columns_and_links_every_page() {
    let all = all_documents();
    let readme = all.iter().find(|file| file.path == "README.md").unwrap();
    let pages: Vec<&str> = all.iter().map(|file| file.path.as_str()).filter(|path| path.matches('/').count() == 1).collect();
    assert!(pages.len() > 10, "{pages:?}");
    let failures = documents::first_screen(&readme.text, &pages);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn relative_links_of_the_documents_lead_to_files_and_headings() {
    let failures = documents::dead_links(&all_documents(), &root());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn prose_and_comments_have_at_most_100_columns() {
    let kinds = ["rs", "py", "cu", "cuh", "cpp", "h", "c", "js", "md", "yaml", "toml", "sh", "Makefile"];
    let failures = text::wide(&sources(&root(), &kinds));
    assert!(failures.is_empty(), "{} lines: {failures:#?}", failures.len());
}
