//! The same thing again, and two things beside one another: fresh processes that take turns.

use crate::args::Args;
use crate::figures::{mean_ratio, median};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// The figures that are compared, as paths into `latency_ms`.
const FIGURES: [&str; 5] = ["p50", "p90", "p99", "p99_9", "max"];

/// Reports of fresh processes: of `args`, and of what it is compared with, in turns (ABBA, so that a drift of the machine meets both).
///
/// # Errors
/// Of a process that fails; an interruption, with nothing to show for it.
pub(crate) fn runs(
    args: &Args,
    other: Option<&Args>,
    rounds: u32,
    stop: &AtomicBool,
    mut told: impl FnMut(String),
) -> Result<[Vec<Value>; 2]> {
    let mut reports = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let mut turn = vec![(0, args)];
        turn.extend(other.map(|other| (1, other)));
        if round % 2 == 1 {
            turn.reverse();
        }
        for (who, args) in turn {
            told(format!("{} {} of {rounds}", if who == 0 { "run" } else { "other's run" }, round + 1));
            reports[who].push(run(args)?);
            if stop.load(Ordering::Relaxed) {
                bail!("interrupted: a comparison that is not whole is none");
            }
        }
    }
    Ok(reports)
}

/// One measurement in a process of its own.
fn run(args: &Args) -> Result<Value> {
    let program = std::env::current_exe().context("this program cannot be found to be started again")?;
    let done = Command::new(program).args(args.words()).stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    if !done.status.success() {
        bail!("a process of its own failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    serde_json::from_slice(&done.stdout).context("a process of its own put out something else than a report")
}

/// `latency_ms.NAME.FIGURE` of a report.
fn figure(report: &Value, name: &str, figure: &str) -> Option<f64> {
    report["latency_ms"][name][figure].as_f64()
}

/// What is measured of whole chunks: from when they should have begun, under a period.
pub(crate) fn whole(report: &Value) -> &'static str {
    if report["latency_ms"]["response"].is_object() { "response" } else { "chunk" }
}

/// The run whose median is in the middle.
pub(crate) fn middle(reports: &[Value]) -> Option<&Value> {
    let mut order: Vec<&Value> = reports.iter().collect();
    order.sort_by(|a, b| f64::total_cmp(&figure(a, whole(a), "p50").unwrap_or(f64::MAX), &figure(b, whole(b), "p50").unwrap_or(f64::MAX)));
    order.get(order.len().saturating_sub(1) / 2).copied()
}

/// Of runs of one configuration: how far each figure lies from the median run, the least and the most. The noise floor.
pub(crate) fn noise(reports: &[Value]) -> Value {
    let names: Vec<String> = reports.first().and_then(|r| r["latency_ms"].as_object()).into_iter().flat_map(Map::keys).cloned().collect();
    let mut all = Map::new();
    for name in names.iter().filter(|name| *name != "passes") {
        let mut entry = Map::new();
        for of in FIGURES {
            let values: Vec<f64> = reports.iter().filter_map(|r| figure(r, name, of)).collect();
            let middle = median(&mut values.clone());
            if values.len() == reports.len() && middle > 0.0 {
                let (low, high) = values.iter().fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v / middle), high.max(v / middle)));
                entry.insert(of.to_owned(), json!({"low": low, "high": high}));
            }
        }
        all.insert(name.clone(), Value::Object(entry));
    }
    // Of whole chunks once more, by the figure's name alone.
    if let Some(Value::Object(figures)) = reports.first().map(whole).and_then(|name| all.get(name)).cloned() {
        all.extend(figures);
    }
    json!({"runs": reports.len(), "ratio": all})
}

/// How many times as long what is compared with (`others`) takes, round by round.
pub(crate) fn versus(reports: &[Value], others: &[Value]) -> Value {
    let name = reports.first().map_or("chunk", whole);
    let ratio: Map<String, Value> = FIGURES
        .iter()
        .map(|of| {
            let ratios: Vec<f64> =
                reports.iter().zip(others).filter_map(|(a, b)| Some(figure(b, name, of)? / figure(a, name, of)?)).collect();
            ((*of).to_owned(), mean_ratio(&ratios))
        })
        .collect();
    let shown =
        |report: &Value| json!({"latency_ms": report["latency_ms"], "guidance": report["guidance"], "deadline": report["deadline"]});
    json!({
        "of": name, "rounds": reports.len(), "configuration": others.first().map(|o| &o["configuration"]), "engine": others.first().map(|o| &o["engine"]),
        "ratio": ratio, "runs": others.iter().map(shown).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(p50: f64) -> Value {
        json!({"latency_ms": {"chunk": {"p50": p50, "p99": 2.0 * p50}, "passes": []}})
    }

    /// Breaks when the floor is taken from the first run in place of the median one, or a figure that is not there is made up.
    #[test]
    fn the_noise_floor_is_around_the_median_run() {
        let noise = noise(&[report(9.0), report(10.0), report(12.0)]);
        let p50 = &noise["ratio"]["chunk"]["p50"];
        assert!((p50["low"].as_f64().unwrap() - 0.9).abs() < 1e-12 && (p50["high"].as_f64().unwrap() - 1.2).abs() < 1e-12);
        assert!(noise["ratio"]["chunk"]["max"].is_null());
    }

    /// Breaks when rounds are not paired, or the ratio is upside down.
    #[test]
    fn a_comparison_pairs_the_rounds() {
        let versus = versus(&[report(1.0), report(10.0)], &[report(2.0), report(20.0)]);
        let p50 = &versus["ratio"]["p50"];
        for of in ["mean", "low", "high"] {
            assert!((p50[of].as_f64().unwrap() - 2.0).abs() < 1e-12, "{versus}");
        }
    }
}
