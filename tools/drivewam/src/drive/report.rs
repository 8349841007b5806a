//! The summary of a drive: one JSON object, and the same as human-readable tables.

use super::row::{Errors, Row, SCHEMA, degraded, errors_json};
use super::run::Lost;
use super::source::Driver;
use crate::horizons::HORIZONS_S;
use anyhow::Result;
use drivewam::guard::Verdict;
use drivewam::guidance::status::GuidanceStatus;
use drivewam::outcome::Restart;
use drivewam::stages::Stage;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::trajectory::Displacement;
use drivewam_world::Violations;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Inputs of the summary.
pub(super) struct Facts<'a> {
    pub(super) interrupted: bool,
    /// The fault that ended the drive.
    pub(super) error: Option<String>,
    pub(super) driver: Driver,
    /// Chunks of the drive that this one takes the place of.
    pub(super) replaced_chunks: Option<u64>,
    pub(super) input: Value,
    pub(super) configuration: Value,
    pub(super) engine: Value,
    pub(super) frames: u64,
    pub(super) driven_m: f64,
    pub(super) wall_s: f64,
    pub(super) realtime: bool,
    pub(super) rows: &'a [Row],
    pub(super) arena: &'a ArenaPlan,
    pub(super) violations: Option<Violations>,
    /// Where the car was lost, and the drive ended.
    pub(super) lost: Option<Lost>,
    /// Errors of the policy with each control, by name.
    pub(super) controls: Option<Map<String, Value>>,
    /// Windows that --phases evaluates of a recording.
    pub(super) windows_by_phases: Option<usize>,
}

/// The smallest of the sorted values that at least `share` of them do not exceed (nearest rank).
pub(super) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// The distribution of `values`, without the percentiles that so few values do not support: no
/// value lies beyond them, so they would be the maximum under another name.
fn distribution(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let supports = |share: f64| values.len() as f64 * (1.0 - share) > 1.0 - 1e-9;
    let at = |share| percentile(&values, share).filter(|_| supports(share));
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": values.last(), "count": values.len()})
}

/// The object of `summary.json` (docs/output.md).
///
/// # Errors
/// A trajectory is shorter than a horizon of the errors.
pub(super) fn summary(facts: &Facts<'_>) -> Result<Value> {
    let rows = facts.rows;
    let mut latency = Map::new();
    for stage in Stage::ALL {
        let ran = rows.iter().map(|r| &r.outcome.stages).filter(|s| s.ns(stage) > 0);
        latency.insert(stage.as_str().to_owned(), distribution(ran.map(|s| s.ns(stage) as f64 * 1e-6).collect()));
    }
    latency.insert("total".to_owned(), distribution(rows.iter().map(|r| r.outcome.stages.total_ns() as f64 * 1e-6).collect()));
    let count = |verdict: Verdict| rows.iter().filter(|r| r.outcome.verdict == verdict).count();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut degradations: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows {
        if let Some(cause) = row.outcome.cause {
            *reasons.entry(cause.as_str()).or_default() += 1;
        }
        for name in degraded(&row.outcome).as_object().into_iter().flat_map(Map::keys) {
            *degradations.entry(name.clone()).or_default() += 1;
        }
    }
    let owners: Map<String, Value> = facts.arena.owners().into_iter().map(|(owner, bytes)| (owner.to_owned(), json!(bytes))).collect();
    let mut measured = errors(rows)?;
    measured["windows_by_phases"] = facts.windows_by_phases.into();
    if let Some(controls) = &facts.controls {
        measured["controls"] = controls.clone().into();
    }
    Ok(json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "partial": facts.interrupted || facts.error.is_some(),
        "interrupted": facts.interrupted,
        "error": facts.error,
        "driver": facts.driver.as_str(),
        "replaced_chunks": facts.replaced_chunks,
        "realtime": facts.realtime,
        "input": facts.input,
        "configuration": facts.configuration,
        "engine": facts.engine,
        "frames": facts.frames,
        "driven_m": facts.driven_m,
        "wall_s": facts.wall_s,
        "chunks": rows.len(),
        "rollouts": rows.last().map_or(0, |r| r.outcome.rollout + 1),
        "passes_per_chunk": rows.last().map(|r| r.outcome.stages.passes()),
        "verdicts": {
            "accepted": count(Verdict::Accepted),
            "held": count(Verdict::Held),
            "minimal_risk": count(Verdict::MinimalRisk),
        },
        "reasons": reasons,
        "restarts": rows.iter().filter(|r| r.outcome.restarted.is_some_and(|why| why != Restart::Asked)).count(),
        "degraded_chunks": degradations,
        "stopped": stopped(rows),
        "guidance": guidance(rows),
        "latency_ms": latency,
        "memory_bytes": {"arena": facts.arena.bytes(), "capacity": facts.arena.capacity_bytes(), "by_owner": owners},
        "errors_m": measured,
        "closed_loop": facts.violations.map(|v| json!({"collisions": v.collisions, "off_road": v.off_road, "red_lights": v.red_lights,
            "lost": facts.lost.map(|lost| json!({"stamp_ns": lost.stamp_ns, "off_road_m": lost.off_road_m}))})),
    }))
}

