//! Runs the program with the TensorRT-RTX builder that `make setup` installs, which needs no GPU.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_input;
mod builds;
mod real_libraries;
mod support;

#[path = "../../../../tests/src/documented.rs"]
mod documented;

/// Breaks when a document shows a command that the program does not have.
#[test]
fn the_documented_commands_are_understood() {
    documented::assert_parsed(&support::root(), "drivewam-build-engines", env!("CARGO_BIN_EXE_build_engines"));
}
