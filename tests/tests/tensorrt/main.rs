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
use drivewam_tests::cases::{self, Case};
use drivewam_tests::fakes;
use std::path::PathBuf;

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

fn main() {
    let cases = || ride::CASES.iter().chain(&faults::CASES).chain(&machines::CASES);
    if cases::run_in_child(cases()) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    fakes::kernels(&temp.path().join("kernels"));
    fakes::driver(temp.path());
    for family in [Family::Tensorrt, Family::TensorrtRtx] {
        fakes::runtime(temp.path(), family);
    }
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-')).unwrap_or_default();
    let selected: Vec<&Case> = cases().filter(|case| case.name.contains(&only)).collect();
    cases::run_all(&selected, temp.path(), &[(FAKES, temp.path())]);
}
