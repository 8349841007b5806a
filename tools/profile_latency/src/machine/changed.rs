//! Finds changes of the machine during a measurement that may have affected it.

use super::cpu::Policy;
use super::gpu::Gpu;
use super::host::Zone;
use super::state::Machine;

/// Rise of a temperature that is reported, °C.
const WARMER: f64 = 5.0;
/// A fixed clock counts as lower below this fraction of its former value.
const FELL: f64 = 0.95;

/// One sentence for each change between `before` and `after` that may have affected a measurement.
///
/// Reported are: throttle counters that rose or can no longer be read; temperatures that rose;
/// upper clock limits that fell; fixed clocks (governor `performance`, or a single allowed clock)
/// that fell; changed governors, power modes, CPU counts and CPU limits; CPU time that the
/// hypervisor took; new reasons that throttle a GPU. A clock under the governor's control is not
/// compared: it falls when the run ends.
pub(crate) fn changed(before: &Machine, after: &Machine) -> Vec<String> {
    let mut sentences = Vec::new();
    counters(before, after, &mut sentences);
    temperatures(&before.zones, &after.zones, &mut sentences);
    for now in &after.cpu.policies {
        if let Some(then) = before.cpu.policies.iter().find(|then| then.name == now.name) {
            let clock = |policy: &Policy| Clock {
                governor: policy.governor.clone(),
                current: policy.current_khz,
                lowest: policy.lowest_khz,
                highest: policy.highest_khz,
            };
            clocks(&format!("CPU {}", now.name), &clock(then), &clock(now), 1e3, &mut sentences);
        }
    }
    let gpu_clocks = |machine: &Machine| machine.jetson.as_ref().map(|jetson| jetson.gpu_clocks.clone()).unwrap_or_default();
    for now in gpu_clocks(after) {
        if let Some(then) = gpu_clocks(before).into_iter().find(|then| then.name == now.name) {
            let clock = |clock: super::jetson::GpuClock| Clock {
                governor: clock.governor,
                current: clock.current_hz,
                lowest: clock.lowest_hz,
                highest: clock.highest_hz,
            };
            clocks(&format!("GPU {}", now.name), &clock(then), &clock(now), 1e6, &mut sentences);
        }
    }
    settings(before, after, &mut sentences);
    sentences.extend(super::contention::stolen(before, after));
    for now in &after.graphics.gpus {
        if let Some(then) = before.graphics.gpus.iter().find(|then| then.index == now.index) {
            gpu(then, now, &mut sentences);
        }
    }
    sentences
}

fn counters(before: &Machine, after: &Machine, sentences: &mut Vec<String>) {
    for then in &before.throttles {
        match after.throttles.iter().find(|now| now.what == then.what) {
            Some(now) if now.count > then.count => {
                sentences.push(format!("throttled by {}: the counter rose by {}", then.what, now.count - then.count));
            }
            Some(_) => {}
            None => sentences.push(format!("perhaps throttled by {}: the counter can no longer be read", then.what)),
        }
    }
}

fn temperatures(before: &[Zone], after: &[Zone], sentences: &mut Vec<String>) {
    let mut warmer: Vec<(f64, String)> = Vec::new();
    for (index, now) in after.iter().enumerate() {
        // Several zones may share a name: the n-th of a name is compared with the n-th.
        let nth = after.iter().take(index).filter(|zone| zone.name == now.name).count();
        if let Some(then) = before.iter().filter(|then| then.name == now.name).nth(nth)
            && now.celsius - then.celsius >= WARMER
        {
            warmer.push((now.celsius - then.celsius, format!("{} from {:.1} to {:.1} °C", now.name, then.celsius, now.celsius)));
        }
    }
    warmer.sort_by(|a, b| b.0.total_cmp(&a.0));
    if !warmer.is_empty() {
        // The zones of a chip warm up together: the first four suffice.
        let zones: Vec<String> = warmer.into_iter().take(4).map(|(_, zone)| zone).collect();
        sentences.push(format!("warmer: {}", zones.join(", ")));
    }
}

/// A CPU or GPU clock, in its own unit.
struct Clock {
    governor: Option<String>,
    current: Option<u64>,
    lowest: Option<u64>,
    highest: Option<u64>,
}

impl Clock {
    /// Whether the governor keeps the clock constant.
    fn is_fixed(&self) -> bool {
        self.governor.as_deref() == Some("performance") || (self.lowest.is_some() && self.lowest == self.highest)
    }
}

/// Compares one clock. `per_mhz`: units per MHz.
fn clocks(name: &str, then: &Clock, now: &Clock, per_mhz: f64, sentences: &mut Vec<String>) {
    let mhz = |clock: u64| clock as f64 / per_mhz;
    if let (Some(was), Some(is)) = (&then.governor, &now.governor)
        && was != is
    {
        sentences.push(format!("{name}: the governor changed from {was} to {is}"));
    }
    if let (Some(was), Some(is)) = (then.highest, now.highest)
        && is < was
    {
        sentences.push(format!("{name}: the upper clock limit fell from {:.0} to {:.0} MHz", mhz(was), mhz(is)));
    }
    if let (Some(was), Some(is)) = (then.current, now.current)
        && then.is_fixed()
        && now.is_fixed()
        && mhz(is) < mhz(was) * FELL
    {
        sentences.push(format!("{name}: the clock fell from {:.0} to {:.0} MHz and should be fixed", mhz(was), mhz(is)));
    }
}

fn settings(before: &Machine, after: &Machine, sentences: &mut Vec<String>) {
    let mode = |machine: &Machine| machine.jetson.as_ref().and_then(|jetson| jetson.power_mode.as_ref()).map(ToString::to_string);
    if let (Some(was), Some(is)) = (mode(before), mode(after))
        && was != is
    {
        sentences.push(format!("the power mode changed from {was} to {is}"));
    }
    if let (Some(was), Some(is)) = (before.cpu.online, after.cpu.online)
        && was != is
    {
        sentences.push(format!("online CPUs: {was} before, {is} after"));
    }
    if before.cpu.limit != after.cpu.limit {
        let text = |limit: Option<f64>| limit.map_or("none".to_owned(), |limit| format!("{limit:.2} CPUs"));
        sentences.push(format!("the CPU limit of the control group changed from {} to {}", text(before.cpu.limit), text(after.cpu.limit)));
    }
}

fn gpu(then: &Gpu, now: &Gpu, sentences: &mut Vec<String>) {
    let name = format!("GPU {}", now.index);
    let times = [("heat", then.held_by_heat_ns, now.held_by_heat_ns), ("the power limit", then.held_by_power_ns, now.held_by_power_ns)];
    for (what, was, is) in times {
        if let (Some(was), Some(is)) = (was, is)
            && is > was
        {
            sentences.push(format!("{name}: throttled by {what} for {:.1} ms", (is - was) as f64 / 1e6));
        }
    }
    let new: Vec<&str> =
        now.held_back_by.iter().filter(|reason| **reason != "idleness" && !then.held_back_by.contains(reason)).copied().collect();
    if !new.is_empty() {
        sentences.push(format!("{name}: now throttled by {}", new.join(" and ")));
    }
    if let (Some(was), Some(is)) = (then.celsius, now.celsius)
        && f64::from(is) - f64::from(was) >= WARMER
    {
        sentences.push(format!("{name}: warmer, from {was} to {is} °C"));
    }
}
