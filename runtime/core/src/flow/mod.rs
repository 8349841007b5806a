//! Flow matching: when steps are taken ([`schedule`]) and how ([`solver`]).
//!
//! One direction of time, everywhere: flow time τ = 1 is noise, τ = 0 is data. x_τ = (1 − τ)·x + τ·ε, and an engine yields the velocity
//! v = ε − x (paper section 3.1).

pub mod schedule;
pub mod solver;

#[cfg(test)]
mod tests;
