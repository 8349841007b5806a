//! What must hold between the files of a recording, and what may not stand in their place.

use super::{LIMITS, write_folder};
use crate::{Limits, Recording};
use drivewam_core::ErrorKind;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A change of a valid folder (2 s, frames each second, poses and ego states each 0.1 s), and the
/// words of the error; without words it must be accepted.
struct Case {
    name: &'static str,
    spoil: fn(&Path),
    limits: Limits,
    words: &'static [&'static str],
}

/// Writes `change` of each line after the first back into `file`; `None` drops the line.
fn rewrite(dir: &Path, file: &str, change: impl Fn(usize, &str) -> Option<String>) {
    let text = fs::read_to_string(dir.join(file)).unwrap();
    let mut lines = text.lines();
    let head = lines.next().unwrap().to_owned();
    let rest = lines.enumerate().filter_map(|(i, line)| change(i, line));
    fs::write(dir.join(file), std::iter::once(head).chain(rest).collect::<Vec<_>>().join("\n") + "\n").unwrap();
}

/// Maps the stamps of a file.
fn restamp(dir: &Path, file: &str, map: fn(i64) -> i64) {
    rewrite(dir, file, |_, line| {
        let (stamp, rest) = line.split_once(',')?;
        Some(format!("{},{rest}", map(stamp.parse().ok()?)))
    });
}

fn restamp_all(dir: &Path, map: fn(i64) -> i64) {
    for file in ["frames.csv", "poses.csv", "ego.csv", "commands.csv"] {
        restamp(dir, file, map);
    }
}

