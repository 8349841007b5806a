//! The report for people.

use crate::figures::PERCENTILES;
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

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { "-".to_owned() } else { value.to_string() }, str::to_owned)
}

/// All of it.
pub(crate) fn table(report: &Value) -> String {
    let mut t = String::new();
    let mut say = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(t, "{line}");
    };
    if report["interrupted"] == true {
        say("INTERRUPTED: the window was not finished".to_owned());
    }
    for line in report["machine"]["lines"].as_array().into_iter().flatten() {
        say(word(line));
    }
    for line in report["machine"]["changed"].as_array().into_iter().flatten() {
        say(format!("CHANGED meanwhile: {}", word(line)));
    }
    let (configuration, engine, window) = (&report["configuration"], &report["engine"], &report["window"]);
    say(format!("configuration {} {}", word(&configuration["path"]), word(&configuration["sha256"])));
    say(format!(
        "engines       {} for {} on {}, manifest {}, weights: {}",
        word(&engine["name"]),
        word(&engine["target"]),
        word(&engine["kind"]),
        word(&engine["manifest_sha256"]),
        word(&report["weights"])
    ));
    let pacing = match window["period_ms"].as_f64() {
        Some(period) => format!("one every {period} ms"),
        None => "back to back".to_owned(),
    };
    say(format!(
        "window        {} chunks in {} s after {} of warm-up, {pacing}",
        window["chunks"],
        number(&window["seconds"]),
        window["warmup_chunks"]
    ));
    say(String::new());
    latencies(report, &mut say);
    say(String::new());
    rest(report, &mut say);
    t
}

fn latencies(report: &Value, say: &mut impl FnMut(String)) {
    let (all, noise) = (&report["latency_ms"], &report["aa"]["ratio"]);
    let mut head = format!("{:<12} {:>7}", "stage, ms", "count");
    for name in PERCENTILES.iter().map(|(name, _)| *name).chain(["max"]) {
        let _ = write!(head, " {:>9}", name.replace('_', "."));
        if !noise.is_null() {
            let _ = write!(head, " {:>13}", "noise");
        }
    }
    say(head);
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
                let words =
                    percent("low").zip(percent("high")).map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:+.0} {high:+.0} %"));
                let _ = write!(line, " {words:>13}");
            }
        }
        say(line);
    };
    for name in Stage::ALL.map(Stage::as_str) {
        row(name, &all[name]);
    }
    for pass in all["passes"].as_array().into_iter().flatten() {
        row(&format!("  {}", word(&pass["pass"])), pass);
    }
    for name in ["chunk", "response", "guidance"] {
        row(name, &all[name]);
    }
}

fn rest(report: &Value, say: &mut impl FnMut(String)) {
    let (startup, deadline, memory) = (&report["startup_ms"], &report["deadline"], &report["memory_bytes"]);
    let parts = ["open", "plan", "load", "warm"].map(|part| format!("{part} {}", number(&startup[part])));
    say(format!("first trajectory after {} ms: {}", number(&startup["first_trajectory"]), parts.join(", ")));
    say(format!(
        "deadline of {} ms missed by {} chunks; uncovered: {} chunks, at most {} ms",
        deadline["ms"],
        deadline["misses"],
        deadline["uncovered_ms"]["count"],
        number(&deadline["uncovered_ms"]["max"])
    ));
    say(format!(
        "{} chunks/s, {} passes of the transformer a chunk",
        number(&report["throughput_chunks_per_s"]),
        report["passes_per_chunk"]
    ));
    let owners: Vec<String> =
        memory["by_owner"].as_object().into_iter().flatten().map(|(owner, bytes)| format!("{owner} {bytes}")).collect();
    say(format!("arena {} of {} bytes: {}", memory["arena"], memory["capacity"], owners.join(", ")));
    say(format!("resident {} bytes, at most {}", word(&memory["resident"]), word(&memory["peak_resident"])));
    let energy = &report["energy"];
    match energy["not_measured"].as_str() {
        Some(why) => say(format!("energy not measured: {why}")),
        None => say(format!(
            "energy a chunk {} J, at most {}; {}",
            number(&energy["joules_per_chunk"]["p50"]),
            number(&energy["joules_per_chunk"]["max"]),
            word(&energy["tegrastats"])
        )),
    }
    let guidance = &report["guidance"];
    if guidance["voices"].as_object().is_some_and(|voices| voices.keys().any(|voice| voice != "command")) {
        say(format!(
            "told by {}; age at most {} ms; {} answers refused",
            guidance["voices"],
            number(&guidance["age_ms"]["max"]),
            guidance["refusals"]
        ));
    }
    let versus = &report["versus"];
    if versus.is_object() {
        say(String::new());
        say(format!(
            "{} {} takes, times this one's, {} turns of fresh processes:",
            word(&versus["configuration"]["path"]),
            versus["configuration"]["set"],
            versus["rounds"]
        ));
        for (of, ratio) in versus["ratio"].as_object().into_iter().flatten() {
            let floor = &report["aa"]["ratio"][word(&versus["of"])][of];
            say(format!(
                "  {:<6} {} [{}, {}]   the same again: {} to {}",
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
