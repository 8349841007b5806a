//! Who may depend on whom among our crates, and under which licences others come.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Our crates, lowest first, each with those of ours that it may use. A crate may only name crates
/// above it in this list, so the list itself has no circle.
pub(crate) const MAY_USE: [(&str, &[&str]); 15] = [
    ("drivewam-core", &[]),
    ("drivewam-files", &["drivewam-core"]),
    ("drivewam-device", &["drivewam-core", "drivewam-files"]),
    ("drivewam-engine", &["drivewam-core", "drivewam-files", "drivewam-device"]),
    ("drivewam-recording", &["drivewam-core", "drivewam-files"]),
    ("drivewam-guidance", &["drivewam-core", "drivewam-device", "drivewam-engine"]),
    ("drivewam", &["drivewam-core", "drivewam-files", "drivewam-device", "drivewam-engine", "drivewam-guidance"]),
    ("drivewam-world", &["drivewam-core", "drivewam-files", "drivewam-recording", "drivewam-guidance"]),
    ("drivewam-simulation", &["drivewam", "drivewam-core", "drivewam-world"]),
    ("drivewam-console", &[]),
    ("drivewam-build-engines", TOOLS),
    ("drivewam-build-kernels", TOOLS),
    ("drivewam-profile-latency", TOOLS),
    ("drivewam-tools", TOOLS),
    ("drivewam-tests", TOOLS),
];

/// What a binary may use.
const TOOLS: &[&str] = &[
    "drivewam-core",
    "drivewam-files",
    "drivewam-device",
    "drivewam-engine",
    "drivewam-recording",
    "drivewam-guidance",
    "drivewam",
    "drivewam-world",
    "drivewam-simulation",
    "drivewam-console",
];

/// Libraries that a crate must not take, each with the reason.
pub(crate) const MUST_NOT_TAKE: [(&str, &str, &str); 6] = [
    ("drivewam", "csv", "the ride reads no files of a recording"),
    ("drivewam", "image", "the ride decodes no image files"),
    ("drivewam", "png", "the ride decodes no image files"),
    ("drivewam", "zune-jpeg", "the ride decodes no image files"),
    ("drivewam-core", "rustix", "arithmetic asks nothing of the system"),
    ("drivewam-world", "drivewam", "the world knows no ride"),
];

/// `cargo metadata` of the workspace, with or without what it depends on.
pub(crate) fn metadata(root: &Path, with_dependencies: bool) -> Value {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--locked", "--format-version", "1"]).current_dir(root);
    match with_dependencies {
        true => command.args(["--all-features", "--filter-platform", "x86_64-unknown-linux-gnu"]),
        false => command.args(["--no-deps", "--offline"]),
    };
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The direct dependencies of every package, by name.
pub(crate) fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    packages.iter().map(|p| (name(p), p["dependencies"].as_array().unwrap().iter().map(name).collect())).collect()
}

/// Dependencies that the table does not allow, crates without a row, rows without a crate, and rows
/// that name a crate below them.
pub(crate) fn misplaced(dependencies: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut failures = Vec::new();
    let rows: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    for (i, (name, may)) in MAY_USE.iter().enumerate() {
        let above = |other: &&str| MAY_USE.iter().position(|(n, _)| n == other).is_some_and(|at| at < i);
        failures.extend(may.iter().filter(|m| !above(m)).map(|m| format!("{name}: {m} is not above it in the table")));
        if !dependencies.contains_key(*name) {
            failures.push(format!("{name}: in the table, not in the workspace"));
        }
    }
    for (name, used) in dependencies {
        let Some(may) = rows.get(name.as_str()) else {
            failures.push(format!("{name}: a crate without a row in the table"));
            continue;
        };
        let ours = used.iter().filter(|other| rows.contains_key(other.as_str()));
        failures.extend(ours.filter(|o| !may.contains(&o.as_str())).map(|o| format!("{name} must not use {o}")));
        let forbidden = MUST_NOT_TAKE.iter().filter(|(of, what, _)| of == name && used.contains(*what));
        failures.extend(forbidden.map(|(_, what, why)| format!("{name} must not use {what}: {why}")));
    }
    failures
}

/// The two lists of `deny.toml` that this test reads too.
#[derive(serde::Deserialize)]
struct Deny {
    licenses: Licenses,
    sources: Sources,
}

#[derive(serde::Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_git: Vec<String>,
}

/// Packages whose licence is not on the list of `deny.toml`, or that come from elsewhere than the
/// package registry.
pub(crate) fn unlicensed(metadata: &Value, deny_toml: &str) -> Vec<String> {
    let deny: Deny = toml::from_str(deny_toml).unwrap();
    let allowed = |name: &str| deny.licenses.allow.iter().any(|a| a == name);
    let mut failures = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = format!("{} {}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let licence = package["license"].as_str().unwrap_or_default();
        let fits = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX)
            .is_ok_and(|expression| expression.evaluate(|need| need.license.id().is_some_and(|id| allowed(id.name))));
        if !fits {
            failures.push(format!("{name}: licence {licence:?} is not on the list of deny.toml"));
        }
        let source = package["source"].as_str();
        let from_registry = source.is_none_or(|source| source.starts_with("registry+"));
        if !from_registry && !deny.sources.allow_git.iter().any(|a| source.is_some_and(|s| s.contains(a))) {
            failures.push(format!("{name}: source {source:?}, the package registry wanted"));
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(of: &str, extra: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<String, BTreeSet<String>> = MAY_USE.iter().map(|(name, _)| ((*name).to_owned(), BTreeSet::new())).collect();
        all.entry(of.to_owned()).or_default().insert(extra.to_owned());
        all
    }

    /// Breaks when a dependency upwards, a forbidden library or an unknown crate passes.
    #[test]
    fn a_dependency_that_the_table_does_not_allow_is_found() {
        assert_eq!(misplaced(&workspace("drivewam", "drivewam-core")), [""; 0]);
        for (of, extra) in [
            ("drivewam-core", "drivewam-device"),
            ("drivewam-recording", "drivewam-device"),
            ("drivewam-guidance", "drivewam"),
            ("drivewam-world", "drivewam"),
            ("drivewam", "csv"),
            ("drivewam", "image"),
            ("drivewam", "png"),
            ("drivewam", "zune-jpeg"),
            ("drivewam-core", "rustix"),
            ("stranger", "serde"),
        ] {
            assert!(!misplaced(&workspace(of, extra)).is_empty(), "{of} uses {extra}");
        }
    }

    #[test]
    fn a_foreign_licence_and_a_foreign_source_are_found() {
        let deny = "[licenses]\nallow = [\"MIT\"]\n[sources]\nallow-git = []\n";
        let package = |license: &str, source: &str| {
            let package = serde_json::json!({"name": "a", "version": "1.0.0", "license": license, "source": source});
            unlicensed(&serde_json::json!({"packages": [package]}), deny).len()
        };
        assert_eq!(package("MIT OR Apache-2.0", "registry+x"), 0);
        assert_eq!(package("GPL-3.0-only", "registry+x"), 1);
        assert_eq!(package("MIT AND Apache-2.0", "registry+x"), 1);
        assert_eq!(package("MIT", "git+x"), 1);
    }
}
