//! Exports a report in the Trace Event Format of Perfetto and `chrome://tracing`: chunks on one
//! track, their stages on another.
//!
//! Viewers draw overlapping slices of a track as nested. Slices that overlap without nesting
//! therefore go to another track of the same name.

use serde_json::{Value, json};

/// The one process of the trace.
const PROCESS: u64 = 1;

/// Largest plausible time, ms: about thirty years.
const LARGEST_MS: f64 = 1e12;

/// Start and duration are rounded separately, so neighbours may overlap by this much, ns; the
/// earlier one is then shortened.
const ROUNDING_NS: i64 = 1000;

/// A time interval of a track.
struct Slice {
    name: String,
    from_ns: i64,
    to_ns: i64,
    args: Value,
}

/// The report as a trace, in microseconds since the first measured chunk. Chunks without times are
/// skipped.
pub(crate) fn trace(report: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut chunks = Vec::new();
    let mut stages = Vec::new();
    let mut late = Vec::new();
    for (index, chunk) in report["chunks"].as_array().into_iter().flatten().enumerate() {
        let (Some(from_ns), Some(latency_ns)) = (ns(&chunk["start_ms"]), ns(&chunk["latency_ms"])) else { continue };
        let mut to_ns = from_ns + latency_ns.max(0);
        for stage in chunk["stages"].as_array().into_iter().flatten() {
            let (Some(start_ns), Some(took_ns)) = (ns(&stage["start_ms"]), ns(&stage["ms"])) else { continue };
            let from_ns = from_ns + start_ns.max(0);
            let slice = Slice { name: text(&stage["stage"]), from_ns, to_ns: from_ns + took_ns.max(0), args: json!({"chunk": index}) };
            // The latency may be shorter than the stages together: the chunk's slice
            // covers them all.
            to_ns = to_ns.max(slice.to_ns);
            stages.push(slice);
        }
        let args = json!({"chunk": index, "latency_ms": chunk["latency_ms"], "late_ms": chunk["late_ms"], "verdict": chunk["verdict"]});
        chunks.push(Slice { name: format!("chunk {index}"), from_ns, to_ns, args });
        if let Some(ms) = chunk["late_ms"].as_f64() {
            late.push((to_ns, ms));
        }
    }
    let mut events = Vec::new();
    let process = format!("{} {}", text(&report["tool"]), text(&report["configuration"]["path"]));
    events.push(json!({"ph": "M", "name": "process_name", "pid": PROCESS, "tid": 0, "args": {"name": process}}));
    let mut track = 0;
    for (name, slices) in [("chunks", chunks), ("stages", stages)] {
        for lane in lanes(slices) {
            track += 1;
            events.push(json!({"ph": "M", "name": "thread_name", "pid": PROCESS, "tid": track, "args": {"name": name}}));
            events.push(json!({"ph": "M", "name": "thread_sort_index", "pid": PROCESS, "tid": track, "args": {"sort_index": track}}));
            events.extend(lane.into_iter().map(|slice| {
                json!({
                    "ph": "X", "name": slice.name, "cat": name, "pid": PROCESS, "tid": track,
                    "ts": us(slice.from_ns), "dur": us(slice.to_ns - slice.from_ns), "args": slice.args,
                })
            }));
        }
    }
    late.sort_by_key(|(at_ns, _)| *at_ns);
    events.extend(
        late.into_iter()
            .map(|(at_ns, ms)| json!({"ph": "C", "name": "late_ms", "pid": PROCESS, "tid": 0, "ts": us(at_ns), "args": {"late_ms": ms}})),
    );
    json!({
        "displayTimeUnit": "ms",
        "traceEvents": events,
        "otherData": {
            "tool": report["tool"], "version": report["version"], "command": report["command"], "began": report["began"],
            "configuration": report["configuration"],
        },
    })
}

/// Milliseconds as whole nanoseconds.
fn ns(ms: &Value) -> Option<i64> {
    ms.as_f64().filter(|ms| ms.abs() <= LARGEST_MS).map(|ms| (ms * 1e6).round() as i64)
}

fn us(ns: i64) -> f64 {
    ns as f64 / 1000.0
}

/// Distributes slices over tracks, in order of time, so that on each track any two are disjoint or
/// nested.
fn lanes(mut slices: Vec<Slice>) -> Vec<Vec<Slice>> {
    slices.sort_by_key(|slice| (slice.from_ns, std::cmp::Reverse(slice.to_ns)));
    // For each track its slices, and the indices of those that are still open.
    let mut lanes: Vec<(Vec<Slice>, Vec<usize>)> = Vec::new();
    for slice in slices {
        let free = lanes.iter().position(|(lane, open)| fits(lane, open, &slice));
        let at = free.unwrap_or_else(|| {
            lanes.push((Vec::new(), Vec::new()));
            lanes.len() - 1
        });
        let (lane, open) = &mut lanes[at];
        while let Some(&last) = open.last() {
            if lane[last].to_ns >= slice.to_ns && lane[last].to_ns - slice.from_ns > 0 {
                break;
            }
            lane[last].to_ns = lane[last].to_ns.min(slice.from_ns);
            open.pop();
        }
        open.push(lane.len());
        lane.push(slice);
    }
    lanes.into_iter().map(|(lane, _)| lane).collect()
}

