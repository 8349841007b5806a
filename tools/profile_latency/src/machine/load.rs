//! Readings of how busy the CPUs are: the load average, and counters of the kernel.

use super::tree::Tree;
use serde::Serialize;

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
