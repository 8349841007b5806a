//! Capture stamps: int64 nanoseconds of one clock, never negative.

use crate::{Error, ErrorKind, Result};

/// Largest stamp that is taken: the year 2043 of the Unix epoch, and far enough from an overflow to
/// add chunks to.
pub const LAST_STAMP_NS: i64 = i64::MAX / 4;

/// Refuses a stamp that arithmetic on times could overflow with.
///
/// # Errors
/// `Input` below 0 or above [`LAST_STAMP_NS`].
pub fn check_stamp(stamp_ns: i64) -> Result<()> {
    if (0..=LAST_STAMP_NS).contains(&stamp_ns) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Input, "a stamp is out of range").got(format!("{stamp_ns} ns")).wanted(format!("0 to {LAST_STAMP_NS} ns")))
}
