//! What else the CPUs did during a measurement: load average, time that the hypervisor took, and
//! context switches.

use super::state::Machine;
use super::tree::Tree;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Share of the CPU time above which steal is reported as a change of the machine.
const STEAL: f64 = 0.01;

/// Counters of the kernel since the machine started, and of this program's main thread, which the
/// ride runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Activity {
    /// Time of all CPUs, in clock ticks.
    pub(crate) total_ticks: u64,
    /// The part of it that the hypervisor gave to others.
    pub(crate) steal_ticks: u64,
    pub(crate) context_switches: Option<u64>,
    /// Times that the main thread waited, and times that it had to yield.
    pub(crate) voluntary_switches: Option<u64>,
    pub(crate) involuntary_switches: Option<u64>,
}

/// Load average over 1, 5 and 15 minutes: tasks that run or wait for a CPU or a disk.
pub(super) fn load_average(tree: &mut Tree) -> Option<[f64; 3]> {
    const PATH: &str = "proc/loadavg";
    let line = tree.line("load average", PATH)?;
    let mut words = line.split_whitespace().map_while(|word| word.parse::<f64>().ok().filter(|load| load.is_finite()));
    let averages = (words.next(), words.next(), words.next());
    if let (Some(one), Some(five), Some(fifteen)) = averages {
        return Some([one, five, fifteen]);
    }
    tree.note("load average", PATH, &format!("not three numbers: {line:?}"));
    None
}

/// The counters.
pub(super) fn activity(tree: &mut Tree) -> Option<Activity> {
    const PATH: &str = "proc/stat";
    let text = tree.table("CPU times", PATH)?;
    let words = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::split_whitespace);
    // user, nice, system, idle, iowait, irq, softirq, steal. User time includes guests' time.
    let ticks: Vec<u64> = words("cpu ").into_iter().flatten().map_while(|word| word.parse().ok()).take(8).collect();
    let &[.., steal_ticks] = ticks.as_slice() else {
        tree.note("CPU times", PATH, "contains no times of all CPUs");
        return None;
    };
    if ticks.len() < 8 {
        tree.note("CPU times", PATH, "contains no steal time");
        return None;
    }
    let context_switches = words("ctxt ").and_then(|mut words| words.next()?.parse().ok());
    let own = tree.table("own context switches", "proc/self/status").unwrap_or_default();
    let switches = |name: &str| own.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Activity {
        total_ticks: ticks.iter().fold(0, |sum, ticks| sum.saturating_add(*ticks)),
        steal_ticks,
        context_switches,
        voluntary_switches: switches("voluntary_ctxt_switches:"),
        involuntary_switches: switches("nonvoluntary_ctxt_switches:"),
    })
}

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

/// The sentence of [`changed`](super::changed) about time that the hypervisor took.
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
