//! The report: one JSON object, the source of the tables, the page and the exports.

use crate::args::Args;
use crate::figures::Times;
use crate::machine;
use crate::measure::{Chunk, Measured, Run};
use anyhow::Result;
use drivewam::stages::Stage;
use drivewam_core::manifest::Manifest;
use humantime::format_rfc3339_seconds;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Version of the keys of the report (docs/profile.md).
const SCHEMA: u32 = 3;

/// The report of a measurement. `command` is this program's command line.
///
/// # Errors
/// A configuration that cannot be serialised.
pub(crate) fn report(args: &Args, measured: &Measured, command: &[String]) -> Result<Value> {
    let (chunks, config) = (&measured.chunks, &measured.config);
    let seconds = measured.window.as_secs_f64();
    let late = |c: &&Chunk| c.response_ns.unwrap_or(c.latency_ns) > u64::from(config.guard.deadline_ms) * 1_000_000;
    let uncovered_ms = || chunks.iter().map(|c| c.uncovered_ms).filter(|ms| *ms > 0.0);
    let mut uncovered = Times::of(uncovered_ms().map(|ms| (ms * 1e6) as u64))?.json();
    // Not `sum`, which is -0 of nothing.
    uncovered["total"] = json!(uncovered_ms().fold(0.0, |sum, ms| sum + ms));
    let lines = [machine::lines(&measured.after), machine::contention_lines(&measured.before, &measured.after, measured.window)].concat();
    let startup = &measured.startup;
    let ms = |ns: u64| ns as f64 * 1e-6;
    Ok(json!({
        "schema": SCHEMA,
        "tool": "profile_latency",
        "version": env!("CARGO_PKG_VERSION"),
        "command": command,
        "began": format_rfc3339_seconds(measured.began).to_string(),
        "interrupted": measured.interrupted,
        "machine": {
            "lines": lines,
            "changed": machine::changed(&measured.before, &measured.after),
            "contention": machine::contention_json(&measured.before, &measured.after, measured.window),
            "before": measured.before.json(),
            "after": measured.after.json(),
        },
        "configuration": {"path": args.config.display().to_string(), "set": args.set, "sha256": drivewam::config_sha256(config)?, "model": config.model.name},
        "engine": engine(measured),
        "weights": weights(&measured.manifest),
        "window": {
            "pacing": if args.period.is_some() { "open_loop" } else { "back_to_back" },
            "period_ms": args.period.map(|p| p.as_secs_f64() * 1e3),
            "warmup_chunks": measured.warmup_chunks,
            "chunks": chunks.len(),
            "seconds": seconds,
            "world_seed": args.seed,
        },
        "startup_ms": {
            "open": ms(startup.open_ns),
            "plan": ms(startup.plan_ns),
            "load": ms(startup.load_ns),
            "warm": ms(startup.warm_ns),
            "first_trajectory": ms(startup.first_trajectory_ns),
        },
        "latency_ms": latencies(chunks)?,
        "deadline": {
            "ms": config.guard.deadline_ms,
            "misses": chunks.iter().filter(late).count(),
            "verdicts": counts(chunks.iter().map(|c| c.verdict.as_str())),
            "uncovered_ms": uncovered,
        },
        "throughput_chunks_per_s": chunks.len() as f64 / seconds,
        "passes_per_chunk": chunks.last().map(|c| c.runs.iter().filter(|r| r.stage.is_pass()).count()),
        "memory_bytes": memory(measured),
        "energy": energy(measured),
        "guidance": guidance(chunks)?,
        "chunks": chunks.iter().map(chunk).collect::<Vec<_>>(),
    }))
}

/// Distributions of stages, single transformer passes and whole chunks. A stage's time is the sum
/// of its runs in a chunk.
fn latencies(chunks: &[Chunk]) -> Result<Value> {
    let mut all = Map::new();
    for stage in Stage::ALL {
        let of = |c: &Chunk| c.runs.iter().filter(|r| r.stage == stage).map(|r| r.ns).sum::<u64>();
        let ran = chunks.iter().filter(|c| c.runs.iter().any(|r| r.stage == stage));
        all.insert(stage.as_str().to_owned(), Times::of(ran.map(of))?.json());
    }
    all.insert("chunk".to_owned(), Times::of(chunks.iter().map(|c| c.latency_ns))?.json());
    if chunks.iter().any(|c| c.response_ns.is_some()) {
        all.insert("response".to_owned(), Times::of(chunks.iter().filter_map(|c| c.response_ns))?.json());
    }
    let answers = Times::of(chunks.iter().filter_map(|c| c.generate_ms).map(|ms| (ms * 1e6) as u64))?;
    all.insert("guidance".to_owned(), answers.json());
    let mut passes: BTreeMap<(usize, &str, usize), Vec<u64>> = BTreeMap::new();
    for chunk in chunks {
        let mut index = [0usize; Stage::ALL.len()];
        for (place, run) in chunk.runs.iter().filter(|r| r.stage.is_pass()).enumerate() {
            let nth = &mut index[run.stage as usize];
            *nth += 1;
            passes.entry((place, run.stage.as_str(), *nth)).or_default().push(run.ns);
        }
    }
    let passes: Vec<Value> = passes
        .into_iter()
        .map(|((_, stage, nth), ns)| {
            let mut entry = Times::of(ns)?.json();
            entry["pass"] = json!(format!("{stage} {nth}"));
            Ok(entry)
        })
        .collect::<Result<_>>()?;
    all.insert("passes".to_owned(), Value::Array(passes));
    Ok(Value::Object(all))
}

