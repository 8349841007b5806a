//! The program under a profiler, for which a library of ours stands.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../../../tests/src/listener.rs"]
mod listener;

use listener::Listener;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Breaks when the program is built without what its feature promises, or a profiler sees other stages, in another order, than the report tells.
#[test]
fn a_profiler_sees_what_the_report_tells() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::new(folder.path());
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_profile_latency"));
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml"))
            .args(["--warmup", "2", "--window", "3", "--json"]);
        command.env_remove("NVTX_INJECTION64_PATH");
        command
    };
    let told = |command: &mut Command| -> Vec<Vec<String>> {
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        let stages = |chunk: &Value| chunk["stages"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap().to_owned()).collect();
        report["chunks"].as_array().unwrap().iter().map(stages).collect()
    };
    let alone = told(&mut program());
    let heard = told(listener.listen(&mut program()));
    assert_eq!(alone, heard);
    let threads = listener.heard();
    let [ride] = &threads[..] else { panic!("{threads:?}") };
    assert_eq!(ride.name, "profile_latency");
    let driven: Vec<&str> = ride.ranges.iter().map(String::as_str).filter(|range| !range.starts_with("warm")).collect();
    assert_eq!(driven.iter().filter(|range| **range == "chunk").count(), 2 + 3);
    let stages: Vec<&str> = driven.iter().filter(|range| **range != "chunk").map(|range| range.rsplit('/').next().unwrap()).collect();
    let window: Vec<&str> = heard.iter().flatten().map(String::as_str).collect();
    assert!(window.len() > 3 * 14 && stages.ends_with(&window), "{stages:?}\n{window:?}");
    assert!(driven.iter().all(|range| *range == "ingest" || range.starts_with("chunk")), "{driven:?}");
}
