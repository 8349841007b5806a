//! Machines from recorded file trees: complete, incomplete and hostile ones.

mod changed;
mod contention;
mod meter;
mod rails;
mod trees;

use super::gpu::{open, reason_names};
use super::tree::Tree;
use super::{Machine, gpu, lines};
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use trees::Recorded;

/// The text of the line with a label.
fn line(machine: &Machine, label: &str) -> String {
    let label = format!("{label:<12}");
    lines(machine).iter().find_map(|line| line.strip_prefix(&label)).unwrap_or_default().to_owned()
}

/// Breaks if a fact of an AGX Orin is missing in the report, or zones and policies are not in the
/// order of their numbers.
#[test]
fn an_agx_orin_is_reported_whole() {
    let tree = trees::orin_agx();
    let machine = Machine::read(tree.root());
    assert_eq!(machine.unreadable, [""; 0]);
    assert_eq!(machine.absent, ["NVML"]);
    let wanted = [
        "machine     NVIDIA Jetson AGX Orin Developer Kit",
        "system      Ubuntu 22.04.5 LTS, Linux 5.15.148-tegra, L4T R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
        "CPU         Cortex-A78AE (implementer 0x41, part 0xd42), 8 of 12 online",
        "CPU clock   policy0 to policy4 (2): schedutil, 729 to 1728 MHz, now 1190 (the slowest), hardware limit 2201",
        "memory      61.4 GiB, 55.3 GiB available",
        "power mode  MODE_30W (2)",
        "GPU clock   17000000.gpu: nvhost_podgov, 306 to 612 MHz, now 306",
        "NVML        not queried: a recorded machine",
        "rails       VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0, VDDQ_VDD2_1V8AO",
        "°C          cpu-thermal 48.1, gpu-thermal 44.4, tj-thermal 48.7",
        "throttled   under-voltage (oc1): 0, average over-current (oc2): 15, instantaneous over-current (oc3): 37",
        "absent      NVML",
    ];
    assert_eq!(lines(&machine), wanted);
    let json = machine.json();
    assert_eq!(json["memory"]["total_bytes"], 64_349_876_u64 * 1024);
    assert_eq!(json["cpu"]["policies"][1]["hardware_khz"], 2_201_600);
    assert_eq!(json["jetson"]["power_mode"]["name"], "MODE_30W");
    assert_eq!(json["zones"][2]["celsius"], 48.718);
    assert_eq!(json["graphics"]["missing"], "not queried: a recorded machine");
}

/// Breaks if the older name of the GPU's clock, or a status with more than the mode, is not parsed.
#[test]
fn an_orin_nx_is_reported_with_its_mode_and_clock() {
    let tree = trees::orin_nx();
    let machine = Machine::read(tree.root());
    assert_eq!(machine.unreadable, [""; 0]);
    assert_eq!(machine.absent, ["throttle counters", "NVML"]);
    assert_eq!(line(&machine, "power mode"), "MAXN_SUPER (0)");
    assert_eq!(line(&machine, "GPU clock"), "17000000.ga10b: nvhost_podgov, 306 to 918 MHz, now 306");
    assert_eq!(line(&machine, "CPU clock"), "policy0: performance, 1984 to 1984 MHz, now 1984");
}

/// Breaks if a zone that is unreadable while the GPU sleeps hides the others, or one of Thor's two
/// GPU clocks is missing.
#[test]
fn a_thor_with_a_sleeping_gpu_is_reported_and_the_gap_named() {
    let tree = trees::thor();
    let machine = Machine::read(tree.root());
    assert_eq!(machine.unreadable, ["temperature of gpu-thermal (/sys/class/thermal/thermal_zone1/temp): not a file"]);
    assert_eq!(line(&machine, "°C"), "tj-thermal 55.1");
    assert_eq!(line(&machine, "rails"), "VDD_GPU, VDD_CPU_SOC_MSS, VIN_SYS_5V0, VIN");
    assert_eq!(line(&machine, "CPU"), "Neoverse-V3AE (implementer 0x41, part 0xd83), 14 online");
    let clocks = machine.jetson.unwrap().gpu_clocks;
    assert_eq!(
        clocks.iter().map(|clock| (clock.name.as_str(), clock.current_hz)).collect::<Vec<_>>(),
        [("gpu-gpc-0", Some(0)), ("gpu-nvd-0", Some(0))]
    );
}