/// Since when and why minimal risk stops the car at the end of the drive, or null.
fn stopped(rows: &[Row]) -> Value {
    let last = rows.iter().rev().take_while(|row| row.outcome.verdict == Verdict::MinimalRisk).last();
    last.map_or(Value::Null, |first| {
        let outcome = &first.outcome;
        json!({"since_ns": outcome.anchor_ns, "reason": outcome.cause.map(|cause| cause.to_string())})
    })
}

/// Statistics of the guidance: chunks by source, age and generation time of the texts of the VLM,
/// and rejected texts.
fn guidance(rows: &[Row]) -> Value {
    let (mut sources, mut rejected) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    for status in rows.iter().map(|row| &row.outcome.guidance) {
        *sources.entry(status.source.as_str()).or_default() += 1;
        if let Some(refusal) = status.rejected {
            *rejected.entry(refusal.as_str()).or_default() += 1;
        }
    }
    let (age, generate) = (|status: &GuidanceStatus| status.age_ms, |status: &GuidanceStatus| status.generate_ms);
    let ms = |of: fn(&GuidanceStatus) -> Option<f64>| distribution(rows.iter().filter_map(|row| of(&row.outcome.guidance)).collect());
    json!({
        "sources": sources,
        "age_ms": ms(age),
        "generate_ms": ms(generate),
        "rejects": rows.last().map_or(0, |row| row.outcome.guidance.reject_count),
        "chunks_by_reject_reason": rejected,
    })
}

/// Mean errors over the chunks for which the path driven afterwards is known to the last horizon.
///
/// # Errors
/// A trajectory is shorter than a horizon.
pub(super) fn errors(rows: &[Row]) -> Result<Value> {
    let mut sums: [Errors; 2] = [[Displacement { mean_m: 0.0, last_m: 0.0 }; HORIZONS_S.len()]; 2];
    let mut windows = 0usize;
    for row in rows {
        if let Some((policy, constant)) = row.errors()? {
            windows += 1;
            for (sum, errors) in sums.iter_mut().zip([policy, constant]) {
                for (sum, error) in sum.iter_mut().zip(errors) {
                    sum.mean_m += error.mean_m;
                    sum.last_m += error.last_m;
                }
            }
        }
    }
    if windows == 0 {
        return Ok(json!({"windows": 0}));
    }
    let mean =
        |sum: Errors| errors_json(&sum.map(|e| Displacement { mean_m: e.mean_m / windows as f64, last_m: e.last_m / windows as f64 }));
    let [policy, constant] = sums;
    Ok(json!({"windows": windows, "policy": mean(policy), "constant_velocity_and_yaw_rate": mean(constant)}))
}

