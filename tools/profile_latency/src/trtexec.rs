//! Exports in the format of trtexec's `--exportTimes` and `--exportProfile`, for tools that read
//! them.
//!
//! An entry is a chunk in place of an inference. `h2d` is the transfer and preprocessing of the
//! newest image, `d2h` the decoding of the trajectory and the guard, `compute` everything between.
//! The three add up to the chunk's latency, as in trtexec. Names and order: TensorRT's
//! `samples/common/sampleReporting.cpp`, `exportJSONTrace` and `Profiler::exportJSONProfile`.

use crate::figures::median;
use serde_json::Value;
use std::fmt::Write as _;

/// A chunk or one run of a stage: name, number of the transformer pass, start and duration in ms.
struct Timed<'a> {
    stage: &'a str,
    pass: Option<u64>,
    from: f64,
    ms: f64,
}

/// The chunks of a report, each with the runs of its stages.
fn chunks(report: &Value) -> impl Iterator<Item = (Timed<'_>, Vec<Timed<'_>>)> {
    let timed =
        |value: &'_ Value, ms: &str| -> (f64, f64) { (value["start_ms"].as_f64().unwrap_or(0.0), value[ms].as_f64().unwrap_or(0.0)) };
    report["chunks"].as_array().into_iter().flatten().map(move |chunk| {
        let (from, ms) = timed(chunk, "latency_ms");
        let runs = chunk["stages"].as_array().into_iter().flatten().map(|run| {
            let (after, ms) = timed(run, "ms");
            Timed { stage: run["stage"].as_str().unwrap_or("?"), pass: run["pass"].as_u64(), from: from + after, ms }
        });
        (Timed { stage: "chunk", pass: None, from, ms }, runs.collect())
    })
}

/// `--exportTimes`.
pub(crate) fn times(report: &Value) -> String {
    let mut text = "[\n".to_owned();
    for (index, (chunk, runs)) in chunks(report).enumerate() {
        let (from, to) = (chunk.from, chunk.from + chunk.ms);
        let arrived = runs.iter().rfind(|r| r.stage == "ingest").map_or(from, |r| (r.from + r.ms).clamp(from, to));
        let computed = runs.iter().find(|r| r.stage == "decode").map_or(to, |r| r.from.clamp(arrived, to));
        let fields = [
            ("startEnqMs", from),
            ("endEnqMs", computed),
            ("startH2dMs", from),
            ("endH2dMs", arrived),
            ("startComputeMs", arrived),
            ("endComputeMs", computed),
            ("startD2hMs", computed),
            ("endD2hMs", to),
            ("h2dMs", arrived - from),
            ("computeMs", computed - arrived),
            ("d2hMs", to - computed),
            ("latencyMs", to - from),
        ];
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}{{ {} }}", if index == 0 { "  " } else { ", " }, fields.join(", "));
    }
    text + "]\n"
}

/// `--exportProfile`: stages and single transformer passes, in the order of a chunk.
pub(crate) fn profile(report: &Value) -> String {
    let (mut layers, mut count) = (Vec::<(String, Vec<f64>)>::new(), 0);
    for (_, runs) in chunks(report) {
        count += 1;
        let mut sums: Vec<(String, f64)> = Vec::new();
        for run in runs {
            let name = run.pass.map_or_else(|| run.stage.to_owned(), |pass| format!("pass {pass}: {}", run.stage));
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += run.ms,
                None => sums.push((name, run.ms)),
            }
        }
        for (name, ms) in sums {
            match layers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, times)) => times.push(ms),
                None => layers.push((name, vec![ms])),
            }
        }
    }
    let all: f64 = layers.iter().flat_map(|(_, times)| times).sum();
    let mut text = format!("[\n  {{ \"count\" : {count} }}\n");
    for (name, mut times) in layers {
        let sum: f64 = times.iter().sum();
        let (average, middle, share) = (sum / times.len() as f64, median(&mut times), sum / all * 100.0);
        let name = Value::String(name);
        let _ = writeln!(
            text,
            ", {{ \"name\" : {name}, \"timeMs\" : {sum}, \"averageMs\" : {average}, \"medianMs\" : {middle}, \"percentage\" : {share} }}"
        );
    }
    text + "]\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(starts: &[f64]) -> Value {
        let runs = [
            ("ingest", None, 0.0, 1.0),
            ("observe", Some(1), 1.0, 4.0),
            ("video", Some(2), 5.0, 2.0),
            ("solver", None, 7.0, 0.5),
            ("video", Some(3), 7.5, 2.0),
            ("solver", None, 9.5, 0.5),
            ("decode", None, 10.0, 0.1),
        ];
        let chunk = |from: f64| {
            let stage =
                |(stage, pass, at, ms): &(&str, Option<u64>, f64, f64)| json!({"stage": stage, "pass": pass, "start_ms": at, "ms": ms});
            let stages: Vec<Value> = runs.iter().map(stage).collect();
            json!({"start_ms": from, "latency_ms": 10.2, "stages": stages})
        };
        json!({"chunks": starts.iter().map(|&s| chunk(s)).collect::<Vec<_>>()})
    }

    /// Breaks when a field is missing or misspelled, the parts do not add up to the latency, or
    /// time before the chunk counts as part of it.
    #[test]
    fn times_have_the_fields_of_trtexec_and_add_up() {
        let text = times(&report(&[5.0, 30.0]));
        let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(entries.len(), 2);
        let wanted =
            "startEnqMs endEnqMs startH2dMs endH2dMs startComputeMs endComputeMs startD2hMs endD2hMs h2dMs computeMs d2hMs latencyMs";
        for entry in &entries {
            let mut names: Vec<&str> = wanted.split(' ').collect();
            names.sort_unstable();
            assert_eq!(entry.as_object().unwrap().keys().collect::<Vec<_>>(), names);
            let ms = |name: &str| entry[name].as_f64().unwrap();
            assert!((ms("h2dMs") + ms("computeMs") + ms("d2hMs") - ms("latencyMs")).abs() < 1e-9);
            assert!((ms("h2dMs") - 1.0).abs() < 1e-9 && (ms("d2hMs") - 0.2).abs() < 1e-9, "{entry}");
        }
    }

    /// Breaks when the passes of a stage are merged, the runs of another stage are not, or the
    /// shares do not add up to 100 %.
    #[test]
    fn the_profile_lists_stages_and_single_passes() {
        let text = profile(&report(&[0.0, 20.0]));
        let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(entries[0]["count"], 2);
        let names: Vec<&str> = entries[1..].iter().map(|e| e["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["ingest", "pass 1: observe", "pass 2: video", "solver", "pass 3: video", "decode"]);
        let of = |name: &str| entries[1..].iter().find(|e| e["name"] == name).unwrap();
        assert!(
            (of("solver")["averageMs"].as_f64().unwrap() - 1.0).abs() < 1e-9
                && (of("solver")["timeMs"].as_f64().unwrap() - 2.0).abs() < 1e-9
        );
        let shares: f64 = entries[1..].iter().map(|e| e["percentage"].as_f64().unwrap()).sum();
        assert!((shares - 100.0).abs() < 1e-9);
    }
}
