//! Flow matching: at which flow times steps are taken ([`schedule`]), and how a step is computed
//! ([`solver`]).
//!
//! Flow time has one direction everywhere: τ = 1 is noise and τ = 0 is data. A sample is
//! x_τ = (1 − τ)·x + τ·ε, and an engine predicts the velocity v = ε − x (paper section 3.1).

pub mod schedule;
pub mod solver;

#[cfg(test)]
mod tests;
