//! The report as text.

use crate::compare::FIGURES;
use crate::figures::{PERCENTILES, least_count, supports};
use drivewam::stages::Stage;
use serde_json::Value;
use std::fmt::Write as _;

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(
        || "-".to_owned(),
        |v| {
            if v >= 100.0 {
                format!("{v:.0}")
            } else if v >= 1.0 {
                format!("{v:.2}")
            } else {
                format!("{v:.4}")
            }
        },
    )
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { "-".to_owned() } else { value.to_string() }, str::to_owned)
}

/// The whole report.
pub(crate) fn table(report: &Value) -> String {
    let mut t = String::new();
    let mut print = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(t, "{line}");
    };
    if report["interrupted"] == true {
        print("INTERRUPTED: the window is incomplete".to_owned());
    }
    for line in report["machine"]["lines"].as_array().into_iter().flatten() {
        print(text(line));
    }
    for line in report["machine"]["changed"].as_array().into_iter().flatten() {
        print(format!("CHANGED during the measurement: {}", text(line)));
    }
    let (configuration, engine, window) = (&report["configuration"], &report["engine"], &report["window"]);
    print(format!("configuration {} {}", text(&configuration["path"]), text(&configuration["sha256"])));
    print(format!(
        "engines       {} for {} on {}, manifest {}, weights: {}",
        text(&engine["name"]),
        text(&engine["target"]),
        text(&engine["kind"]),
        text(&engine["manifest_sha256"]),
        text(&report["weights"])
    ));
    let pacing = match window["period_ms"].as_f64() {
        Some(period) => format!("one every {period} ms"),
        None => "back to back".to_owned(),
    };
    print(format!(
        "window        {} chunks in {} s after {} warm-up chunks, {pacing}",
        window["chunks"],
        number(&window["seconds"]),
        window["warmup_chunks"]
    ));
    print(deadline(report));
    print(String::new());
    latencies(report, &mut print);
    print(String::new());
    rest(report, &mut print);
    t
}

/// Missed deadlines, and the time without a valid plan.
fn deadline(report: &Value) -> String {
    let (deadline, count) = (&report["deadline"], &report["window"]["chunks"]);
    let uncovered = &deadline["uncovered_ms"];
    format!(
        "deadline      {} ms: missed by {} of {count} chunks; without a valid plan: {} ms in all, in {} chunks, at most {} ms",
        deadline["ms"],
        deadline["misses"],
        number(&uncovered["total"]),
        uncovered["count"],
        number(&uncovered["max"])
    )
}

fn latencies(report: &Value, print: &mut impl FnMut(String)) {
    let (all, noise) = (&report["latency_ms"], &report["aa"]["ratio"]);
    let mut head = format!("{:<12} {:>7}", "stage, ms", "count");
    for name in PERCENTILES.iter().map(|(name, _)| *name).chain(["max"]) {
        let _ = write!(head, " {:>9}", name.replace('_', "."));
        if !noise.is_null() {
            let _ = write!(head, " {:>13}", "noise");
        }
    }
    print(head);
    let mut row = |name: &str, entry: &Value| {
        if entry["count"].as_u64().unwrap_or(0) == 0 {
            return;
        }
        let mut line = format!("{name:<12} {:>7}", entry["count"].to_string());
        for of in PERCENTILES.iter().map(|(name, _)| *name).chain(["max"]) {
            let _ = write!(line, " {:>9}", number(&entry[of]));
            if !noise.is_null() {
                let floor = &noise[name][of];
                let percent = |end: &str| floor[end].as_f64().map(|r| (r - 1.0) * 100.0);
                let range =
                    percent("low").zip(percent("high")).map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:+.0} {high:+.0} %"));
                let _ = write!(line, " {range:>13}");
            }
        }
        print(line);
    };
    for name in Stage::ALL.map(Stage::as_str) {
        row(name, &all[name]);
    }
    for pass in all["passes"].as_array().into_iter().flatten() {
        row(&format!("  {}", text(&pass["pass"])), pass);
    }
    for name in ["chunk", "response", "guidance"] {
        row(name, &all[name]);
    }
    let count = all["chunk"]["count"].as_u64().unwrap_or(0);
    let missing: Vec<String> = PERCENTILES
        .iter()
        .filter(|(_, share)| !supports(count, *share))
        .map(|(name, share)| format!("{} from {} on", name.replace('_', "."), least_count(*share)))
        .collect();
    if !missing.is_empty() {
        print(format!("-: not supported by {count} chunks ({})", missing.join(", ")));
    }
}

fn rest(report: &Value, print: &mut impl FnMut(String)) {
    let (startup, memory) = (&report["startup_ms"], &report["memory_bytes"]);
    let parts = ["open", "plan", "load", "warm"].map(|part| format!("{part} {}", number(&startup[part])));
    print(format!("first trajectory after {} ms: {}", number(&startup["first_trajectory"]), parts.join(", ")));
    print(format!("{} chunks/s, {} transformer passes per chunk", number(&report["throughput_chunks_per_s"]), report["passes_per_chunk"]));
    let owners: Vec<String> =
        memory["by_owner"].as_object().into_iter().flatten().map(|(owner, bytes)| format!("{owner} {bytes}")).collect();
    print(format!("arena {} of {} bytes: {}", memory["arena"], memory["capacity"], owners.join(", ")));
    print(format!("resident {} bytes, at most {}", text(&memory["resident"]), text(&memory["peak_resident"])));
    let energy = &report["energy"];
    match energy["not_measured"].as_str() {
        Some(why) => print(format!("energy not measured: {why}")),
        None => print(format!(
            "energy per chunk {} J, at most {}; {}",
            number(&energy["joules_per_chunk"]["p50"]),
            number(&energy["joules_per_chunk"]["max"]),
            text(&energy["tegrastats"])
        )),
    }
    let guidance = &report["guidance"];
    if guidance["sources"].as_object().is_some_and(|sources| sources.keys().any(|source| source != "command")) {
        print(format!(
            "guidance by {}; age at most {} ms; {} answers rejected",
            guidance["sources"],
            number(&guidance["age_ms"]["max"]),
            guidance["rejects"]
        ));
    }
    let versus = &report["versus"];
    if versus.is_object() {
        print(String::new());
        print(format!(
            "latency of {} {} over this one's, {} rounds of fresh processes:",
            text(&versus["configuration"]["path"]),
            versus["configuration"]["set"],
            versus["rounds"]
        ));
        for (of, ratio) in FIGURES.iter().filter_map(|of| Some((*of, versus["ratio"].get(of)?))) {
            let floor = &report["aa"]["ratio"][text(&versus["of"])][of];
            print(format!(
                "  {:<6} {} [{}, {}]   noise: {} to {}",
                of.replace('_', "."),
                number(&ratio["mean"]),
                number(&ratio["low"]),
                number(&ratio["high"]),
                number(&floor["low"]),
                number(&floor["high"])
            ));
        }
    }
}
