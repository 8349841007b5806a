//! Test suites across crates. Here are those that other crates can run on their own device or
//! engine, and shared fixtures; the other suites are in `tests/tests`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

pub mod broken;
pub mod cases;
pub mod config_docs;
pub mod conformance;
pub mod documented;
pub mod drive;
pub mod fake_engines;
pub mod fakes;
pub mod nvtx_listener;
pub mod paper;
pub mod signing;
