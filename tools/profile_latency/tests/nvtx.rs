//! The program under a profiler, which a listener library of the tests stands in for.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../../../tests/src/nvtx_listener.rs"]
mod nvtx_listener;

use nvtx_listener::NvtxListener;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Breaks when the feature `nvtx` emits no ranges, or a profiler sees other stages, or another
/// order, than the report.
#[test]
fn a_profiler_sees_the_stages_of_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let listener = NvtxListener::new(folder.path());
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_profile_latency"));
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml"))
            .args(["--warmup", "2", "--window", "3", "--json"]);
        command.env_remove("NVTX_INJECTION64_PATH");
        command
    };
    let stages_of = |command: &mut Command| -> Vec<Vec<String>> {
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        let stages = |chunk: &Value| chunk["stages"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap().to_owned()).collect();
        report["chunks"].as_array().unwrap().iter().map(stages).collect()
    };
    let alone = stages_of(&mut program());
    let traced = stages_of(listener.attach(&mut program()));
    assert_eq!(alone, traced);
    let threads = listener.threads();
    let [ride] = &threads[..] else { panic!("{threads:?}") };
    assert_eq!(ride.name, "profile_latency");
    let driven: Vec<&str> = ride.ranges.iter().map(String::as_str).filter(|range| !range.starts_with("warm")).collect();
    assert_eq!(driven.iter().filter(|range| **range == "chunk").count(), 2 + 3);
    let stages: Vec<&str> = driven.iter().filter(|range| **range != "chunk").map(|range| range.rsplit('/').next().unwrap()).collect();
    let window: Vec<&str> = traced.iter().flatten().map(String::as_str).collect();
    assert!(window.len() > 3 * 14 && stages.ends_with(&window), "{stages:?}\n{window:?}");
    assert!(driven.iter().all(|range| *range == "ingest" || range.starts_with("chunk")), "{driven:?}");
}
