//! Runs the program on the shipped policy.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

#[path = "../../../tests/src/documented.rs"]
mod documented;

/// Breaks when a document shows a command that the program does not have.
#[test]
fn the_documented_commands_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    documented::assert_parsed(&root, "drivewam-profile-latency", env!("CARGO_BIN_EXE_profile_latency"));
}

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml")
}

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_profile_latency"));
    command.arg(config()).args(words);
    command
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Breaks when a stage is not timed, the times of a chunk do not add up to its latency, a pass is
/// missing, percentiles are out of order, or a requested file is missing or inconsistent.
#[test]
fn a_window_is_measured_to_the_last_stage() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let [html, times, profile, trace] = ["p.html", "times.json", "profile.json", "trace.json"].map(file);
    let words = [
        "--warmup",
        "3",
        "--window",
        "6",
        "--json",
        "--html",
        &html,
        "--export-times",
        &times,
        "--export-profile",
        &profile,
        "--export-trace",
        &trace,
    ];
    let report = report(&program(&words).output().unwrap());
    assert_eq!(report["window"]["chunks"], 6);
    assert_eq!(report["window"]["warmup_chunks"], 3);
    assert_eq!(report["passes_per_chunk"], 14);
    let latency = &report["latency_ms"];
    for stage in ["ingest", "encode", "observe", "select", "context", "video", "action", "solver", "decode", "guard", "chunk"] {
        let of = |figure: &str| number(&latency[stage][figure]);
        assert_eq!(latency[stage]["count"], 6, "{stage}");
        assert!(
            0.0 < of("p50") && of("p50") <= of("max") * 1.001 && latency[stage]["p90"].is_null(),
            "six samples have a median and a maximum: {stage}: {}",
            latency[stage]
        );
    }
    assert_eq!(latency["passes"].as_array().unwrap().len(), 14);
    let chunks = report["chunks"].as_array().unwrap();
    for chunk in chunks {
        let stages = chunk["stages"].as_array().unwrap();
        let inside: f64 = stages.iter().filter(|s| number(&s["start_ms"]) >= 0.0).map(|s| number(&s["ms"])).sum();
        let whole = number(&chunk["latency_ms"]);
        assert!(inside <= whole * 1.001 && inside > 0.8 * whole, "{inside} of {whole} ms are in stages");
    }
    assert!(number(&report["startup_ms"]["first_trajectory"]) > number(&report["startup_ms"]["load"]));
    assert_eq!(
        report["memory_bytes"]["arena"],
        report["memory_bytes"]["by_owner"].as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum::<u64>()
    );
    let read = |path: &str| -> Value { serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap() };
    let times = read(&times);
    assert_eq!(times.as_array().unwrap().len(), 6);
    assert!((number(&times[2]["latencyMs"]) - number(&chunks[2]["latency_ms"])).abs() < 1e-6);
    assert_eq!(read(&profile)[0]["count"], 6);
    assert!(read(&trace)["traceEvents"].as_array().unwrap().len() > 6 * 14);
    assert!(std::fs::read_to_string(&html).unwrap().contains("chart-memory"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "a temporary file was left");
}

/// A period that no chunk can keep: each waits longer than the one before. Breaks when a late chunk
/// is timed from its start in place of when it was due.
#[test]
fn a_slow_chunk_costs_those_behind_it() {
    let report = report(&program(&["--warmup", "2", "--window", "6", "--period", "0.001", "--json"]).output().unwrap());
    assert_eq!(report["window"]["pacing"], "open_loop");
    let late: Vec<f64> = report["chunks"].as_array().unwrap().iter().map(|c| number(&c["late_ms"])).collect();
    assert!(late.windows(2).all(|pair| pair[0] < pair[1]), "{late:?}");
    assert!(number(&report["latency_ms"]["response"]["max"]) > 3.0 * number(&report["latency_ms"]["chunk"]["p50"]));
    let relaxed = program(&["--warmup", "1", "--window", "3", "--period", "0.6", "--json"]).output().unwrap();
    let seconds = number(&serde_json::from_slice::<Value>(&relaxed.stdout).unwrap()["window"]["seconds"]);
    assert!(seconds > 1.2, "three chunks 0.6 s apart took {seconds} s");
}

