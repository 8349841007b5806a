//! The machine that was measured: what the head of a report says of it, and what it draws.
//!
//! Everything is read from the files that the kernel and NVIDIA's library offer to anybody; nothing is set, and nothing is run. What is not
//! there is said by group, and what is there and cannot be read is said by name.

mod changed;
mod cpu;
mod gpu;
mod host;
mod jetson;
mod power;
mod rails;
mod show;
mod tally;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use changed::changed;
pub(crate) use power::{Meter, PERIOD, Source};
pub(crate) use rails::Rails;
pub(crate) use tally::PowerReport;

use cpu::{Cpu, Throttle};
use gpu::Graphics;
use host::{Memory, Zone};
use jetson::{Jetson, PowerMode};
use serde::Serialize;
use serde_json::Value;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use tree::Tree;

/// A machine at one moment. Values that could not be known are `None`; why is in `absent` or `unreadable`.
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
    /// Groups that this machine does not show at all.
    pub(crate) absent: Vec<&'static str>,
    /// Files that are there and could not be read or understood: what, where, why. The same for questions to NVML.
    pub(crate) unreadable: Vec<String>,
}

impl Machine {
    /// Reads a machine; takes milliseconds, and where there is a GPU whose driver sleeps, a second. `root` is `/`, or a recorded tree, for
    /// which NVML is not asked: it would tell of another machine.
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
        let jetson = jetson::jetson(tree, model.as_deref());
        let rails = tree.group("INA3221 rails", Rails::search, Option::is_some);
        let rails = rails.map(|rails| rails.names().map(str::to_owned).collect()).unwrap_or_default();
        let nvml = if tree.is_live() { gpu::open(None) } else { Err("not asked: a recorded machine".to_owned()) };
        let graphics = tree.group("NVML", |tree| gpu::graphics(nvml, tree), |graphics| graphics.missing.is_none());
        let (absent, unreadable) = files.into_words();
        Machine { model, os, kernel, cpu, memory, jetson, graphics, rails, zones, throttles, absent, unreadable }
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|e| Value::String(e.to_string()))
    }

    /// For people: one fact a line, its label in the first twelve columns.
    pub(crate) fn lines(&self) -> Vec<String> {
        show::lines(self)
    }
}

impl Display for PowerMode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}
