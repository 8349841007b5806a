//! Suites that cross crates. Those that another crate may want to run on its own device or engine are here; the others stand in `tests/tests`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

pub mod broken;
pub mod config_docs;
pub mod conformance;
pub mod doubles;
pub mod drawn;
pub mod fake_engines;
pub mod listener;
pub mod paper;
pub mod signing;
