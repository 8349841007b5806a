//! Sample reports: a full one, as of a ride on two CPU cores, and a hostile one.

use crate::figures::{PERCENTILES, supports};
use serde_json::{Map, Value, json};

/// Tries to end a text, a quoted attribute, a title and a style.
pub(super) const HOSTILE: &str = "</title></text></svg></style><script>hit()</script>\"'><img src=x onerror=hit()>\" onload=\"hit()\" <!-- ]]> javascript:hit() \u{202e}";

/// A deterministic random generator.
struct Rng(u64);

impl Rng {
    /// Uniform from 0 to 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Around 1, with a tail upwards.
    fn noise(&mut self) -> f64 {
        0.97 + 0.06 * self.uniform() - 0.06 * self.uniform().ln()
    }
}

/// The stages of one chunk and its end in ms.
fn spans(rng: &mut Rng, slow: f64) -> (Vec<Value>, f64) {
    let mut at = 0.05;
    let mut out = Vec::new();
    let mut run = |stage: &str, ms: f64, rng: &mut Rng| {
        let ms = ms * rng.noise() * if stage == "video" { slow } else { 1.0 };
        out.push(json!({"stage": stage, "start_ms": at, "ms": ms}));
        at += ms + 0.01;
    };
    for (stage, ms) in [("ingest", 0.6), ("encode", 6.2), ("observe", 4.4), ("select", 0.25), ("context", 0.7)] {
        run(stage, ms, rng);
    }
    for _ in 0..8 {
        run("video", 3.6, rng);
        run("solver", 0.05, rng);
    }
    for _ in 0..5 {
        run("action", 1.6, rng);
        run("solver", 0.02, rng);
    }
    run("decode", 0.08, rng);
    run("guard", 0.12, rng);
    (out, at)
}

fn distribution(mut ms: Vec<f64>) -> Value {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((share * ms.len() as f64).ceil() as usize).clamp(1, ms.len()) - 1];
    let mut value = json!({"count": ms.len(), "mean": ms.iter().sum::<f64>() / ms.len() as f64, "max": at(1.0)});
    let supported = PERCENTILES.iter().filter(|(_, share)| supports(ms.len() as u64, *share));
    supported.for_each(|(name, share)| value[name] = json!(at(*share)));
    value
}

/// The arena of the shipped tiny policy.
fn regions() -> (Vec<Value>, u64) {
    let mut regions = Vec::new();
    let mut end = 0u64;
    let mut add = |owner: &str, name: String, shape: Vec<u64>| {
        let bytes = 4 * shape.iter().product::<u64>();
        regions.push(json!({"name": name, "owner": owner, "offset": end, "bytes": bytes, "shape": shape, "dtype": "f32"}));
        end += bytes.next_multiple_of(512);
    };
    add("codec", "first_frame".into(), vec![1, 3, 64, 112]);
    add("codec", "frames".into(), vec![4, 3, 64, 112]);
    for name in ["latent", "cache.0.0", "cache.1.0"] {
        add("codec", name.into(), vec![1, 24, 8, 14]);
    }
    add("context", "text".into(), vec![17, 64]);
    for (name, rows) in [("text", 17), ("ego", 4)] {
        for layer in 0..6 {
            add("context", format!("{name}_k.{layer}"), vec![4, rows, 32]);
            add("context", format!("{name}_v.{layer}"), vec![4, rows, 32]);
        }
    }
    for (name, shape) in [("tokens", vec![36, 96]), ("is_action.video", vec![28]), ("flow_time", vec![2]), ("rope", vec![36, 16, 2])] {
        add("sampler", name.into(), shape);
    }
    add("memory", "mem_bias".into(), vec![172]);
    add("sampler", "text_bias".into(), vec![17]);
    for layer in 0..6 {
        add("memory", format!("mem_k.{layer}"), vec![4, 172, 32]);
        add("memory", format!("mem_v.{layer}"), vec![4, 172, 32]);
    }
    add("sampler", "velocity".into(), vec![36, 96]);
    for layer in 0..6 {
        for name in ["k", "v", "q"] {
            add("sampler", format!("{name}.{layer}"), vec![4, 36, 32]);
        }
    }
    (regions, end)
}