/// Breaks when there is no noise floor, the other configuration is not the requested one, or the
/// ratio is not that of chunks.
#[test]
fn two_configurations_are_compared_in_alternation() {
    let words = ["--warmup", "2", "--window", "4", "--rounds", "2", "--vs-set", "flow.video.steps=1", "--json"];
    let report = report(&program(&words).output().unwrap());
    assert_eq!(report["aa"]["runs"], 2);
    assert!(number(&report["aa"]["ratio"]["chunk"]["p50"]["low"]) <= 1.0);
    let versus = &report["versus"];
    assert_eq!(versus["configuration"]["set"][0], "flow.video.steps=1");
    assert_ne!(versus["configuration"]["sha256"], report["configuration"]["sha256"]);
    assert_eq!(versus["ratio"]["p50"]["rounds"], 2);
}

/// Breaks when an impossible measurement succeeds, has no error message, or leaves a file.
#[test]
fn what_cannot_be_measured_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("p.html").display().to_string();
    for (words, wanted) in [
        (&["--window", "0"][..], "--window: nothing to measure"),
        (&["--set", "target.arena_bytes=1000"], "wanted"),
        (&["--set", "engine.folder=/nowhere"], "/nowhere"),
        (&["--set", "engine.kind=tensorrt"], "no NVIDIA driver is installed"),
        (&["--aa", "2", "--set", "engine.folder=/nowhere"], "a child process failed"),
    ] {
        let output = program(words).args(["--json", "--html", &html]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(wanted), "{words:?}: {stderr}");
        assert!(!Path::new(&html).exists(), "{words:?}");
    }
}

/// Breaks when a file that cannot be written is found after the window, which may take an hour, or
/// the look at it leaves something behind.
#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (page, there) = (at("p.html"), at("folder"));
    std::fs::create_dir(&there).unwrap();
    std::fs::write(&page, "an earlier page").unwrap();
    let none = at("none/p.html");
    for (files, wanted) in [
        (vec!["--html", &none], vec!["--html", "none", "create it first"]),
        (vec!["--export-times", &there], vec!["--export-times", "exists and is not a file"]),
        (vec!["--export-trace", "/dev/null"], vec!["--export-trace", "exists and is not a file"]),
        (vec!["--export-trace", "/proc/x.json"], vec!["--export-trace", "/proc/x.json", "cannot be written"]),
        (vec!["--html", &page, "--export-profile", &page], vec!["--export-profile", "the same file as that of --html"]),
    ] {
        // A window that no test waits for.
        let output = program(&["--window", "86400s"]).args(&files).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{files:?}: {stderr}");
        wanted.iter().for_each(|word| assert!(stderr.contains(word), "{files:?}: {word:?} is missing in {stderr}"));
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["folder", "p.html"]);
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "an earlier page");
}

/// Breaks when a run that is ended before its first chunk has another exit code than one that is
/// ended later, SIGTERM kills it, or a comparison waits for its process.
#[test]
fn a_run_that_is_ended_early_exits_with_130_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("p.html").display().to_string();
    for (signal, more) in [("-INT", &[][..]), ("-TERM", &[]), ("-TERM", &["--aa", "2"])] {
        let child = program(&["--warmup", "1000000", "--json", "--html", &html]).args(more).stderr(Stdio::piped()).spawn().unwrap();
        // By now the handler is installed: it is the first thing that the program does.
        std::thread::sleep(Duration::from_secs(1));
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{signal} {more:?}: {stderr}");
        assert!(stderr.contains("interrupted before") && stderr.contains("no file was written"), "{stderr}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{signal} {more:?}");
    }
}

/// Breaks when a key under its old name is taken in silence, or by every process of a comparison.
#[test]
fn a_key_under_its_old_name_is_named_once_on_standard_error() {
    let short = ["--warmup", "1", "--window", "1", "--json", "--set", "guard.max_held=3"];
    for more in [&[][..], &["--aa", "2"]] {
        let done = program(&short).args(more).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && said.matches("is now called").count() == 1, "{more:?}: {said}");
    }
}

/// Breaks when Ctrl-C loses the report, leaves a report that looks complete, or gives exit code 0.
#[test]
fn an_interrupted_window_does_not_look_complete() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let [html, times] = [file("p.html"), file("t.json")];
    let words =
        ["--warmup", "1", "--window", "100000", "--json", "--html", html.to_str().unwrap(), "--export-times", times.to_str().unwrap()];
    // Interrupts later and later, until the window had begun.
    let interrupted = |after_s: u64| {
        let child = program(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(after_s));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        child.wait_with_output().unwrap()
    };
    let is_early =
        |output: &Output| output.status.code().is_none() || String::from_utf8_lossy(&output.stderr).contains("interrupted before");
    let output = [2, 4, 8, 16, 32].into_iter().map(interrupted).find(|output| !is_early(output)).unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    assert!(std::fs::read_to_string(&html).unwrap().to_lowercase().contains("interrupted") && !times.exists());
}
