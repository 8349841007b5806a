//! Facts of a Jetson: L4T release, power mode and clocks of the integrated GPU.

use super::tree::{Tree, clean};
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

/// Settings of a Jetson.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Jetson {
    /// The first line of `nv_tegra_release`.
    pub(crate) l4t: Option<String>,
    pub(crate) power_mode: Option<PowerMode>,
    pub(crate) gpu_clocks: Vec<GpuClock>,
}

/// The power mode that `nvpmodel` set: it limits the number of CPUs and all clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PowerMode {
    pub(crate) id: u32,
    /// `MODE_30W`, `MAXN`; `None` if the list of modes is missing or lacks it.
    pub(crate) name: Option<String>,
}

impl Display for PowerMode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

/// A clock domain of the GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GpuClock {
    /// `17000000.gpu`, `gpu-gpc-0`.
    pub(crate) name: String,
    pub(crate) governor: Option<String>,
    /// 0 while the GPU is unpowered.
    pub(crate) current_hz: Option<u64>,
    pub(crate) lowest_hz: Option<u64>,
    pub(crate) highest_hz: Option<u64>,
}

/// The settings of a Jetson; `None` on another machine. `model` is the board's name.
pub(super) fn jetson(tree: &mut Tree, model: Option<&str>) -> Option<Jetson> {
    const RELEASE: &str = "etc/nv_tegra_release";
    if !tree.exists(RELEASE) && !model.is_some_and(|model| model.contains("Jetson")) {
        return None;
    }
    let l4t = tree.group("L4T", |tree| tree.line("L4T", RELEASE), Option::is_some);
    Some(Jetson {
        l4t: l4t.map(|line| clean(line.trim_start_matches('#'))),
        power_mode: tree.group("power mode", power_mode, Option::is_some),
        gpu_clocks: tree.group("GPU clock", gpu_clocks, |clocks| !clocks.is_empty()),
    })
}

/// Reads `pmode:0002` of the status and `< POWER_MODEL ID=2 NAME=MODE_30W >` of the list of modes.
fn power_mode(tree: &mut Tree) -> Option<PowerMode> {
    const STATUS: &str = "var/lib/nvpmodel/status";
    const MODES: &str = "etc/nvpmodel.conf";
    let status = tree.line("power mode", STATUS)?;
    let id = status.split_whitespace().find_map(|word| word.strip_prefix("pmode:")).and_then(|id| id.parse::<u32>().ok());
    let Some(id) = id else {
        tree.note("power mode", STATUS, &format!("contains no pmode: {status:?}"));
        return None;
    };
    let modes = tree.table("power modes", MODES);
    let name = modes.as_deref().and_then(|modes| modes.lines().find_map(|line| mode(line, id)));
    if modes.is_some() && name.is_none() {
        tree.note("power modes", MODES, &format!("contains no mode {id}"));
    }
    Some(PowerMode { id, name })
}

/// The name in a line of the list of modes, if the line is that of mode `id`.
fn mode(line: &str, id: u32) -> Option<String> {
    let words = line.trim().strip_prefix('<')?.strip_suffix('>')?.trim().strip_prefix("POWER_MODEL")?;
    let value = |key: &str| words.split_whitespace().find_map(|word| word.strip_prefix(key));
    let name = (value("ID=")?.parse::<u32>().ok()? == id).then_some(value("NAME=")?)?;
    Some(clean(name))
}

fn gpu_clocks(tree: &mut Tree) -> Vec<GpuClock> {
    const FOLDER: &str = "sys/class/devfreq";
    // Older L4T releases of Orin and Xavier name the GPU after its chip.
    let is_gpu = |name: &str| name.contains("gpu") || [".ga10b", ".gv11b", ".gp10b"].iter().any(|family| name.ends_with(family));
    let mut clocks = Vec::new();
    for name in tree.names("GPU clock", FOLDER, is_gpu) {
        let path = |file: &str| format!("{FOLDER}/{name}/{file}");
        clocks.push(GpuClock {
            governor: tree.line("GPU governor", &path("governor")),
            current_hz: tree.number("GPU clock", &path("cur_freq")),
            lowest_hz: tree.number("GPU clock", &path("min_freq")),
            highest_hz: tree.number("GPU clock", &path("max_freq")),
            name,
        });
    }
    clocks
}
