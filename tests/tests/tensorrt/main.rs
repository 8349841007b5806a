//! Rides on TensorRT and TensorRT-RTX without a GPU: a driver library and runtime libraries of ours in the place of the vendor's, every call of the shim made.
//!
//! Libraries and faults belong to a process, so every case is this program again, told by the environment what to do and what its machine is like.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failed unwrap is a failed test, and this is its program")]

mod faults;
mod machines;
mod ride;

use drivewam_core::manifest::Family;
use drivewam_tests::doubles;
use std::path::PathBuf;
use std::process::Command;

/// Says which case a child is.
const CASE: &str = "DRIVEWAM_TEST_CASE";
/// Where a child finds kernels and libraries.
const DOUBLES: &str = "DRIVEWAM_TEST_DOUBLES";

/// Where the doubles are.
fn home() -> PathBuf {
    std::env::var_os(DOUBLES).unwrap().into()
}

/// The fake of a family's runtime.
fn library(family: Family) -> PathBuf {
    home().join(match family {
        Family::Tensorrt => "libnvinfer.so.11",
        Family::TensorrtRtx => "libtensorrt_rtx.so.1",
    })
}

/// A case: its name, what the machine is like, what it does.
struct Case {
    name: &'static str,
    machine: &'static [(&'static str, &'static str)],
    body: fn(),
}

fn main() {
    let cases = || ride::CASES.iter().chain(&faults::CASES).chain(&machines::CASES);
    if let Ok(case) = std::env::var(CASE) {
        return (cases().find(|c| c.name == case).unwrap().body)();
    }
    let temp = tempfile::tempdir().unwrap();
    doubles::kernels(&temp.path().join("kernels"));
    doubles::driver(temp.path());
    for family in [Family::Tensorrt, Family::TensorrtRtx] {
        doubles::runtime(temp.path(), family);
    }
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-')).unwrap_or_default();
    let mut failed = Vec::new();
    for case in cases().filter(|case| case.name.contains(&only)) {
        let done = Command::new(std::env::current_exe().unwrap())
            .env("LD_LIBRARY_PATH", temp.path())
            .env(CASE, case.name)
            .env(DOUBLES, temp.path())
            .envs(case.machine.iter().copied())
            .output()
            .unwrap();
        println!("{}: {}", case.name, if done.status.success() { "ok" } else { "FAILED" });
        print!("{}", String::from_utf8_lossy(&done.stdout));
        if !done.status.success() {
            println!("{}", String::from_utf8_lossy(&done.stderr));
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
