//! The CPUs: model, count, clocks, limits and throttling.

use super::tree::Tree;
use serde::Serialize;
use std::path::{Component, Path};

/// The CPUs of the machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cpu {
    pub(crate) model: Option<String>,
    /// Logical CPUs that are online.
    pub(crate) online: Option<u32>,
    /// Logical CPUs that exist. A power mode of a Jetson may take some offline.
    pub(crate) present: Option<u32>,
    /// CPU limit of this program's control group, in CPUs; `None` without a limit.
    pub(crate) limit: Option<f64>,
    pub(crate) policies: Vec<Policy>,
}

/// A cpufreq policy: CPUs that share a clock. Clocks as cpufreq reports them, in kHz.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Policy {
    /// `policy0`, after its first CPU.
    pub(crate) name: String,
    pub(crate) governor: Option<String>,
    pub(crate) current_khz: Option<u64>,
    /// Present limits. The kernel lowers the upper one when the CPU is too hot.
    pub(crate) lowest_khz: Option<u64>,
    pub(crate) highest_khz: Option<u64>,
    /// The hardware's highest clock.
    pub(crate) hardware_khz: Option<u64>,
}

/// A throttle counter since the machine started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Throttle {
    pub(crate) what: String,
    pub(crate) count: u64,
}

const CPUS: &str = "sys/devices/system/cpu";

pub(super) fn cpu(tree: &mut Tree) -> Cpu {
    let table = tree.group("CPU model", |tree| tree.table("CPU model", "proc/cpuinfo"), Option::is_some);
    let table = table.as_deref().unwrap_or_default();
    let mut count = |path: &str| {
        let path = format!("{CPUS}/{path}");
        let list = tree.line("CPUs", &path)?;
        let count = count_cpus(&list);
        if count.is_none() {
            tree.note("CPUs", &path, &format!("not a list of CPUs: {list:?}"));
        }
        count
    };
    let (online, present) = (count("online"), count("present"));
    let listed = table.lines().filter(|line| line.starts_with("processor")).count();
    let online = online.or(u32::try_from(listed).ok().filter(|&listed| listed > 0));
    Cpu {
        model: model(table),
        online,
        present,
        limit: limit(tree),
        policies: tree.group("cpufreq", policies, |policies| !policies.is_empty()),
    }
}

/// The CPU model, from the first block of `cpuinfo`. Arm CPUs have identification numbers there,
/// and at most a name that fits any Arm CPU.
fn model(table: &str) -> Option<String> {
    let value = |key: &str| {
        let mut lines = table.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.trim() == key).map(|(_, value)| super::tree::clean(value)).filter(|value| !value.is_empty())
    };
    match (value("CPU implementer"), value("CPU part")) {
        (Some(implementer), Some(part)) => {
            let numbers = format!("implementer {implementer}, part {part}");
            Some(match arm(&implementer, &part).map(str::to_owned).or_else(|| value("model name")) {
                Some(name) => format!("{name} ({numbers})"),
                None => format!("Arm ({numbers})"),
            })
        }
        _ => value("model name"),
    }
}

/// Names of the CPUs of Jetsons and Arm servers, after the kernel's `cputype.h`.
fn arm(implementer: &str, part: &str) -> Option<&'static str> {
    Some(match (implementer, part) {
        ("0x41", "0xd07") => "Cortex-A57",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd0c") => "Neoverse-N1",
        ("0x41", "0xd40") => "Neoverse-V1",
        ("0x41", "0xd42") => "Cortex-A78AE",
        ("0x41", "0xd49") => "Neoverse-N2",
        ("0x41", "0xd4f") => "Neoverse-V2",
        ("0x41", "0xd83") => "Neoverse-V3AE",
        ("0x4e", "0x003") => "Denver 2",
        ("0x4e", "0x004") => "Carmel",
        _ => return None,
    })
}

/// The number of CPUs in a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<u32> {
    let mut count = 0_u32;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
        count = count.checked_add(u32::from(last.checked_sub(first)?) + 1)?;
    }
    Some(count)
}

