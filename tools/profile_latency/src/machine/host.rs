//! Facts of the host: board name, operating system, memory and temperatures.

use super::tree::{Tree, clean};
use serde::Serialize;

/// Host memory as the kernel counts it. A Jetson's GPU shares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) total_bytes: u64,
    pub(crate) available_bytes: Option<u64>,
}

/// A thermal zone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Zone {
    /// The kernel's name of the zone: `tj-thermal`, `x86_pkg_temp`.
    pub(crate) name: String,
    pub(crate) celsius: f64,
}

/// Plausible temperatures in millidegrees. On some boards an unpowered zone reads far outside.
const MILLIDEGREES: std::ops::RangeInclusive<i64> = -100_000..=300_000;

/// The board's name, from the device tree or else from the firmware.
pub(super) fn model(tree: &mut Tree) -> Option<String> {
    if let Some(model) = tree.line("model", "proc/device-tree/model") {
        return Some(model);
    }
    let vendor = tree.line("vendor", "sys/class/dmi/id/sys_vendor");
    match (vendor, tree.line("model", "sys/class/dmi/id/product_name")) {
        (Some(vendor), Some(product)) => Some(clean(&format!("{vendor} {product}"))),
        (vendor, product) => product.or(vendor),
    }
}

/// The kernel release.
pub(super) fn kernel(tree: &mut Tree) -> Option<String> {
    tree.line("kernel", "proc/sys/kernel/osrelease")
}

/// The distribution's own name.
pub(super) fn os(tree: &mut Tree) -> Option<String> {
    let text = tree.table("system", "etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.map(|name| clean(name.trim().trim_matches(['"', '\'']))).filter(|name| !name.is_empty());
    if name.is_none() {
        tree.note("system", "etc/os-release", "contains no PRETTY_NAME");
    }
    name
}

pub(super) fn memory(tree: &mut Tree) -> Option<Memory> {
    const PATH: &str = "proc/meminfo";
    let text = tree.table("memory", PATH)?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = bytes("MemTotal:");
    if total.is_none() {
        tree.note("memory", PATH, "contains no MemTotal in kB");
    }
    Some(Memory { total_bytes: total?, available_bytes: bytes("MemAvailable:") })
}

/// All thermal zones that can be read. The zone of an unpowered part cannot, and is noted.
pub(super) fn zones(tree: &mut Tree) -> Vec<Zone> {
    const FOLDER: &str = "sys/class/thermal";
    let mut zones = Vec::new();
    for folder in tree.names("thermal zones", FOLDER, |name| name.starts_with("thermal_zone")) {
        let name = tree.line("thermal zone", &format!("{FOLDER}/{folder}/type")).unwrap_or_else(|| folder.clone());
        let path = format!("{FOLDER}/{folder}/temp");
        let what = format!("temperature of {name}");
        match tree.number::<i64>(&what, &path) {
            Some(milli) if MILLIDEGREES.contains(&milli) => zones.push(Zone { name, celsius: milli as f64 / 1000.0 }),
            Some(milli) => tree.note(&what, &path, &format!("not a temperature: {milli} millidegrees")),
            None => {}
        }
    }
    zones
}
