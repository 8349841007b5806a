//! Flow matching: the flow times of the steps ([`schedule`]), and the integrators ([`solver`]).
//!
//! Flow time runs in one direction everywhere: τ = 1 is noise, τ = 0 is data. x_τ = (1 − τ)·x +
//! τ·ε, and an engine returns the velocity v = ε − x (paper section 3.1).

pub mod schedule;
pub mod solver;

#[cfg(test)]
mod tests;
