//! The state of a machine: all facts that the report lists.

use super::cpu::{self, Cpu, Throttle};
use super::gpu::{self, Graphics};
use super::host::{self, Memory, Zone};
use super::jetson::{self, Jetson};
use super::load::{self, Activity};
use super::rails::Rails;
use super::tree::Tree;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The state of a machine at one moment. Unknown values are `None`, and `absent` or `unreadable`
/// says why.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) model: Option<String>,
    pub(crate) os: Option<String>,
    pub(crate) kernel: Option<String>,
    pub(crate) cpu: Cpu,
    pub(crate) memory: Option<Memory>,
    pub(crate) jetson: Option<Jetson>,
    pub(crate) graphics: Graphics,
    /// Names of the power rails.
    pub(crate) rails: Vec<String>,
    pub(crate) zones: Vec<Zone>,
    pub(crate) throttles: Vec<Throttle>,
    /// Over 1, 5 and 15 minutes.
    pub(crate) load_average: Option<[f64; 3]>,
    pub(crate) activity: Option<Activity>,
    /// Groups of values that this machine does not have.
    pub(crate) absent: Vec<&'static str>,
    /// Files that could not be read or parsed, and failed NVML queries: what, where, why.
    pub(crate) unreadable: Vec<String>,
}

impl Machine {
    /// Reads a machine. Takes milliseconds, or a second if the driver of a GPU must wake up.
    /// `root` is `/`, or a recorded file tree, for which NVML is not queried because it would
    /// describe another machine.
    pub(crate) fn read(root: &Path) -> Machine {
        let mut files = Tree::new(root);
        let tree = &mut files;
        let model = tree.group("model", host::model, Option::is_some);
        let os = tree.group("system", host::os, Option::is_some);
        let kernel = tree.group("kernel", host::kernel, Option::is_some);
        let cpu = cpu::cpu(tree);
        let memory = tree.group("memory", host::memory, Option::is_some);
        let zones = tree.group("thermal zones", host::zones, |zones| !zones.is_empty());
        let throttles = tree.group("throttle counters", cpu::throttles, |throttles| !throttles.is_empty());
        let load_average = tree.group("load average", load::load_average, Option::is_some);
        let activity = tree.group("CPU times", load::activity, Option::is_some);
        let jetson = jetson::jetson(tree, model.as_deref());
        let rails = tree.group("INA3221 rails", Rails::search, Option::is_some);
        let rails = rails.map(|rails| rails.names().map(str::to_owned).collect()).unwrap_or_default();
        let nvml = if tree.is_live() { gpu::open(None) } else { Err("not queried: a recorded machine".to_owned()) };
        let graphics = tree.group("NVML", |tree| gpu::graphics(nvml, tree), |graphics| graphics.missing.is_none());
        let (absent, unreadable) = files.into_notes();
        Machine { model, os, kernel, cpu, memory, jetson, graphics, rails, zones, throttles, load_average, activity, absent, unreadable }
    }

    /// The machine as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|e| Value::String(e.to_string()))
    }
}