/// The summary as human-readable tables.
pub(super) fn table(summary: &Value) -> String {
    let mut t = String::new();
    let number = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    let integer = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |v| v.to_string());
    let mut push = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(t, "{line}");
    };
    push(format!("{:<10} {:>9} {:>9} {:>9} {:>9} {:>6}", "stage, ms", "p50", "p90", "p99", "max", "count"));
    for name in Stage::ALL.iter().map(|s| s.as_str()).chain(["total"]) {
        let row = &summary["latency_ms"][name];
        let figures = ["p50", "p90", "p99", "max"].map(|k| number(&row[k]));
        let [p50, p90, p99, max] = figures;
        push(format!("{name:<10} {p50:>9} {p90:>9} {p99:>9} {max:>9} {:>6}", integer(&row["count"])));
    }
    push(String::new());
    let memory = &summary["memory_bytes"];
    push(format!("{:<10} {:>12}", "memory", "bytes"));
    for (owner, bytes) in memory["by_owner"].as_object().into_iter().flatten() {
        push(format!("{owner:<10} {:>12}", integer(bytes)));
    }
    push(format!("{:<10} {:>12}  of {}", "arena", integer(&memory["arena"]), integer(&memory["capacity"])));
    push(String::new());
    let errors = &summary["errors_m"];
    let windows = errors["windows"].as_u64().unwrap_or(0);
    if windows > 0 {
        push(format!("{:<32} {:>8} {:>8} {:>8} {:>8}   n", "error, m", "ADE@3s", "FDE@3s", "ADE@4s", "FDE@4s"));
        let controls = errors["controls"].as_object();
        let ours = [("policy".to_owned(), &errors["policy"])].into_iter();
        let ours = ours.chain(controls.into_iter().flatten().map(|(name, error)| (format!("policy, {name} pictures"), error)));
        let constant = ("constant velocity and yaw rate".to_owned(), &errors["constant_velocity_and_yaw_rate"]);
        for (name, error) in ours.chain([constant]) {
            let [a, b, c, d] = ["ade_3s", "fde_3s", "ade_4s", "fde_4s"].map(|k| number(&error[k]));
            push(format!("{name:<32} {a:>8} {b:>8} {c:>8} {d:>8}   {windows}"));
        }
        let all = errors["windows_by_phases"].as_u64().unwrap_or(0);
        if all > windows {
            push(format!("n counts windows: a plan every 4 s has {windows}; --phases evaluates all {all} of this recording"));
        }
    } else {
        push("error      not measured: no plan is followed by 4 s that someone else drove".to_owned());
    }
    push(String::new());
    if let Some(driver) = summary["driver"].as_str() {
        push(format!("driver     {driver}"));
    }
    if let Some(error) = summary["error"].as_str() {
        push(format!("PARTIAL    the drive ended at a fault: {error}"));
    }
    let verdicts = &summary["verdicts"];
    let [accepted, held, risk] = ["accepted", "held", "minimal_risk"].map(|k| integer(&verdicts[k]));
    push(format!(
        "chunks     {}: {accepted} accepted, {held} held, {risk} minimal risk; {} restarts",
        integer(&summary["chunks"]),
        integer(&summary["restarts"])
    ));
    for (reason, count) in summary["reasons"].as_object().into_iter().flatten() {
        push(format!("reason     {reason}: {count} chunks"));
    }
    for (name, count) in summary["degraded_chunks"].as_object().into_iter().flatten() {
        push(format!("degraded   {name}: {count} chunks"));
    }
    let stopped = &summary["stopped"];
    if let Some(since_ns) = stopped["since_ns"].as_i64() {
        let why = stopped["reason"].as_str().unwrap_or("no reason");
        push(format!("STOPPED    minimal risk from {:.1} s to the end: {why}", since_ns as f64 * 1e-9));
    }
    let guidance = &summary["guidance"];
    let sources = guidance["sources"].as_object();
    if sources.is_some_and(|sources| sources.keys().any(|source| source != "command")) || guidance["rejects"].as_u64().unwrap_or(0) > 0 {
        let counts: Vec<String> = sources.into_iter().flatten().map(|(source, count)| format!("{source} in {count} chunks")).collect();
        push(format!("guidance   {}; {} texts rejected", counts.join(", "), integer(&guidance["rejects"])));
        for (what, key) in [("age at t0", "age_ms"), ("generated in", "generate_ms")] {
            let ms = &guidance[key];
            if ms["count"].as_u64().unwrap_or(0) > 0 {
                push(format!("           {what}, ms: p50 {}, p99 {}, max {}", number(&ms["p50"]), number(&ms["p99"]), number(&ms["max"])));
            }
        }
        for (why, count) in guidance["chunks_by_reject_reason"].as_object().into_iter().flatten() {
            push(format!("           {why}: newest text of {count} chunks"));
        }
    }
    let violations = &summary["closed_loop"];
    if violations.is_object() {
        let [collisions, off_road, red] = ["collisions", "off_road", "red_lights"].map(|k| integer(&violations[k]));
        push(format!(
            "violations {collisions} collisions, {off_road} times off the road ({} s), {red} red lights in {} m",
            number(&violations["off_road_s"]),
            number(&summary["driven_m"])
        ));
        if violations["lost"].is_object() {
            push(format!("LOST       the car was {} m off its lane: the drive ended there", number(&violations["lost"]["off_road_m"])));
        }
    }
    t
}

#[cfg(test)]
mod tests {
    use super::{distribution, percentile};

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.9, 0.99, 1.0].map(|share| percentile(&values, share)), [Some(50.0), Some(90.0), Some(99.0), Some(100.0)]);
        assert_eq!(percentile(&[7.0], 0.5), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    /// Breaks when a percentile of too few values is printed.
    #[test]
    fn a_distribution_has_the_percentiles_that_its_values_support() {
        for (count, supported) in [(1, 0), (2, 1), (9, 1), (10, 2), (99, 2), (100, 3)] {
            let found = distribution((0..count).map(f64::from).collect());
            let known = ["p50", "p90", "p99"].map(|key| found[key].is_f64());
            assert_eq!(known, [supported > 0, supported > 1, supported > 2], "{count} values");
            assert_eq!(found["max"], f64::from(count - 1));
        }
    }
}
