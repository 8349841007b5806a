//! The program as a person runs it, with the builder of TensorRT-RTX that `make setup` installs: it needs no GPU.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_input;
mod builds;
mod lab;
mod real_libraries;