/// Breaks if a laptop's firmware name, its throttle counters (cores summed, the package's counted
/// once) or the CPU limit of a parent control group is lost.
#[test]
fn a_laptop_is_reported_with_its_counters_and_its_bound() {
    let tree = trees::laptop();
    let machine = Machine::read(tree.root());
    assert_eq!(machine.unreadable, [""; 0]);
    assert_eq!(machine.absent, ["INA3221 rails", "NVML"]);
    assert!(machine.jetson.is_none());
    assert_eq!(line(&machine, "machine"), "LENOVO 21BNCTO1WW");
    assert_eq!(line(&machine, "CPU"), "12th Gen Intel(R) Core(TM) i7-1260P, 4 online, limited to 2.50 by the control group");
    assert_eq!(line(&machine, "CPU clock"), "policy0 to policy3 (4): powersave, 400 to 4700 MHz, now 1000 (the slowest)");
    assert_eq!(line(&machine, "throttled"), "CPU cores, heat: 18, CPU package, heat: 12");
}

/// Breaks if absent sensors count as failed ones, or an absent group is not listed.
#[test]
fn a_virtual_machine_says_what_it_lacks() {
    let tree = trees::vm();
    let machine = Machine::read(tree.root());
    assert_eq!(machine.unreadable, [""; 0]);
    assert_eq!(machine.absent, ["model", "cpufreq", "thermal zones", "throttle counters", "INA3221 rails", "NVML"]);
    assert_eq!(line(&machine, "machine"), "?");
    assert_eq!(line(&machine, "CPU"), "AMD EPYC, 2 online");
    assert_eq!(line(&machine, "absent"), "model, cpufreq, thermal zones, throttle counters, INA3221 rails, NVML");
}

/// Breaks if an empty or missing root is an error, or a group is not listed as absent.
#[test]
fn nothing_at_all_is_absent_and_not_unreadable() {
    let tree = Recorded::new();
    for root in [tree.root().to_owned(), tree.root().join("nowhere")] {
        let machine = Machine::read(&root);
        assert_eq!(machine.unreadable, [""; 0]);
        assert_eq!(machine.absent.len(), 12, "{:?}", machine.absent);
        assert_eq!(machine.json()["cpu"]["online"], serde_json::Value::Null);
    }
}

/// Breaks if an unreadable file is silently absent, is not named or hides other files, or if a
/// group with nothing but that file counts as absent.
#[test]
fn what_cannot_be_read_is_named_and_the_rest_reported() {
    let tree = trees::orin_agx();
    let blocked = [
        "proc/device-tree/model",
        "etc/os-release",
        "proc/meminfo",
        "sys/devices/system/cpu/online",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
        "var/lib/nvpmodel/status",
        "sys/class/devfreq/17000000.gpu/cur_freq",
        "sys/class/hwmon/hwmon2/oc2_event_cnt",
        "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr2_input",
    ];
    for path in blocked {
        tree.block(path);
    }
    let circle = "sys/class/thermal/thermal_zone0/temp";
    tree.remove(circle);
    symlink("temp", tree.root().join(circle)).unwrap();
    let machine = Machine::read(tree.root());
    for path in blocked.iter().chain([&circle]) {
        assert!(machine.unreadable.iter().any(|what| what.contains(&format!("(/{path}): "))), "{path}: {:#?}", machine.unreadable);
    }
    assert_eq!(machine.unreadable.len(), blocked.len() + 1, "{:#?}", machine.unreadable);
    assert_eq!(machine.absent, ["NVML"]);
    assert_eq!(line(&machine, "CPU"), "Cortex-A78AE (implementer 0x41, part 0xd42), 8 of 12 online", "counted in cpuinfo");
    assert_eq!(line(&machine, "°C"), "gpu-thermal 44.4, tj-thermal 48.7");
    assert_eq!(line(&machine, "GPU clock"), "17000000.gpu: nvhost_podgov, 306 to 612 MHz, now ?");
    assert!(line(&machine, "CPU clock").starts_with("policy0: ?, 729 to 1728 MHz"), "{:?}", lines(&machine));
    assert_eq!(machine.rails.len(), 4, "a rail that fails stays a rail");
}

