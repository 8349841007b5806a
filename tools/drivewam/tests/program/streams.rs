//! Standard streams that cannot be written, and signals.

use super::lab::{drivewam, stderr};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drivewam"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(command: &mut Command) -> Output {
    command.spawn().unwrap().wait_with_output().unwrap()
}

/// Breaks when a result that was not printed passes as success.
#[test]
fn a_full_standard_output_is_an_error_of_every_command_that_prints_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (world, study, out) = (path("world"), path("study"), path("drive"));
    for args in [
        vec!["--help"],
        vec!["--version"],
        vec!["drive", "--help"],
        vec!["drive", "--seconds", "2", "--overlays", "0", "--json", "--out", &out],
        vec!["drive", "--seconds", "2", "--overlays", "0", "--out", &out],
        vec!["plan"],
        vec!["plan", "--json"],
        vec!["inspect", "--json"],
        vec!["check", &world],
        vec!["world", "--seeds", "0..1", "--seconds", "1", "--camera-hz", "1", "--out", &world],
        vec!["study", "table5", "--chunks", "4", "--out", &study],
        vec!["bench", "--selection"],
    ] {
        let done = run(program(&args).stdout(full()));
        assert_eq!(done.status.code(), Some(1), "{args:?}: {}", stderr(&done));
        assert!(stderr(&done).contains("standard output"), "{args:?}: {}", stderr(&done));
    }
    assert!(Path::new(&out).join("summary.json").exists(), "the drive itself is whole");
}

/// Breaks when a remark is printed with `eprintln!`, which panics.
#[test]
fn a_full_or_closed_standard_error_ends_no_drive() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("drive").display().to_string();
    // The second drive has something to remark: it replaces the first.
    for is_full in [false, true, false] {
        let mut command = program(&["drive", "--seconds", "2", "--overlays", "0", "--out", &out]);
        let done = if is_full {
            run(command.stderr(full()))
        } else {
            let mut child = command.spawn().unwrap();
            drop(child.stderr.take());
            child.wait_with_output().unwrap()
        };
        assert_eq!(done.status.code(), Some(0), "full: {is_full}");
    }
    let done = run(program(&["drive", "--input", "/nowhere"]).stderr(full()));
    assert_eq!(done.status.code(), Some(1));
}

/// The partial folder of a drive into `dir/drive`, once it has a row.
fn partial_with_a_row(dir: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut partial = folders.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("drive.partial-"));
    partial.find(|folder| fs::metadata(folder.join("trajectories.jsonl")).is_ok_and(|file| file.len() > 0))
}

/// Breaks when a signal kills the process in the middle of a file, or leaves the partial folder.
#[test]
fn a_signal_finishes_the_chunk_writes_a_whole_folder_and_exits_with_130() {
    for signal in ["INT", "TERM", "HUP"] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("drive");
        // `env` (GNU) undoes what `nohup` does to this test: an ignored hangup would stay ignored.
        let drive = [env!("CARGO_BIN_EXE_drivewam"), "drive", "--seconds", "86400", "--overlays", "1", "--json", "--out"];
        let mut command = Command::new("env");
        command.arg("--default-signal=INT,TERM,HUP").args(drive).arg(&out);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        for _ in 0..600 {
            if partial_with_a_row(dir.path()).is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
        let code = child.wait().unwrap().code();
        let done = child.wait_with_output().unwrap();
        assert_eq!(code, Some(130), "{signal}: {}", stderr(&done));
        let summary: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&summary["interrupted"], &summary["partial"], &summary["error"]), (&true.into(), &true.into(), &Value::Null));
        let rows = fs::read_to_string(out.join("trajectories.jsonl")).unwrap().lines().count();
        assert_eq!(rows as u64, summary["chunks"].as_u64().unwrap());
        assert!(out.join("path.png").exists() && stderr(&done).contains("interrupted"), "{}", stderr(&done));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{signal}");
    }
}

/// Breaks when the end of a terminal ends a drive that was started with `nohup`.
#[test]
fn a_hangup_that_the_caller_ignores_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("drive");
    let script =
        format!("trap '' HUP; exec {:?} drive --expert --seconds 40 --overlays 0 --json --out {out:?}", env!("CARGO_BIN_EXE_drivewam"));
    let child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..600 {
        if partial_with_a_row(dir.path()).is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let sent = Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(sent.success(), "the drive was over before the signal");
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let summary: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&summary["interrupted"], &summary["chunks"]), (&false.into(), &10.into()));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    assert_eq!(drivewam(&["drive", "--no-such-option"]).status.code(), Some(2));
    assert_eq!(drivewam(&["--help"]).status.code(), Some(0));
}