/// The smallest `cpu.max` from the root control group down to this program's, in CPUs.
fn limit(tree: &mut Tree) -> Option<f64> {
    let groups = tree.table("control group", "proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let mut folder = String::from("sys/fs/cgroup");
    let mut tightest = max(tree, &folder);
    for part in Path::new(own).components().take(32) {
        let Component::Normal(part) = part else { break };
        folder = format!("{folder}/{}", part.to_string_lossy());
        let limit = max(tree, &folder);
        tightest = match (tightest, limit) {
            (Some(a), Some(b)) => Some(f64::min(a, b)),
            (a, b) => a.or(b),
        };
    }
    tightest
}

/// The limit of one `cpu.max`, in CPUs; `None` without a limit.
fn max(tree: &mut Tree, folder: &str) -> Option<f64> {
    let path = format!("{folder}/cpu.max");
    let line = tree.line("CPU limit", &path)?;
    let mut words = line.split_whitespace();
    let (quota, period) = (words.next(), words.next());
    if quota == Some("max") {
        return None;
    }
    match (quota.and_then(|quota| quota.parse::<u64>().ok()), period.and_then(|period| period.parse::<u64>().ok())) {
        (Some(quota), Some(period)) if period > 0 => Some(quota as f64 / period as f64),
        _ => {
            tree.note("CPU limit", &path, &format!("not a quota and a period: {line:?}"));
            None
        }
    }
}

fn policies(tree: &mut Tree) -> Vec<Policy> {
    let folder = format!("{CPUS}/cpufreq");
    let mut policies = Vec::new();
    for name in tree.names("cpufreq", &folder, |name| name.starts_with("policy")) {
        let path = |file: &str| format!("{folder}/{name}/{file}");
        policies.push(Policy {
            governor: tree.line("governor", &path("scaling_governor")),
            current_khz: tree.number("clock", &path("scaling_cur_freq")),
            lowest_khz: tree.number("clock", &path("scaling_min_freq")),
            highest_khz: tree.number("clock", &path("scaling_max_freq")),
            hardware_khz: tree.number("clock", &path("cpuinfo_max_freq")),
            name,
        });
    }
    policies
}

/// All throttle counters: thermal ones of x86 CPUs, and the over-current events of a Jetson.
pub(super) fn throttles(tree: &mut Tree) -> Vec<Throttle> {
    let (mut cores, mut packages) = (None, None);
    for cpu in tree.names("CPUs", CPUS, |name| name.strip_prefix("cpu").is_some_and(|number| number.parse::<u16>().is_ok())) {
        let path = |file: &str| format!("{CPUS}/{cpu}/thermal_throttle/{file}");
        if let Some(count) = tree.number::<u64>("throttle counter", &path("core_throttle_count")) {
            cores = Some(cores.unwrap_or(0_u64).saturating_add(count));
        }
        // All CPUs of a package show the same counter.
        if let Some(count) = tree.number::<u64>("throttle counter", &path("package_throttle_count")) {
            packages = Some(packages.unwrap_or(0_u64).max(count));
        }
    }
    let mut throttles = Vec::new();
    for (what, count) in [("CPU cores, heat", cores), ("CPU package, heat", packages)] {
        throttles.extend(count.map(|count| Throttle { what: what.to_owned(), count }));
    }
    // Over-current events of Orin and Thor. Source of the numbers: the same guide as for the
    // rails.
    for monitor in tree.names("monitors", "sys/class/hwmon", |name| name.starts_with("hwmon")) {
        for (number, what) in [(1, "under-voltage"), (2, "average over-current"), (3, "instantaneous over-current")] {
            let path = format!("sys/class/hwmon/{monitor}/oc{number}_event_cnt");
            if let Some(count) = tree.number("throttle counter", &path) {
                throttles.push(Throttle { what: format!("{what} (oc{number})"), count });
            }
        }
    }
    throttles
}
