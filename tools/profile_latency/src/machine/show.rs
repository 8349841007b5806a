//! A machine as lines of text.

use super::cpu::Policy;
use super::gpu::Gpu;
use super::state::Machine;

/// Stands for an unknown value.
const UNKNOWN: &str = "?";

/// The machine as text: one fact per line, with its label in the first twelve columns.
pub(crate) fn lines(machine: &Machine) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String| {
        if !text.is_empty() {
            lines.push(format!("{label:<12}{text}"));
        }
    };
    line("machine", machine.model.clone().unwrap_or_else(|| UNKNOWN.to_owned()));
    let kernel = machine.kernel.as_ref().map(|kernel| format!("Linux {kernel}"));
    let l4t = machine.jetson.as_ref().and_then(|jetson| jetson.l4t.as_ref()).map(|l4t| format!("L4T {l4t}"));
    line("system", joined([machine.os.clone(), kernel, l4t]));
    let cpu = &machine.cpu;
    let count = cpu.online.map(|online| match cpu.present {
        Some(present) if present != online => format!("{online} of {present} online"),
        _ => format!("{online} online"),
    });
    let limit = cpu.limit.map(|limit| format!("limited to {limit:.2} by the control group"));
    line("CPU", joined([cpu.model.clone(), count, limit]));
    policies(&cpu.policies).into_iter().for_each(|text| line("CPU clock", text));
    line(
        "memory",
        machine.memory.as_ref().map_or(String::new(), |memory| {
            let available = memory.available_bytes.map(|bytes| format!("{} available", gib(bytes)));
            joined([Some(gib(memory.total_bytes)), available])
        }),
    );
    if let Some(jetson) = &machine.jetson {
        line("power mode", jetson.power_mode.as_ref().map(ToString::to_string).unwrap_or_default());
        for clock in &jetson.gpu_clocks {
            let governor = clock.governor.as_deref().unwrap_or(UNKNOWN);
            line(
                "GPU clock",
                format!("{}: {}", clock.name, clocks(governor, clock.lowest_hz, clock.highest_hz, clock.current_hz, 1_000_000)),
            );
        }
    }
    machine.graphics.gpus.iter().for_each(|gpu| line(&format!("GPU {}", gpu.index), graphics(gpu)));
    let driver = machine.graphics.driver.as_ref().map(|driver| format!("NVIDIA {driver}"));
    line("driver", joined([driver, machine.graphics.cuda.as_ref().map(|cuda| format!("CUDA {cuda}"))]));
    line("NVML", machine.graphics.missing.clone().unwrap_or_default());
    line("rails", machine.rails.join(", "));
    line("°C", machine.zones.iter().map(|zone| format!("{} {:.1}", zone.name, zone.celsius)).collect::<Vec<_>>().join(", "));
    line(
        "throttled",
        machine.throttles.iter().map(|throttle| format!("{}: {}", throttle.what, throttle.count)).collect::<Vec<_>>().join(", "),
    );
    line("absent", machine.absent.join(", "));
    machine.unreadable.iter().for_each(|what| line("unreadable", what.clone()));
    lines
}

/// One line for all policies with the same governor and bounds.
fn policies(policies: &[Policy]) -> Vec<String> {
    let key = |policy: &Policy| (policy.governor.clone(), policy.lowest_khz, policy.highest_khz);
    let mut groups: Vec<Vec<&Policy>> = Vec::new();
    for policy in policies {
        match groups.iter_mut().find(|group| group.iter().all(|other| key(other) == key(policy))) {
            Some(group) => group.push(policy),
            None => groups.push(vec![policy]),
        }
    }
    let lines = groups.iter().filter_map(|group| {
        let (first, last) = (group.first()?, group.last()?);
        let names = if group.len() == 1 { first.name.clone() } else { format!("{} to {} ({})", first.name, last.name, group.len()) };
        let slowest = group.iter().filter_map(|policy| policy.current_khz).min();
        let governor = first.governor.as_deref().unwrap_or(UNKNOWN);
        let hardware = group.iter().filter_map(|policy| policy.hardware_khz).max();
        let mut text = format!("{names}: {}", clocks(governor, first.lowest_khz, first.highest_khz, slowest, 1000));
        if group.len() > 1 {
            text.push_str(" (the slowest)");
        }
        if let Some(hardware) = hardware.filter(|&hardware| first.highest_khz.is_some_and(|highest| highest < hardware)) {
            text.push_str(&format!(", hardware limit {}", hardware / 1000));
        }
        Some(text)
    });
    lines.collect()
}

fn clocks(governor: &str, lowest: Option<u64>, highest: Option<u64>, current: Option<u64>, per_mhz: u64) -> String {
    let mhz = |clock: Option<u64>| clock.map_or_else(|| UNKNOWN.to_owned(), |clock| (clock / per_mhz).to_string());
    format!("{governor}, {} to {} MHz, now {}", mhz(lowest), mhz(highest), mhz(current))
}

fn graphics(gpu: &Gpu) -> String {
    let of = |now: Option<u32>, most: Option<u32>, scale: u32, unit: &str| {
        let most = most.map_or(String::new(), |most| format!(" of {}", most / scale));
        now.map(|now| format!("{}{most} {unit}", now / scale))
    };
    let memory = gpu.memory_total_bytes.map(|total| match gpu.memory_used_bytes {
        Some(used) => format!("{} of {} used", gib(used), gib(total)),
        None => gib(total),
    });
    let switch = |is_on: Option<bool>, what: &str| is_on.map(|is_on| format!("{what} {}", if is_on { "on" } else { "off" }));
    joined([
        gpu.name.clone(),
        memory,
        of(gpu.sm_mhz, gpu.sm_highest_mhz, 1, "MHz (SM)"),
        of(gpu.memory_mhz, gpu.memory_highest_mhz, 1, "MHz (memory)"),
        gpu.celsius.map(|celsius| format!("{celsius} °C")),
        of(gpu.power_mw, gpu.power_limit_mw, 1000, "W"),
        (!gpu.held_back_by.is_empty()).then(|| format!("throttled by {}", gpu.held_back_by.join(" and "))),
        switch(gpu.persistence, "persistence"),
        switch(gpu.ecc, "ECC"),
    ])
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
