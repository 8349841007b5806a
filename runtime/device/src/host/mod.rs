//! The host as a device: one arena, SIMD, a few threads.

pub mod arena;

pub use arena::{HostArena, Lease, Lent};
