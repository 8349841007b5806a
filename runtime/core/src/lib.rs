//! The words and the arithmetic of DriveWAM Edge.
//!
//! Enters: numbers, names and text that somebody else has read. Leaves: sizes, plans, schedules, noise, scores, trajectories and
//! errors that say what is wrong. Never: files, threads, `unsafe`, or a device.

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
pub mod trajectory;

pub use error::{Error, ErrorKind, Result};

#[cfg(test)]
mod tests;