/// All that a report can hold, of `count` chunks, with two spikes, one late chunk and one that was
/// held.
pub(super) fn full(count: usize) -> Value {
    let mut rng = Rng(7);
    let mut chunks = Vec::new();
    let mut by_stage: Map<String, Value> = Map::new();
    // By their place in a chunk.
    let mut by_pass: Vec<(String, Vec<f64>)> = Vec::new();
    let mut start = 0.0;
    for i in 0..count {
        let slow = if i == count / 3 {
            2.4
        } else if i == count * 3 / 4 {
            1.8
        } else {
            1.0
        };
        let (stages, end) = spans(&mut rng, slow);
        for stage in &stages {
            let list = by_stage.entry(stage["stage"].as_str().unwrap()).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(stage["ms"].clone());
        }
        let names = [("observe", 1), ("video", 8), ("action", 5)].into_iter();
        let names = names.flat_map(|(stage, count)| (1..=count).map(move |nth| format!("{stage} {nth}")));
        let passes = stages.iter().filter(|s| ["observe", "video", "action"].contains(&s["stage"].as_str().unwrap()));
        for (place, (name, pass)) in names.zip(passes).enumerate() {
            if by_pass.len() == place {
                by_pass.push((name, Vec::new()));
            }
            by_pass[place].1.push(pass["ms"].as_f64().unwrap());
        }
        let (late, verdict) =
            (if i == count / 3 { json!(end - 80.0) } else { json!(null) }, if i == count / 2 { "held" } else { "accepted" });
        chunks.push(json!({"start_ms": start, "latency_ms": end, "late_ms": late, "verdict": verdict, "stages": stages}));
        start += end + 0.3;
    }
    let ms = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<f64>>();
    let mut latency: Map<String, Value> = by_stage.iter().map(|(name, list)| (name.clone(), distribution(ms(list)))).collect();
    let of_pass = by_pass.into_iter().map(|(name, ms)| {
        let mut pass = distribution(ms);
        pass["pass"] = json!(name);
        pass
    });
    latency.insert("passes".into(), of_pass.collect());
    let of_chunk: Vec<f64> = chunks.iter().filter_map(|c| c["latency_ms"].as_f64()).collect();
    latency.insert(
        "response".into(),
        distribution(of_chunk.iter().enumerate().map(|(i, ms)| ms * if i % 20 == 7 { 1.5 } else { 1.02 }).collect()),
    );
    latency.insert("chunk".into(), distribution(of_chunk));
    let (regions, arena) = regions();
    let about = |low: f64, high: f64| json!({"low": low, "high": high});
    json!({
        "schema": 3, "tool": "profile_latency", "version": "0.1.0", "command": ["profile_latency", "configs/tiny.yaml", "--out", "out/a ride"],
        "began": "2026-01-01T00:00:00Z", "interrupted": false,
        "machine": {"lines": ["host: board-7, Debian 12, Linux 6.1", "cpu: AMD EPYC, 2 cores, governor performance", "clock: CLOCK_MONOTONIC"],
            "changed": ["throttle counter rose by 3"]},
        "configuration": {"path": "configs/tiny.yaml", "sha256": "a1d0b68e7ca27e3e492f776dfe172bb8078da2d2d870eae0abcb42ae7213eab1"},
        "engine": {"name": "tiny", "manifest_sha256": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef", "precision": "f32",
            "graphs": {"dit": "rten 0.27, CPU, f32, 2 threads", "vae_encode": "rten 0.27, CPU, f32, 2 threads"}},
        "weights": "manifest",
        "window": {"pacing": "open_loop", "warmup_chunks": 8, "chunks": count, "seconds": start / 1000.0, "period_ms": 4000.0},
        "startup_ms": {"open": 41.2, "plan": 0.4, "warm": 210.7, "first_trajectory": 318.9},
        "latency_ms": latency,
        "deadline": {"ms": 80.0, "misses": 1, "uncovered_ms": {"count": 1, "total": 3.2, "max": 3.2}},
        "throughput_chunks_per_s": 17.2, "passes_per_chunk": 14,
        "memory_bytes": {"arena": arena, "capacity": 268_435_456, "by_owner": {"memory": 1_057_792}, "regions": regions,
            "resident": 84_000_000, "peak_resident": 91_000_000},
        "energy": {"source": "INA3221", "joules_per_chunk": {"p50": 1.2, "max": 1.9}, "tegrastats": "VDD_GPU_SOC 3207mW/3105mW",
            "rails": [{"name": "VDD_GPU_SOC", "is_in_total": true, "level": {"last_mw": 3207.0, "mean_mw": 3105.0, "max_mw": 4010.0, "samples": 90}}]},
        "guidance": {"sources": {"vlm": 190, "command": 10}, "rejects": 0, "age_ms": {"count": 190, "p50": 812.0, "max": 2304.0}},
        "aa": {"runs": 5, "ratio": {"p50": about(0.98, 1.03), "p99": about(0.91, 1.12)}},
        "versus": {"configuration": {"path": "configs/tiny-vlm.yaml", "sha256": "0b"}, "rounds": 5,
            "ratio": {"p50": {"mean": 1.06, "low": 1.04, "high": 1.08}, "p99": {"mean": 1.05, "low": 0.96, "high": 1.2}}},
        "chunks": chunks,
    })
}

/// A full report in which every string and every unknown key is [`HOSTILE`].
pub(super) fn hostile() -> Value {
    let mut report = full(40);
    let renamed = |mut map: Map<String, Value>| {
        let value = map.values().next().cloned().unwrap_or_default();
        map.insert(HOSTILE.to_owned(), value);
        Value::Object(map)
    };
    for path in [
        "/latency_ms",
        "/startup_ms",
        "/engine/graphs",
        "/memory_bytes/by_owner",
        "/energy/joules_per_chunk",
        "/guidance/sources",
        "/guidance/age_ms",
        "/versus/ratio",
    ] {
        let place = report.pointer_mut(path).unwrap();
        *place = renamed(place.as_object().unwrap().clone());
    }
    poison(&mut report);
    report
}

fn poison(value: &mut Value) {
    match value {
        Value::String(text) => *text = HOSTILE.to_owned(),
        Value::Array(values) => values.iter_mut().for_each(poison),
        Value::Object(fields) => fields.values_mut().for_each(poison),
        _ => {}
    }
}
