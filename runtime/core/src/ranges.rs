//! The ranges of configuration keys. `docs/config.md` is generated from the calls of these
//! functions, so a call names its key as a literal, and its bounds as numbers where it can.

use crate::error::{Error, ErrorKind, Result};

/// The refusal of the value `got` of `key`.
pub(crate) fn bad(key: &str, got: impl std::fmt::Display, wanted: &str) -> Error {
    Error::new(ErrorKind::Config, "out of range").at(key).got(got).wanted(wanted)
}

/// `value` must be `low` to `high`.
pub(crate) fn within(key: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(bad(key, value, &format!("{low} to {high}")))
}

/// `value` must be `low` to `high`.
pub(crate) fn between(key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(bad(key, value, &format!("{low} to {high}")))
}

/// `value` must be above 0, and at most `high`.
pub(crate) fn positive(key: &str, value: f64, high: f64) -> Result<()> {
    if value > 0.0 && value <= high {
        return Ok(());
    }
    Err(bad(key, value, &format!("a number above 0, at most {high}")))
}

/// `value` must be above `low`, and finite.
pub(crate) fn above(key: &str, value: f64, low: f64) -> Result<()> {
    if value > low && value.is_finite() {
        return Ok(());
    }
    Err(bad(key, value, &format!("a number above {low}")))
}

/// `value` must be above `low` and below `high`.
pub(crate) fn inside(key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if value > low && value < high {
        return Ok(());
    }
    Err(bad(key, value, &format!("a number above {low}, below {high}")))
}
