//! Power rails of recorded monitors.

use super::trees::{self, Recorded};
use crate::machine::rails::Rails;

const MONITOR: &str = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3";

/// Names, power in mW, and the total.
fn read(tree: &Recorded) -> (Vec<String>, Vec<f64>, f64) {
    let rails = Rails::find(tree.root()).unwrap();
    let mut milliwatts = vec![0.0; rails.len()];
    rails.read(&mut milliwatts).unwrap();
    let total = rails.total(&milliwatts);
    (rails.names().map(str::to_owned).collect(), milliwatts, total)
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} {b}");
}

/// Breaks if one of two monitors is not read, a shunt, a sum or `NC` counts as a rail, or the
/// memory rail counts twice.
#[test]
fn an_agx_orin_has_four_rails_and_a_total_of_three() {
    let (names, milliwatts, total) = read(&trees::orin_agx());
    assert_eq!(names, ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]);
    for (power, expected) in milliwatts.iter().zip([3197.44, 799.36, 4411.584, 506.736]) {
        close(*power, expected);
    }
    close(total, 3197.44 + 799.36 + 4411.584);
}

/// Breaks if rails behind the input rail are added to it.
#[test]
fn the_input_is_the_total_where_it_is_measured() {
    let (names, milliwatts, total) = read(&trees::orin_nx());
    assert_eq!(names, ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]);
    close(total, 4.984 * 1856.0);
    close(total, milliwatts[0]);
}

/// Breaks if Thor's input monitor is not found, is read in another unit, or a negative offset is
/// refused.
#[test]
fn a_thor_has_its_input_from_another_monitor_and_a_negative_offset() {
    let (names, milliwatts, total) = read(&trees::thor());
    assert_eq!(names, ["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VIN"]);
    close(milliwatts[0], -392.0);
    close(total, 23_040.0);
}

/// Breaks if the six rails of an AGX Xavier do not add up.
#[test]
fn an_agx_xavier_is_the_sum_of_six() {
    let tree = Recorded::new();
    for (device, labels) in [("1-0040/hwmon/hwmon3", ["GPU", "CPU", "SOC"]), ("1-0041/hwmon/hwmon4", ["CV", "VDDRQ", "SYS5V"])] {
        for (channel, label) in (1..).zip(labels) {
            tree.channel(&format!("sys/bus/i2c/drivers/ina3221/{device}"), channel, label, 19_000, 100);
        }
    }
    let (names, _, total) = read(&tree);
    assert_eq!(names, ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]);
    close(total, 6.0 * 1900.0);
}

/// Breaks if monitors that only the list of all monitors shows are not found, or other monitors of
/// that list count as rails.
#[test]
fn monitors_are_found_without_their_driver() {
    let tree = Recorded::new();
    tree.put("sys/class/hwmon/hwmon5/name", "ina3221\n").channel("sys/class/hwmon/hwmon5", 1, "VDD_IN", 5000, 1000);
    tree.put("sys/class/hwmon/hwmon0/name", "nct6775\n").channel("sys/class/hwmon/hwmon0", 1, "Vcore", 1000, 1000);
    let (names, _, total) = read(&tree);
    assert_eq!((names, total), (vec!["VDD_IN".to_owned()], 5000.0));
}

/// Breaks if a channel that measures nothing becomes a rail.
#[test]
fn a_channel_without_label_current_or_use_is_no_rail() {
    let tree = trees::orin_agx();
    tree.remove(&format!("{MONITOR}/in1_label"));
    tree.remove(&format!("{MONITOR}/curr2_input"));
    tree.put(&format!("{MONITOR}/in3_enable"), "0\n");
    assert_eq!(read(&tree).0, ["VDDQ_VDD2_1V8AO"]);
    tree.put("sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon4/in2_label", "nc\n");
    assert!(Rails::find(tree.root()).is_none());
}

/// Breaks if a server's monitor counts as a Jetson's input, or a machine without monitors gets
/// rails.
#[test]
fn other_machines_have_no_rails() {
    assert!(Rails::find(trees::laptop().root()).is_none());
    let server = trees::vm();
    server.put("sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon4/power1_input", "23040000\n");
    assert!(Rails::find(server.root()).is_none());
}

/// Breaks if a failed rail counts as 0 W, hides the others, leaves a valid-looking total, or stays
/// lost when it is readable again.
#[test]
fn a_rail_that_fails_is_named_and_makes_the_total_unknown() {
    struct Case {
        content: Option<&'static str>,
        error: &'static str,
    }
    let cases = [
        Case { content: None, error: "not a file" },
        Case { content: Some(""), error: "empty string" },
        Case { content: Some("4 mA\n"), error: "invalid digit" },
        Case { content: Some("\u{fffd}\n"), error: "invalid digit" },
        Case { content: Some("99999999999999999999\n"), error: "too large" },
        Case { content: Some("1000001\n"), error: "out of range" },
        Case { content: Some("-9223372036854775808\n"), error: "out of range" },
        Case { content: Some("0000000000000000000000000000000000000000000000000000000000000007\n"), error: "longer than" },
    ];
    let mut failed = Vec::new();
    for Case { content, error: wanted } in cases {
        let tree = trees::orin_agx();
        let rails = Rails::find(tree.root()).unwrap();
        let path = format!("{MONITOR}/curr2_input");
        match content {
            Some(content) => tree.put(&path, content),
            None => tree.block(&path),
        };
        let mut milliwatts = vec![0.0; 4];
        let error = rails.read(&mut milliwatts).unwrap_err().to_string();
        let known: Vec<bool> = milliwatts.iter().map(|power| power.is_finite()).collect();
        let is_reported = error.starts_with("VDD_CPU_CV: ") && error.contains(&path) && error.contains(wanted);
        if !is_reported || known != [true, false, true, true] || !rails.total(&milliwatts).is_nan() {
            failed.push((wanted, error, milliwatts));
            continue;
        }
        if content.is_none() {
            tree.remove(&path);
        }
        tree.put(&path, "50\n");
        rails.read(&mut milliwatts).unwrap();
        close(milliwatts[1], 999.2);
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Breaks if the number of rails or the length of a label is unbounded.
#[test]
fn rails_and_their_names_are_bounded() {
    let tree = Recorded::new();
    for device in 0..40 {
        let label = format!("RAIL {device}\u{7}{}", "x".repeat(1000));
        tree.channel(&format!("sys/bus/i2c/drivers/ina3221/1-{device}/hwmon/hwmon{device}"), 1, &label, 1000, 1000);
    }
    let (names, _, total) = read(&tree);
    assert_eq!((names.len(), total), (16, 16_000.0));
    assert!(names.iter().all(|name| name.chars().count() <= 161 && !name.contains(|c: char| c.is_whitespace() || c.is_control())));
}
