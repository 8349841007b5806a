//! Runs the program with the TensorRT-RTX builder that `make setup` installs, which needs no GPU.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_input;
mod builds;
mod real_libraries;
mod support;
