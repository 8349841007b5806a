//! Types and arithmetic that all crates of DriveWAM Edge share.
//!
//! Shapes and tensor signatures, the arena's plan, configuration and manifest, schedules and
//! solvers, noise, rotary tables, memory selection, trajectories, errors. Everything is computed
//! from values that the caller passes: this crate opens no file, starts no thread, uses no device
//! and has no `unsafe`.

#![forbid(unsafe_code)]

pub mod action;
pub mod arena;
pub mod bindings;
pub mod config;
pub mod cost;
pub mod dims;
pub mod dtype;
pub mod ego;
pub mod error;
pub mod flow;
pub mod guidance;
pub mod manifest;
pub mod noise;
pub mod pose;
pub mod rope;
pub mod selection;
pub mod stamp;
pub mod tensor;
pub mod trajectory;

pub use error::{Error, ErrorKind, Result};

#[cfg(test)]
mod tests;
