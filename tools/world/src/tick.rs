//! The world's step in time.

/// One tick of the world, seconds.
pub const TICK_S: f64 = 0.1;
/// One tick of the world, nanoseconds.
pub const TICK_NS: i64 = 100_000_000;
/// Ticks of a plan and of the advice in a caption: the policy's 4 s.
pub(crate) const PLAN_TICKS: usize = 40;
/// Length of the policy's chunks, seconds. Long stops end shortly before a multiple of it.
pub(crate) const CHUNK_S: f64 = 4.0;