fn chunk(chunk: &Chunk) -> Value {
    let ms = |ns: u64| ns as f64 * 1e-6;
    let mut passes = 0;
    let stage = |run: &Run| {
        let mut value = json!({"stage": run.stage.as_str(), "start_ms": ms(run.from_ns) - ms(chunk.from_ns), "ms": ms(run.ns)});
        if run.stage.is_pass() {
            passes += 1;
            value["pass"] = json!(passes);
        }
        value
    };
    let stages: Vec<Value> = chunk.runs.iter().map(stage).collect();
    json!({
        "start_ms": ms(chunk.from_ns), "latency_ms": ms(chunk.latency_ns), "late_ms": chunk.response_ns.map(|r| ms(r.saturating_sub(chunk.latency_ns))),
        "verdict": chunk.verdict.as_str(), "guidance_source": chunk.source.as_str(), "joules": chunk.joules, "stages": stages,
    })
}

fn engine(measured: &Measured) -> Value {
    let precisions = counts(measured.manifest.graphs.values().map(|entry| entry.precision.to_string()));
    let graphs: Map<String, Value> = measured.engines.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    json!({
        "name": measured.manifest.name, "target": measured.manifest.target, "manifest_sha256": measured.manifest_sha256, "precision": precisions,
        "kind": measured.config.engine.kind, "threads": measured.config.engine.threads, "graphs": graphs,
    })
}

/// The exporter's specification of random weights (they cost the same as trained ones), or
/// "manifest".
fn weights(manifest: &Manifest) -> &str {
    manifest.training["weights"].as_str().filter(|spec| spec.starts_with("random")).unwrap_or("manifest")
}

fn memory(measured: &Measured) -> Value {
    let arena = &measured.arena;
    let regions: Vec<Value> = arena
        .rows()
        .iter()
        .map(|row| {
            json!({"name": row.name, "owner": row.owner, "offset": row.region.offset(), "bytes": row.region.bytes(), "shape": row.shape,
                "dtype": row.region.dtype().to_string()})
        })
        .collect();
    let owners: Map<String, Value> = arena.owners().into_iter().map(|(owner, bytes)| (owner.to_owned(), json!(bytes))).collect();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
    };
    json!({
        "arena": arena.bytes(), "capacity": arena.capacity_bytes(), "by_owner": owners, "regions": regions, "resident": of("VmRSS:"),
        "peak_resident": of("VmHWM:"),
    })
}

fn energy(measured: &Measured) -> Value {
    match &measured.power {
        Err(why) => json!({"not_measured": why}),
        Ok(power) => {
            let mut joules: Vec<f64> = measured.chunks.iter().filter_map(|c| c.joules).collect();
            let median = crate::figures::median(&mut joules);
            let mut value = power.json();
            value["tegrastats"] = json!(power.tegrastats());
            value["joules_per_chunk"] =
                json!({"p50": median, "max": joules.last(), "mean": joules.iter().sum::<f64>() / joules.len() as f64});
            value
        }
    }
}

fn guidance(chunks: &[Chunk]) -> Result<Value> {
    let ages = Times::of(chunks.iter().filter_map(|c| c.age_ms).map(|ms| (ms * 1e6) as u64))?;
    Ok(json!({
        "sources": counts(chunks.iter().map(|c| c.source.as_str())), "age_ms": ages.json(),
        "rejects": chunks.last().map_or(0, |last| last.reject_count) - chunks.first().map_or(0, |first| first.reject_count),
    }))
}

fn counts<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, u64> {
    keys.fold(BTreeMap::new(), |mut counts, key| {
        *counts.entry(key).or_default() += 1;
        counts
    })
}
