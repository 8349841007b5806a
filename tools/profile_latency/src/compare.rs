//! A/A and A/B comparisons: measurements in fresh processes that alternate.

use crate::args::Args;
use crate::figures::{mean_ratio, median};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The figures that are compared, as paths into `latency_ms`.
pub(crate) const FIGURES: [&str; 5] = ["p50", "p90", "p99", "p99_9", "max"];

/// Runs `rounds` fresh processes of `args` and of `other`, and returns their reports. The order
/// alternates (ABBA), so that a drift of the machine affects both. `None` once `stop` is set.
///
/// # Errors
/// A process that fails.
pub(crate) fn runs(
    args: &Args,
    other: Option<&Args>,
    rounds: u32,
    stop: &AtomicBool,
    mut progress: impl FnMut(String),
) -> Result<Option<[Vec<Value>; 2]>> {
    let mut reports = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let mut order = vec![(0, args)];
        order.extend(other.map(|other| (1, other)));
        if round % 2 == 1 {
            order.reverse();
        }
        for (which, args) in order {
            progress(format!("{} {} of {rounds}", if which == 0 { "run" } else { "run of the other configuration" }, round + 1));
            let Some(report) = run(args, stop)? else { return Ok(None) };
            reports[which].push(report);
        }
    }
    Ok(Some(reports))
}

/// How often a child process is looked at, while it measures.
const LOOK: Duration = Duration::from_millis(200);

/// Runs one measurement in a child process and returns its report. Once `stop` is set, ends the
/// process and returns `None`.
fn run(args: &Args, stop: &AtomicBool) -> Result<Option<Value>> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let mut child =
        Command::new(program).args(args.command_line()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let done = std::thread::scope(|scope| -> Result<Option<Output>> {
        // A pipe that nobody reads would block the child.
        let of_stdout = scope.spawn(|| read_all(stdout.as_mut()));
        let of_stderr = scope.spawn(|| read_all(stderr.as_mut()));
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if stop.load(Ordering::Relaxed) {
                // It may have ended meanwhile, which is as good.
                let _ = child.kill();
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        };
        let joined = |bytes: std::thread::Result<std::io::Result<Vec<u8>>>| bytes.map_err(|_panic| anyhow!("a reading thread panicked"));
        Ok(Some(Output { status, stdout: joined(of_stdout.join())??, stderr: joined(of_stderr.join())?? }))
    })?;
    let Some(done) = done.filter(|_| !stop.load(Ordering::Relaxed)) else { return Ok(None) };
    if !done.status.success() {
        bail!("a child process failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    serde_json::from_slice(&done.stdout).map(Some).context("a child process did not print a report")
}

/// All that a child process writes to a pipe.
fn read_all(pipe: Option<&mut impl Read>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.map_or(Ok(0), |pipe| pipe.read_to_end(&mut bytes))?;
    Ok(bytes)
}

/// `latency_ms.NAME.FIGURE` of a report.
fn figure(report: &Value, name: &str, figure: &str) -> Option<f64> {
    report["latency_ms"][name][figure].as_f64()
}

/// The latency that counts for a whole chunk: `response` (since it was due) with a period, else
/// `chunk`.
pub(crate) fn chunk_metric(report: &Value) -> &'static str {
    if report["latency_ms"]["response"].is_object() { "response" } else { "chunk" }
}

/// The report whose p50 is the median of all.
pub(crate) fn median_run(reports: &[Value]) -> Option<&Value> {
    let p50 = |report: &Value| figure(report, chunk_metric(report), "p50").unwrap_or(f64::MAX);
    let mut order: Vec<&Value> = reports.iter().collect();
    order.sort_by(|a, b| f64::total_cmp(&p50(a), &p50(b)));
    order.get(order.len().saturating_sub(1) / 2).copied()
}

/// The noise floor: for each figure of runs of one configuration, the lowest and the highest ratio
/// to its median.
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
    // The figures of whole chunks also without the name of their metric.
    if let Some(Value::Object(figures)) = reports.first().map(chunk_metric).and_then(|name| all.get(name)).cloned() {
        all.extend(figures);
    }
    json!({"runs": reports.len(), "ratio": all})
}

/// The latency of the other configuration over that of this one, paired by round.
pub(crate) fn versus(reports: &[Value], others: &[Value]) -> Value {
    let name = reports.first().map_or("chunk", chunk_metric);
    let ratio: Map<String, Value> = FIGURES
        .iter()
        .filter_map(|of| {
            let ratios: Vec<f64> =
                reports.iter().zip(others).filter_map(|(a, b)| Some(figure(b, name, of)? / figure(a, name, of)?)).collect();
            // None where the samples do not support the figure.
            (!ratios.is_empty()).then(|| ((*of).to_owned(), mean_ratio(&ratios)))
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

    /// Breaks when the ratios refer to the first run in place of the median, or a missing
    /// figure gets a value.
    #[test]
    fn the_noise_floor_is_around_the_median_run() {
        let noise = noise(&[report(9.0), report(10.0), report(12.0)]);
        let p50 = &noise["ratio"]["chunk"]["p50"];
        assert!((p50["low"].as_f64().unwrap() - 0.9).abs() < 1e-12 && (p50["high"].as_f64().unwrap() - 1.2).abs() < 1e-12);
        assert!(noise["ratio"]["chunk"]["max"].is_null());
    }

    /// Breaks when rounds are not paired, or the ratio is inverted.
    #[test]
    fn a_comparison_pairs_the_rounds() {
        let versus = versus(&[report(1.0), report(10.0)], &[report(2.0), report(20.0)]);
        let p50 = &versus["ratio"]["p50"];
        for of in ["mean", "low", "high"] {
            assert!((p50[of].as_f64().unwrap() - 2.0).abs() < 1e-12, "{versus}");
        }
    }
}
