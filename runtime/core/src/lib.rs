//! The arithmetic and the data types of DriveWAM Edge.
//!
//! This crate takes numbers, names and text that its callers have read. It computes sizes, memory
//! plans, schedules, noise, scores and trajectories, and reports errors that say what is wrong. It
//! opens no files, starts no threads, uses no device and has no `unsafe` code.

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
pub mod excerpt;
pub mod flow;
pub mod guidance;
pub mod intrinsics;
pub mod manifest;
pub mod motion;
pub mod noise;
pub mod pose;
mod ranges;
pub mod rope;
pub mod selection;
pub mod stamp;
pub mod tensor;
pub mod trajectory;

pub use error::{Error, ErrorKind, Result};

#[cfg(test)]
mod tests;
