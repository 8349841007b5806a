//! What a drive says of itself: who drove, how many windows, controls, and where it was lost.

use super::lab::{Lab, drivewam, stderr};
use serde_json::Value;

/// Breaks when a control is driven with the true pictures, or over other windows.
#[test]
fn controls_stand_beside_the_true_pictures_and_the_baseline() {
    let lab = Lab::new();
    let done = lab.drive(&["--controls", "--phases", "--overlays", "0"]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}", stderr(&done));
    for line in ["policy  ", "policy, grey pictures", "policy, mirrored pictures", "policy, black pictures", "constant velocity and yaw"] {
        assert!(text.lines().any(|row| row.starts_with(line) && row.ends_with(" 5")), "{line} over 5 windows is missing in:\n{text}");
    }
    assert!(text.contains("driver        whoever drove the recording"), "{text}");
    let summary: Value = serde_json::from_str(&lab.read("out/summary.json")).unwrap();
    let errors = &summary["errors_m"];
    let of = |error: &Value| error["ade_4s"].as_f64().unwrap();
    let all =
        [of(&errors["policy"]), of(&errors["controls"]["grey"]), of(&errors["controls"]["mirrored"]), of(&errors["controls"]["black"])];
    // In these eight seconds a light changes that no plan can foresee, so that going on (grey) errs
    // less than braking does.
    assert!(all[2] > all[0] && all[3] > all[0] && all[1] != all[0], "policy, grey, mirrored, black: {all:?}");
    assert_eq!(lab.read("out/trajectories.jsonl").lines().count(), 5, "controls write no rows");
}

/// Breaks when one rollout says n = 1 and not why.
#[test]
fn a_drive_that_evaluates_few_windows_says_which_option_evaluates_all() {
    let lab = Lab::new();
    let text = String::from_utf8_lossy(&lab.drive(&["--overlays", "0"]).stdout).into_owned();
    assert!(text.contains("n counts windows: a plan every 4 s has 1; --phases evaluates all 5"), "{text}");
    let text = String::from_utf8_lossy(&lab.drive(&["--overlays", "0", "--phases"]).stdout).into_owned();
    assert!(!text.contains("n counts windows"), "{text}");
}

/// Breaks when a closed loop far from its road goes on to its last second.
#[test]
fn a_drive_that_is_lost_ends_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("drive");
    // One rollout that plans every 4 s leaves the road for good within these seconds in most
    // worlds, unless a monitor stops it.
    let sets = ["--set", "lanes.count=1", "--set", "guard.monitors=report"];
    let drive = |seed: &str| {
        let args = ["--seed", seed, "--seconds", "600", "--overlays", "0", "--out", out.to_str().unwrap()];
        let done = drivewam(&[&["drive"], &sets[..], &args].concat());
        assert!(done.status.success(), "{}", stderr(&done));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let text = ["0", "2", "4", "6", "8", "10"].into_iter().map(drive).find(|text| text.contains("LOST       the car was"));
    assert!(text.expect("a drive is lost").contains("driver        the policy"));
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    let lost = &summary["closed_loop"]["lost"];
    assert!(lost["off_road_m"].as_f64().unwrap() >= 30.0 && lost["stamp_ns"].as_i64().unwrap() < 600_000_000_000, "{summary}");
    assert_eq!((&summary["partial"], &summary["driver"]), (&false.into(), &"policy".into()));
}

/// A container's volume. Breaks when it is found out after the drive that a mount point cannot be
/// renamed.
#[test]
fn a_mount_point_is_filled_and_filled_again() {
    let dir = tempfile::tempdir().unwrap();
    let [volume, mounted] = ["volume", "mounted"].map(|name| dir.path().join(name));
    std::fs::create_dir(&volume).unwrap();
    std::fs::create_dir(&mounted).unwrap();
    let script = format!(
        "mount --bind {volume:?} {mounted:?} || exit 77; exec {:?} drive --expert --seconds 5 --overlays 1 --out {mounted:?}",
        env!("CARGO_BIN_EXE_drivewam")
    );
    for run in ["a", "b"] {
        let done = std::process::Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", &script]).output().unwrap();
        if [Some(1), Some(77)].contains(&done.status.code()) && !stderr(&done).contains("drivewam") {
            println!("skipped: this machine lets no test mount: {}", stderr(&done).trim());
            return;
        }
        assert!(done.status.success(), "{run}: {}", stderr(&done));
        assert_eq!(stderr(&done).contains("holds a drive of 2 chunks"), run == "b", "{}", stderr(&done));
        let mut names: Vec<_> = std::fs::read_dir(&volume).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["latency.png", "memory.png", "overlay", "path.png", "summary.json", "trajectories.jsonl"], "{run}");
    }
}