/// Breaks if meaningless content becomes a value, or is not noted.
#[test]
fn garbage_is_no_value_and_is_named() {
    struct Case {
        path: &'static str,
        content: &'static str,
        note: &'static str,
    }
    let cases = [
        Case { path: "sys/class/thermal/thermal_zone0/temp", content: "warm\n", note: "not a number: \"warm\"" },
        Case { path: "sys/class/thermal/thermal_zone1/temp", content: "-256000\n", note: "not a temperature: -256000 millidegrees" },
        Case { path: "sys/class/thermal/thermal_zone10/temp", content: "9223372036854775807\n", note: "not a temperature" },
        Case { path: "sys/devices/system/cpu/present", content: "7-0\n", note: "not a list of CPUs: \"7-0\"" },
        Case { path: "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", content: "-1\n", note: "not a number: \"-1\"" },
        Case {
            path: "sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq",
            content: "<unknown>\n",
            note: "not a number: \"<unknown>\"",
        },
        Case { path: "sys/class/hwmon/hwmon2/oc3_event_cnt", content: "\n", note: "empty" },
        Case { path: "var/lib/nvpmodel/status", content: "pmode:-2\n", note: "contains no pmode: \"pmode:-2\"" },
        Case { path: "proc/meminfo", content: "MemTotal: many kB\n", note: "contains no MemTotal in kB" },
        Case { path: "etc/os-release", content: "PRETTY_NAME=\"\"\n", note: "contains no PRETTY_NAME" },
        Case { path: "sys/fs/cgroup/cpu.max", content: "100000 0\n", note: "not a quota and a period" },
    ];
    let mut failed = Vec::new();
    for Case { path, content, note } in cases {
        let tree = trees::orin_agx();
        tree.put(path, content);
        let unreadable = Machine::read(tree.root()).unreadable;
        if !matches!(unreadable.as_slice(), [what] if what.contains(&format!("(/{path}): ")) && what.contains(note)) {
            failed.push((path, unreadable));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Breaks if a power mode without an entry in the list gets another mode's name, or loses its
/// number.
#[test]
fn a_mode_that_nobody_knows_keeps_its_number() {
    let tree = trees::orin_agx();
    tree.put("var/lib/nvpmodel/status", "pmode:0007\n");
    let machine = Machine::read(tree.root());
    assert_eq!(line(&machine, "power mode"), "7");
    assert_eq!(machine.unreadable, ["power modes (/etc/nvpmodel.conf): contains no mode 7"]);
}

/// Breaks if text of any length enters the report, or a name contains control characters.
#[test]
fn absurd_content_is_bounded_and_shown_as_text() {
    let tree = trees::orin_agx();
    tree.put("proc/device-tree/model", "x".repeat(1 << 20));
    tree.put("proc/sys/kernel/osrelease", "5.15\u{1b}[31m-red\rgone\n");
    tree.put("etc/os-release", format!("PRETTY_NAME=\"{}\"\n", "y".repeat(100_000)));
    tree.put("sys/class/thermal/thermal_zone0/type", "z".repeat(3000));
    let long = "n".repeat(200);
    tree.zone(3, "fine", "1000").put(&format!("sys/class/thermal/thermal_zone{long}/temp"), "1000");
    let machine = Machine::read(tree.root());
    assert_eq!(machine.model, None);
    assert_eq!(machine.unreadable, ["model (/proc/device-tree/model): longer than 4096 bytes"]);
    assert_eq!(machine.kernel.as_deref(), Some("5.15\u{fffd}[31m-red\u{fffd}gone"));
    assert_eq!(machine.os.as_deref(), Some(format!("{}…", "y".repeat(160)).as_str()));
    for line in lines(&machine) {
        assert!(line.chars().count() < 600 && !line.chars().any(char::is_control), "{line:?}");
    }
}

/// Breaks if thousands of invalid files make thousands of lines.
#[test]
fn a_machine_full_of_oddities_is_reported_in_bounds() {
    let tree = Recorded::new();
    for number in 0..200 {
        tree.put(&format!("sys/class/thermal/thermal_zone{number}/temp"), "?");
    }
    let machine = Machine::read(tree.root());
    assert_eq!(machine.unreadable.len(), 65);
    assert_eq!(machine.unreadable.last().map(String::as_str), Some("and 136 more"));
}

/// Breaks if a pipe in place of a file blocks the program.
#[test]
fn a_pipe_stops_nobody() {
    let tree = trees::orin_agx();
    for path in ["proc/meminfo", "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_input"] {
        tree.remove(path);
        assert!(Command::new("mkfifo").arg(tree.root().join(path)).status().unwrap().success());
    }
    let machine = Machine::read(tree.root());
    assert_eq!(machine.unreadable.len(), 2, "{:#?}", machine.unreadable);
    assert!(machine.unreadable.iter().all(|what| what.contains("not a file")), "{:#?}", machine.unreadable);
}

/// Breaks if random content of the files causes a panic or unbounded text.
#[test]
fn whatever_the_files_hold_all_is_read_and_bounded() {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let pieces: [&[u8]; 12] =
        [b"0", b"-1", b"99999999999999999999", b"\0", b"\xff\xfe", b"\n", b":", b" kB", b"PRETTY_NAME=\"", b"pmode:", b"<", b"0-65535,"];
    for make in [trees::orin_agx, trees::thor, trees::laptop] {
        let tree = make();
        let files = tree.files();
        for _ in 0..4 {
            for file in &files {
                let content: Vec<u8> = (0..random(6)).flat_map(|_| pieces[random(12) as usize].to_vec()).collect();
                if random(2) == 0 {
                    fs::write(file, content).unwrap();
                }
            }
            let machine = Machine::read(tree.root());
            assert!(lines(&machine).iter().all(|line| line.chars().count() < 4000 && !line.chars().any(char::is_control)));
            assert!(machine.json().is_object());
        }
    }
}

/// Breaks if the running machine cannot be read, or GPUs are neither listed nor reported as
/// missing.
#[test]
fn this_machine_is_read() {
    let machine = Machine::read(Path::new("/"));
    assert!(machine.kernel.is_some() && machine.memory.is_some(), "{machine:#?}");
    assert_eq!(machine.graphics.missing.is_some(), machine.graphics.gpus.is_empty(), "{machine:#?}");
}

/// Breaks if a missing NVIDIA library gives no message.
#[test]
fn without_a_library_the_words_say_so() {
    let why = open(Some("/nowhere/libnvidia-ml.so.1".as_ref())).unwrap_err();
    assert!(why.starts_with("no NVIDIA library: ") && why.contains("/nowhere/libnvidia-ml.so.1"), "{why}");
    let mut tree = Tree::new(Path::new("/nowhere"));
    let graphics = gpu::graphics(Err(why.clone()), &mut tree);
    assert_eq!(graphics.missing, Some(why));
    assert_eq!(tree.into_notes(), (vec![], vec![]));
}

/// Breaks if a throttle reason has no name, or another's.
#[test]
fn reasons_for_low_clocks_have_words() {
    assert_eq!(reason_names(ThrottleReasons::NONE), [""; 0]);
    assert_eq!(reason_names(ThrottleReasons::GPU_IDLE), ["idleness"]);
    let hot = ThrottleReasons::HW_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN | ThrottleReasons::SW_POWER_CAP;
    assert_eq!(reason_names(hot), ["the power limit", "a hardware slowdown", "a hardware slowdown for heat"]);
    assert_eq!(reason_names(ThrottleReasons::all()).len(), 9);
}
