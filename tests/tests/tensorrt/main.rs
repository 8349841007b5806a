//! Rides on TensorRT and TensorRT-RTX without a GPU, with fake driver and runtime libraries: makes
//! every call of the shim.
//!
//! Libraries and faults belong to a process, so every case runs this program again; environment
//! variables select the case and the machine.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failed unwrap is a failed test, and this is its program")]

mod faults;
mod machines;
mod ride;

use drivewam_core::manifest::Family;
use drivewam_tests::fakes;
use std::path::PathBuf;
use std::process::Command;

/// Environment variable that selects the case of a child process.
const CASE: &str = "DRIVEWAM_TEST_CASE";
/// Environment variable with the folder of the fakes: kernels and libraries.
const FAKES: &str = "DRIVEWAM_TEST_FAKES";

/// The folder of the fakes.
fn home() -> PathBuf {
    std::env::var_os(FAKES).unwrap().into()
}

/// The fake runtime of a family.
fn library(family: Family) -> PathBuf {
    home().join(match family {
        Family::Tensorrt => "libnvinfer.so.11",
        Family::TensorrtRtx => "libtensorrt_rtx.so.1",
    })
}

/// A case: name, environment of the fakes, and test function.
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
    fakes::kernels(&temp.path().join("kernels"));
    fakes::driver(temp.path());
    for family in [Family::Tensorrt, Family::TensorrtRtx] {
        fakes::runtime(temp.path(), family);
    }
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-')).unwrap_or_default();
    let mut failed = Vec::new();
    for case in cases().filter(|case| case.name.contains(&only)) {
        let done = Command::new(std::env::current_exe().unwrap())
            .env("LD_LIBRARY_PATH", temp.path())
            .env(CASE, case.name)
            .env(FAKES, temp.path())
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