fn replace(dir: &Path, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(dir.join(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    fs::write(dir.join(file), text.replacen(from, to, 1)).unwrap();
}

/// Puts a pipe, or a folder, in the place of a file.
fn pipe(dir: &Path, file: &str) {
    fs::remove_file(dir.join(file)).unwrap();
    assert!(Command::new("mkfifo").arg(dir.join(file)).status().unwrap().success());
}

fn folder(dir: &Path, file: &str) {
    fs::remove_file(dir.join(file)).unwrap();
    fs::create_dir(dir.join(file)).unwrap();
}

/// Breaks when a recording that a ride cannot drive to its end is opened, when one that it can is
/// refused, or when the message does not lead to the file and the line.
#[test]
fn a_recording_is_checked_whole_before_the_ride() {
    let chunk = Limits { min_drive_ns: 4_000_000_000, ..LIMITS };
    let case = |name, spoil, words| Case { name, spoil, limits: LIMITS, words };
    let cases = [
        case("nothing", |_| {}, &[]),
        case(
            "ego ends early",
            |d| rewrite(d, "ego.csv", |i, l| (i < 12).then(|| l.into())),
            &["ego.csv", "line 13", "end before the frames", "2100000000 ns", "3000000000 ns", "150 ms"],
        ),
        case(
            "ego gap",
            |d| rewrite(d, "ego.csv", |i, l| (i != 5).then(|| l.into())),
            &["ego.csv", "line 7", "a gap in the ego states", "0.200 s", "1400000000 to 1600000000", "0.150 s"],
        ),
        case("ego ends just before the last frame", |d| rewrite(d, "ego.csv", |i, l| (i < 20).then(|| l.into())), &[]),
        case(
            "pose gap",
            |d| rewrite(d, "poses.csv", |i, l| (i != 5).then(|| l.into())),
            &["poses.csv", "line 7", "a gap in the poses", "0.200 s"],
        ),
        case("a pose gap of 150.4 ms", |d| replace(d, "poses.csv", "1500000000,", "1550400000,"), &[]),
        case("a pose gap of 150.6 ms", |d| replace(d, "poses.csv", "1500000000,", "1550600000,"), &["poses.csv", "line 7", "0.151 s"]),
        case("stamps in us", |d| restamp_all(d, |ns| ns / 1000), &["frames.csv", "line 2", "not in nanoseconds", "every 1000000 ns"]),
        case("stamps in ms", |d| restamp_all(d, |ns| ns / 1_000_000), &["not in nanoseconds", "every 1000 ns"]),
        case("stamps in us, unix", |d| restamp_all(d, |ns| ns / 1000 + 1_700_000_000_000_000), &["not in nanoseconds"]),
        case("poses in us", |d| restamp(d, "poses.csv", |ns| ns / 1000), &["poses.csv", "not in nanoseconds", "every 100000 ns"]),
        case(
            "frames of another clock",
            |d| restamp(d, "frames.csv", |ns| ns + 1_000_000_000_000),
            &["no frame has a pose", "3 frames from 1001000000000", "21 poses from 1000000000 to 3000000000 ns", "one clock"],
        ),
        case(
            "commands in another unit",
            |d| restamp(d, "commands.csv", |ns| ns * 1_000_000),
            &["commands.csv", "line 3", "another clock or unit", "a day"],
        ),
        case(
            "a command from the beginning",
            |d| {
                restamp_all(d, |ns| ns + 1_700_000_000_000_000_000);
                replace(d, "commands.csv", "1700000001000000000,", "0,");
            },
            &[],
        ),
        Case {
            name: "shorter than a chunk",
            spoil: |_| {},
            limits: chunk,
            words: &["poses.csv", "line 22", "shorter than a chunk", "got 2.000 s", "at least 4.000 s"],
        },
        case(
            "speed",
            |d| replace(d, "ego.csv", "1500000000,5,", "1500000000,151,"),
            &["ego.csv", "line 7", "speed_mps", "got 151", "±150"],
        ),
        case(
            "curvature",
            |d| replace(d, "ego.csv", "1500000000,5,0,0", "1500000000,5,0,-10.5"),
            &["ego.csv", "line 7", "curvature_1pm", "got -10.5", "±10"],
        ),
        case(
            "a place on no earth",
            |d| replace(d, "poses.csv", "1500000000,2.5,0", "1500000000,2.5,2e9"),
            &["poses.csv", "line 7", "y_m", "2000000000"],
        ),
        case(
            "distortion",
            |d| replace(d, "input.yaml", "cy_px: 1.0", "cy_px: 1.0, distortion: {model: opencv, k1: 200}"),
            &["camera.distortion.k1", "got 200", "-100 to 100"],
        ),
        case(
            "a lens of no model",
            |d| replace(d, "input.yaml", "cy_px: 1.0", "cy_px: 1.0, distortion: {model: pinhole}"),
            &["input.yaml", "pinhole", "opencv"],
        ),
        case(
            "a coefficient of another model",
            |d| replace(d, "input.yaml", "cy_px: 1.0", "cy_px: 1.0, distortion: {model: opencv, k4: 1}"),
            &["input.yaml", "k4"],
        ),
        case(
            "yaw in degrees",
            |d| replace(d, "input.yaml", "cy_px: 1.0", "cy_px: 1.0, yaw_rad: 45"),
            &["camera.yaw_rad", "got 45", "3.15 rad"],
        ),
        case("roll", |d| replace(d, "input.yaml", "cy_px: 1.0", "cy_px: 1.0, roll_rad: .nan"), &["camera.roll_rad", "NaN"]),
        case("focal length", |d| replace(d, "input.yaml", "fx_px: 2.0", "fx_px: 1.0e-300"), &["camera.fx_px", "0.1 to 20 times"]),
        case("a header that is a pipe", |d| pipe(d, "input.yaml"), &["input.yaml", "not a plain file", "a pipe"]),
        case("a table that is a pipe", |d| pipe(d, "ego.csv"), &["ego.csv", "not a plain file", "a pipe"]),
        case("a table that is a folder", |d| folder(d, "poses.csv"), &["poses.csv", "not a plain file", "a folder"]),
        case("a picture that is a pipe", |d| pipe(d, "frames/1.png"), &["frames.csv", "line 3", "1.png", "a pipe"]),
        case(
            "a table that is a device",
            |d| {
                fs::remove_file(d.join("ego.csv")).unwrap();
                std::os::unix::fs::symlink("/dev/zero", d.join("ego.csv")).unwrap();
            },
            &["ego.csv", "a device"],
        ),
    ];
    let mut failures = Vec::new();
    for Case { name, spoil, limits, words } in cases {
        let dir = tempfile::tempdir().unwrap();
        write_folder(dir.path());
        spoil(dir.path());
        match Recording::open(dir.path(), limits) {
            Ok(_) if words.is_empty() => {}
            Ok(_) => failures.push(format!("{name}: accepted")),
            Err(error) => {
                let said = error.to_string();
                let is_wanted = !words.is_empty() && error.kind() == ErrorKind::Input && words.iter().all(|word| said.contains(word));
                if !is_wanted {
                    failures.push(format!("{name}: {said}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Breaks when a message repeats the rest of a file, or a parser holds it in memory as one row.
#[test]
fn a_message_repeats_at_most_a_line_of_the_input() {
    let long = "x".repeat(200_000);
    for (name, file, text, words) in [
        (
            "a quote that does not close",
            "frames.csv",
            format!("stamp_ns,file\n1000000000,\"0.png\n{}", "2000000000,1.png\n".repeat(20_000)),
            ["line 2", "quote"],
        ),
        ("a long line", "frames.csv", format!("stamp_ns,file\n1000000000,{long}\n"), ["line 2", "too long"]),
        (
            "a long value",
            "ego.csv",
            format!("stamp_ns,speed_mps,acceleration_mps2,curvature_1pm\n1000000000,{},0,0\n", &long[..8000]),
            ["line 2", "not a finite number"],
        ),
        (
            "a long command",
            "commands.csv",
            format!("stamp_ns,command\n1000000000,{}\n", &long[..8000]),
            ["line 2", "unknown route command"],
        ),
        ("a long column", "poses.csv", format!("stamp_ns,{}\n", &long[..8000]), ["line 1", "missing"]),
        ("a long key", "input.yaml", format!("schema: 1\n{long}: 2\n"), ["input.yaml", "not the header"]),
        ("a long text", "input.yaml", format!("schema: {long}\n"), ["input.yaml", "not the header"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_folder(dir.path());
        fs::write(dir.path().join(file), text).unwrap();
        let said = Recording::open(dir.path(), LIMITS).unwrap_err().to_string();
        assert!(said.len() < 700 && !said.contains('\n') && words.iter().all(|word| said.contains(word)), "{name}: {said}");
    }
}

#[test]
fn every_check_is_a_row_and_a_fault_hides_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path());
    let (recording, checks) = Recording::check(dir.path(), LIMITS);
    assert!(recording.is_some() && checks.iter().all(|check| check.fault.is_none()), "{checks:#?}");
    let row = |name: &str| checks.iter().find(|check| check.check == name).unwrap_or_else(|| panic!("{name}: {checks:#?}"));
    assert_eq!((row("gap in the poses").figure.as_str(), row("gap in the poses").limit.as_str()), ("100 ms", "150 ms"));
    assert_eq!((row("speed_mps").figure.as_str(), row("speed_mps").limit.as_str()), ("5.000 to 5.000", "±150"));
    assert_eq!(row("length of the drive").figure, "2.000 s");
    assert!(!row("speed_mismatch").is_noted && row("speed_mismatch").figure == "none");
    rewrite(dir.path(), "ego.csv", |_, line| Some(line.replacen(",5,", ",18,", 1)));
    let (_, checks) = Recording::check(dir.path(), LIMITS);
    assert!(checks.iter().any(|check| check.check == "speed_mismatch" && check.is_noted), "{checks:#?}");
    fs::remove_file(dir.path().join("poses.csv")).unwrap();
    replace(dir.path(), "commands.csv", "straight", "up");
    let (recording, checks) = Recording::check(dir.path(), LIMITS);
    let faults: Vec<&str> = checks.iter().filter(|check| check.fault.is_some()).map(|check| check.file.as_str()).collect();
    assert!(recording.is_none() && faults == ["poses.csv", "commands.csv"], "{faults:?}");
}
