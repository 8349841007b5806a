//! The range of time stamps, and the comparison of times with limits in milliseconds.

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

/// `time_ns` rounded to milliseconds.
pub fn rounded_ms(time_ns: i64) -> i64 {
    time_ns.saturating_add(500_000).div_euclid(1_000_000)
}

/// Whether `time_ns`, rounded to milliseconds, exceeds `limit_ms`. Stamps of logs are often rounded
/// themselves, so that a gap of exactly the limit comes out a little longer.
pub fn exceeds_ms(time_ns: i64, limit_ms: u32) -> bool {
    rounded_ms(time_ns) > i64::from(limit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_the_limit_after_rounding_does_not_exceed_it() {
        for (time_ns, exceeds) in [(150_000_000, false), (150_000_238, false), (150_499_999, false), (150_500_000, true), (i64::MAX, true)]
        {
            assert_eq!(exceeds_ms(time_ns, 150), exceeds, "{time_ns}");
        }
    }
}