/// Whether each open slice of a track ends before `slice` begins, except for rounding, or contains
/// it.
fn fits(lane: &[Slice], open: &[usize], slice: &Slice) -> bool {
    let over = |last: &Slice| last.to_ns - slice.from_ns <= ROUNDING_NS && last.from_ns < slice.from_ns || last.to_ns <= slice.from_ns;
    open.iter().rev().map(|&i| &lane[i]).all(|last| over(last) || last.to_ns >= slice.to_ns)
}

#[cfg(test)]
mod tests {
    use super::trace;
    use serde_json::{Value, json};

    fn report() -> Value {
        json!({"tool": "profile_latency", "configuration": {"path": "configs/tiny.yaml"}, "chunks": [
            {"start_ms": 0.0, "latency_ms": 50.0000004, "late_ms": null, "verdict": "accepted", "stages": [
                {"stage": "encode", "start_ms": 0.1, "ms": 20.0}, {"stage": "video", "start_ms": 20.1, "ms": 30.0}]},
                        // Begins within the rounding error of the previous chunk, and is late.
            {"start_ms": 50.1, "latency_ms": 60.0, "late_ms": 10.0, "verdict": "held", "stages": [
                {"stage": "encode", "start_ms": 0.0, "ms": 30.0}, {"stage": "context", "start_ms": 10.0, "ms": 5.0}]},
                        // Overlaps the previous chunk.
            {"start_ms": 100.0, "latency_ms": 40.0, "stages": [{"stage": "encode", "start_ms": 0.5, "ms": 20.0}]},
            {"start_ms": null, "latency_ms": 40.0},
        ]})
    }

    fn of_kind<'a>(trace: &'a Value, kind: &str) -> Vec<&'a Value> {
        trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == kind).collect()
    }

    /// Breaks if times are not in microseconds, stages do not count from their chunk's start,
    /// or a track has no name.
    #[test]
    fn times_are_microseconds_and_tracks_have_names() {
        let trace = trace(&report());
        let slices = of_kind(&trace, "X");
        let named =
            |name: &str| slices.iter().filter(|e| e["name"] == name).map(|e| (e["ts"].as_f64(), e["dur"].as_f64())).collect::<Vec<_>>();
        assert_eq!(named("chunk 1"), [(Some(50_100.0), Some(60_000.0))]);
        assert_eq!(named("context"), [(Some(60_100.0), Some(5000.0))]);
        // The chunk covers its last stage.
        assert_eq!(named("chunk 0"), [(Some(0.0), Some(50_100.0))]);
        let names: Vec<(u64, &str)> = of_kind(&trace, "M")
            .iter()
            .filter(|e| e["name"] == "thread_name")
            .map(|e| (e["tid"].as_u64().unwrap(), e["args"]["name"].as_str().unwrap()))
            .collect();
        assert_eq!(names, [(1, "chunks"), (2, "chunks"), (3, "stages")]);
        assert_eq!(of_kind(&trace, "M")[0]["args"]["name"], "profile_latency configs/tiny.yaml");
        assert!(slices.iter().all(|e| names.iter().any(|(track, _)| e["tid"] == *track)));
        let counters: Vec<(f64, f64)> =
            of_kind(&trace, "C").iter().map(|e| (e["ts"].as_f64().unwrap(), e["args"]["late_ms"].as_f64().unwrap())).collect();
        assert_eq!(counters, [(110_100.0, 10.0)]);
    }

    /// Breaks if two slices of a track overlap without nesting, which viewers draw wrongly or
    /// drop, or if events are out of order.
    #[test]
    fn slices_of_a_track_nest_and_are_in_order() {
        let mut chunks = report()["chunks"].as_array().unwrap().clone();
        // A long row of neighbours that meet within the rounding error.
        chunks.extend((0..500).map(|i| {
            let start = 1000.0 + 57.123_456_7 * f64::from(i);
            json!({"start_ms": start, "latency_ms": 57.123_456_9, "stages": [
                {"stage": "video", "start_ms": 0.0, "ms": 30.000_000_4}, {"stage": "action", "start_ms": 30.0, "ms": 27.123_456_9}]})
        }));
        let trace = trace(&json!({"chunks": chunks}));
        let slices = of_kind(&trace, "X");
        assert_eq!(slices.len(), 3 + 5 + 1500);
        let ns = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() as i64;
        for track in 1..=3 {
            let mut open: Vec<i64> = Vec::new();
            let mut before = i64::MIN;
            for slice in slices.iter().filter(|e| e["tid"] == track) {
                let (from, to) = (ns(&slice["ts"]), ns(&slice["ts"]) + ns(&slice["dur"]));
                assert!(from >= before && to >= from, "track {track}: {slice}");
                before = from;
                open.retain(|end| *end > from);
                assert!(open.iter().all(|end| *end >= to), "track {track}: {slice} ends after the slice that contains it");
                open.push(to);
            }
        }
        assert!(slices.iter().all(|e| e["tid"].as_u64() <= Some(3)), "rounding alone needs no further track");
    }

    /// Breaks if an empty or absurd report causes a panic or a trace that no viewer opens.
    #[test]
    fn an_absurd_report_is_an_empty_trace() {
        for report in
            [json!(null), json!([]), json!({"chunks": "none"}), json!({"chunks": [{"start_ms": 1e300, "latency_ms": 1.0}, null, 7]})]
        {
            let trace = trace(&report);
            assert!(of_kind(&trace, "X").is_empty() && of_kind(&trace, "M").len() == 1, "{trace}");
        }
    }
}
