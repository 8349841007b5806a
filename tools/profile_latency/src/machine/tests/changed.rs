//! Changes of a machine during a measurement.

use super::trees;
use crate::machine::gpu::Gpu;
use crate::machine::host::Zone;
use crate::machine::{Machine, changed};

/// An Orin with an added NVML GPU, so that one machine can show every kind of change.
fn machine() -> Machine {
    let tree = trees::orin_agx();
    let mut machine = Machine::read(tree.root());
    let gpu = Gpu {
        celsius: Some(50),
        held_by_heat_ns: Some(1_000_000),
        held_by_power_ns: Some(0),
        held_back_by: vec!["idleness"],
        ..Gpu::default()
    };
    machine.graphics.gpus.push(gpu);
    machine
}

/// Breaks if an unchanged machine, or one whose governed clocks fell after the run, is reported as
/// changed.
#[test]
fn a_machine_at_rest_did_not_change() {
    let (before, mut after) = (machine(), machine());
    assert_eq!(changed(&before, &after), [""; 0]);
    after.cpu.policies[0].current_khz = Some(729_600);
    after.zones[0].celsius += 4.9;
    after.zones[1].celsius -= 30.0;
    assert_eq!(changed(&before, &after), [""; 0]);
}

/// Breaks if a change that may have cost time is not reported, or is reported wrongly.
#[test]
fn every_change_has_its_sentence() {
    struct Case {
        change: fn(&mut Machine, &mut Machine),
        sentences: &'static [&'static str],
    }
    let cases = [
        Case {
            change: |_, after| after.throttles[2].count += 5,
            sentences: &["throttled by instantaneous over-current (oc3): the counter rose by 5"],
        },
        Case {
            change: |_, after| after.throttles.truncate(2),
            sentences: &["perhaps throttled by instantaneous over-current (oc3): the counter can no longer be read"],
        },
        Case {
            change: |_, after| {
                after.zones[0].celsius += 10.0;
                after.zones[2].celsius += 20.0;
            },
            sentences: &["warmer: tj-thermal from 48.7 to 68.7 °C, cpu-thermal from 48.1 to 58.1 °C"],
        },
        Case {
            change: |_, after| after.cpu.policies[1].highest_khz = Some(1_190_400),
            sentences: &["CPU policy4: the upper clock limit fell from 1728 to 1190 MHz"],
        },
        Case {
            change: |_, after| after.cpu.policies[0].governor = Some("powersave".to_owned()),
            sentences: &["CPU policy0: the governor changed from schedutil to powersave"],
        },
        Case {
            change: |before, after| {
                for machine in [before, after] {
                    machine.cpu.policies[0].governor = Some("performance".to_owned());
                    machine.cpu.policies[0].current_khz = machine.cpu.policies[0].current_khz.map(|khz| khz * 9 / 10);
                }
            },
            sentences: &[],
        },
        Case {
            change: |before, after| {
                for machine in [before, &mut *after] {
                    machine.cpu.policies[0].governor = Some("performance".to_owned());
                }
                after.cpu.policies[0].current_khz = Some(1_000_000);
            },
            sentences: &["CPU policy0: the clock fell from 1190 to 1000 MHz and should be fixed"],
        },
        Case {
            change: |before, after| {
                for machine in [before, &mut *after] {
                    machine.jetson.as_mut().unwrap().gpu_clocks[0].lowest_hz = Some(612_000_000);
                }
                after.jetson.as_mut().unwrap().gpu_clocks[0].current_hz = Some(204_000_000);
            },
            sentences: &["GPU 17000000.gpu: the clock fell from 306 to 204 MHz and should be fixed"],
        },
        Case {
            change: |_, after| after.jetson.as_mut().unwrap().power_mode.as_mut().unwrap().name = Some("MODE_15W".to_owned()),
            sentences: &["the power mode changed from MODE_30W (2) to MODE_15W (2)"],
        },
        Case { change: |_, after| after.cpu.online = Some(4), sentences: &["online CPUs: 8 before, 4 after"] },
        Case {
            change: |_, after| after.cpu.limit = Some(1.5),
            sentences: &["the CPU limit of the control group changed from none to 1.50 CPUs"],
        },
        Case {
            change: |_, after| after.graphics.gpus[0].held_by_heat_ns = Some(3_500_000),
            sentences: &["GPU 0: throttled by heat for 2.5 ms"],
        },
        Case {
            change: |_, after| after.graphics.gpus[0].held_back_by = vec!["idleness", "heat", "the power limit"],
            sentences: &["GPU 0: now throttled by heat and the power limit"],
        },
        Case { change: |_, after| after.graphics.gpus[0].celsius = Some(71), sentences: &["GPU 0: warmer, from 50 to 71 °C"] },
        // A value that was unknown before is no change.
        Case {
            change: |before, _| {
                before.zones.clear();
                before.cpu.policies.clear();
                before.throttles.clear();
                before.jetson = None;
                before.graphics.gpus.clear();
            },
            sentences: &[],
        },
    ];
    let (machine, mut failed) = (machine(), Vec::new());
    for (number, Case { change, sentences }) in cases.into_iter().enumerate() {
        let (mut before, mut after) = (machine.clone(), machine.clone());
        change(&mut before, &mut after);
        let got = changed(&before, &after);
        if got != sentences {
            failed.push((number, got));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Breaks if a zone is compared with another zone of the same name.
#[test]
fn zones_of_one_name_are_told_apart() {
    let (mut before, mut after) = (machine(), machine());
    for machine in [&mut before, &mut after] {
        for (zone, celsius) in machine.zones.iter_mut().zip([30.0, 60.0, 90.0]) {
            *zone = Zone { name: "acpitz".to_owned(), celsius };
        }
    }
    assert_eq!(changed(&before, &after), [""; 0]);
    after.zones[1].celsius = 70.0;
    assert_eq!(changed(&before, &after), ["warmer: acpitz from 60.0 to 70.0 °C"]);
}

/// Breaks if a counter that wrapped, or fell because a CPU went offline, is reported.
#[test]
fn a_counter_that_fell_says_nothing() {
    let (before, mut after) = (machine(), machine());
    after.throttles[1].count = 0;
    after.graphics.gpus[0].held_by_heat_ns = Some(0);
    assert_eq!(changed(&before, &after), [""; 0]);
}
