//! The range of time stamps.

use crate::error::{Error, ErrorKind, Result};

/// The largest accepted stamp, ns: the year 2043 of the Unix epoch. Sums of a few stamps and chunk
/// lengths stay below `i64::MAX`.
pub const LAST_STAMP_NS: i64 = i64::MAX / 4;

/// Checks that arithmetic on `stamp_ns` cannot overflow.
///
/// # Errors
/// `Input` when the stamp is below 0 or above [`LAST_STAMP_NS`].
pub fn check_stamp(stamp_ns: i64) -> Result<()> {
    if (0..=LAST_STAMP_NS).contains(&stamp_ns) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Input, "a stamp is out of range").got(format!("{stamp_ns} ns")).wanted(format!("0 to {LAST_STAMP_NS} ns")))
}
