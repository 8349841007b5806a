//! What happened to a machine while something was measured on it.

use super::Machine;
use super::cpu::Policy;
use super::gpu::Gpu;
use super::host::Zone;

/// Degrees that a zone may warm up without a word.
const WARMER: f64 = 5.0;
/// A clock that is meant to stand still fell if it is below so much of what it was.
const FELL: f64 = 0.95;

/// What may have changed the result of a run between `before` and `after`, one sentence each; nothing where all stood still.
///
/// Counters of throttling that rose or can no longer be read; temperatures; bounds of clocks that fell, and clocks that were meant to stand
/// still (governor `performance`, or one clock allowed) and fell; governors, power mode, number of CPUs and their limit that changed; what a
/// GPU was held back by. A clock that the governor may choose is not compared: it falls when the run is over.
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
                sentences.push(format!("throttled, {}: the counter rose by {}", then.what, now.count - then.count));
            }
            Some(_) => {}
            None => sentences.push(format!("throttled or not, {}: the counter can no longer be read", then.what)),
        }
    }
}

fn temperatures(before: &[Zone], after: &[Zone], sentences: &mut Vec<String>) {
    let mut warmer: Vec<(f64, String)> = Vec::new();
    for (index, now) in after.iter().enumerate() {
        // Some boards give several zones one name: the third of a name is compared with the third.
        let nth = after.iter().take(index).filter(|zone| zone.name == now.name).count();
        if let Some(then) = before.iter().filter(|then| then.name == now.name).nth(nth)
            && now.celsius - then.celsius >= WARMER
        {
            warmer.push((now.celsius - then.celsius, format!("{} from {:.1} to {:.1} °C", now.name, then.celsius, now.celsius)));
        }
    }
    warmer.sort_by(|a, b| b.0.total_cmp(&a.0));
    if !warmer.is_empty() {
        // Zones of one chip rise together: the first few tell it.
        let zones: Vec<String> = warmer.into_iter().take(4).map(|(_, zone)| zone).collect();
        sentences.push(format!("warmer: {}", zones.join(", ")));
    }
}

/// A clock of either kind, in its own unit.
struct Clock {
    governor: Option<String>,
    current: Option<u64>,
    lowest: Option<u64>,
    highest: Option<u64>,
}

impl Clock {
    fn is_fixed(&self) -> bool {
        self.governor.as_deref() == Some("performance") || (self.lowest.is_some() && self.lowest == self.highest)
    }
}

/// `per_mhz` units are 1 MHz.
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
        sentences.push(format!("{name}: the highest clock allowed fell from {:.0} to {:.0} MHz", mhz(was), mhz(is)));
    }
    if let (Some(was), Some(is)) = (then.current, now.current)
        && then.is_fixed()
        && now.is_fixed()
        && mhz(is) < mhz(was) * FELL
    {
        sentences.push(format!("{name}: the clock fell from {:.0} to {:.0} MHz, and was to stand still", mhz(was), mhz(is)));
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
        sentences.push(format!("CPUs that run: {was} before, {is} after"));
    }
    if before.cpu.limit != after.cpu.limit {
        let words = |limit: Option<f64>| limit.map_or("none".to_owned(), |limit| format!("{limit:.2} CPUs"));
        sentences.push(format!("the control group's CPU limit changed from {} to {}", words(before.cpu.limit), words(after.cpu.limit)));
    }
}

fn gpu(then: &Gpu, now: &Gpu, sentences: &mut Vec<String>) {
    let name = format!("GPU {}", now.index);
    let times = [("heat", then.held_by_heat_ns, now.held_by_heat_ns), ("the power limit", then.held_by_power_ns, now.held_by_power_ns)];
    for (what, was, is) in times {
        if let (Some(was), Some(is)) = (was, is)
            && is > was
        {
            sentences.push(format!("{name}: held back by {what} for {:.1} ms", (is - was) as f64 / 1e6));
        }
    }
    let fresh: Vec<&str> =
        now.held_back_by.iter().filter(|word| **word != "idleness" && !then.held_back_by.contains(word)).copied().collect();
    if !fresh.is_empty() {
        sentences.push(format!("{name}: now held back by {}", fresh.join(" and ")));
    }
    if let (Some(was), Some(is)) = (then.celsius, now.celsius)
        && f64::from(is) - f64::from(was) >= WARMER
    {
        sentences.push(format!("{name}: warmer, from {was} to {is} °C"));
    }
}
