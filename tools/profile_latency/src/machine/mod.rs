//! The measured machine: its hardware and state for the head of a report, and its power.
//!
//! Everything is read from kernel files and NVIDIA's library, without privileges; nothing is
//! changed and no program is run. Missing groups of values are listed in `absent`, files that exist
//! but cannot be read in `unreadable`.

mod changed;
mod contention;
mod cpu;
mod gpu;
mod host;
mod jetson;
mod load;
mod power;
mod rails;
mod show;
mod state;
mod tally;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use changed::changed;
pub(crate) use contention::{contention_json, contention_lines};
pub(crate) use power::{Meter, PERIOD, Source};
pub(crate) use show::lines;
pub(crate) use state::Machine;
pub(crate) use tally::PowerReport;
