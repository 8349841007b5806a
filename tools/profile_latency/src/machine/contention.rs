//! What else the CPUs did during a measurement: load average, time that the hypervisor took, and
//! context switches.

use super::state::Machine;
use serde_json::{Value, json};
use std::time::Duration;

/// Share of the CPU time above which steal is reported as a change of the machine.
const STEAL: f64 = 0.01;

/// What happened between two readings.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Contention {
    /// Share of the CPU time that the hypervisor gave to others.
    steal: Option<f64>,
    /// Context switches of the whole machine per second.
    switches_per_s: Option<f64>,
    voluntary: Option<u64>,
    involuntary: Option<u64>,
}

impl Contention {
    fn between(before: &Machine, after: &Machine, window: Duration) -> Option<Self> {
        let (then, now) = (before.activity?, after.activity?);
        let rise = |then: Option<u64>, now: Option<u64>| now?.checked_sub(then?);
        let total = now.total_ticks.checked_sub(then.total_ticks).filter(|ticks| *ticks > 0);
        let steal = total.zip(now.steal_ticks.checked_sub(then.steal_ticks)).map(|(total, steal)| steal as f64 / total as f64);
        let seconds = window.as_secs_f64();
        Some(Self {
            steal,
            switches_per_s: rise(then.context_switches, now.context_switches).filter(|_| seconds > 0.0).map(|n| n as f64 / seconds),
            voluntary: rise(then.voluntary_switches, now.voluntary_switches),
            involuntary: rise(then.involuntary_switches, now.involuntary_switches),
        })
    }
}

/// The sentence of [`changed`](fn@super::changed) about time that the hypervisor took.
pub(super) fn stolen(before: &Machine, after: &Machine) -> Option<String> {
    let steal = Contention::between(before, after, Duration::ZERO)?.steal?;
    (steal > STEAL).then(|| format!("the hypervisor gave {:.1} % of the CPU time to others (steal)", 100.0 * steal))
}

/// Lines for the head of a report, with their labels in the first twelve columns. `window` is the
/// time between the two readings.
pub(crate) fn contention_lines(before: &Machine, after: &Machine, window: Duration) -> Vec<String> {
    let mut lines = Vec::new();
    let loads = |machine: &Machine| machine.load_average.map(|loads| loads.map(|load| format!("{load:.2}")).join(", "));
    if let Some((then, now)) = loads(before).zip(loads(after)) {
        lines.push(format!("{:<12}{then} before, {now} after (tasks; mean of 1, 5 and 15 minutes)", "load"));
    }
    if let Some(contention) = Contention::between(before, after, window) {
        let whole = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let steal = contention.steal.map_or_else(|| "?".to_owned(), |steal| format!("{:.2}", 100.0 * steal));
        let rate = contention.switches_per_s.map_or_else(|| "?".to_owned(), |rate| format!("{rate:.0}"));
        lines.push(format!("{:<12}{steal} % of the CPU time during the window", "steal"));
        lines.push(format!(
            "{:<12}{rate} a second on the machine; of the ride's thread {} voluntary, {} involuntary",
            "switches",
            whole(contention.voluntary),
            whole(contention.involuntary)
        ));
    }
    lines
}

/// The same for the report.
pub(crate) fn contention_json(before: &Machine, after: &Machine, window: Duration) -> Value {
    let contention = Contention::between(before, after, window);
    json!({
        "steal_share": contention.and_then(|c| c.steal),
        "context_switches_per_s": contention.and_then(|c| c.switches_per_s),
        "ride_voluntary_switches": contention.and_then(|c| c.voluntary),
        "ride_involuntary_switches": contention.and_then(|c| c.involuntary),
    })
}
