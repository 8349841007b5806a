//! Bounded reading of files, JSON, and the check that stamps increase.

use drivewam_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Size limit of a text file: days of poses at 100 Hz.
pub(crate) const MAX_TEXT_BYTES: u64 = 1 << 30;
/// Size limit of a header.
pub(crate) const MAX_HEADER_BYTES: u64 = 1 << 20;

/// An `Input` error at a file.
pub(crate) fn bad(path: &Path, what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Input, what).at(format!("{path:?}"))
}

/// Reads the whole file.
///
/// # Errors
/// `Input` if the file is missing, unreadable, or longer than `max_bytes`.
pub(crate) fn read_bounded(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let fail = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => bad(path, "the file is missing"),
        _ => bad(path, "cannot read the file").caused_by(e),
    };
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max_bytes {
        return Err(bad(path, "the file is too long").got(format!("more than {max_bytes} bytes")).wanted(format!("at most {max_bytes}")));
    }
    Ok(bytes)
}

/// Reads a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bounded(path, MAX_TEXT_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|e| bad(path, "the JSON does not have the expected form").caused_by(e))
}

/// Checks that `stamp_ns` is later than the stamp `before` it.
pub(crate) fn check_increasing(before: Option<i64>, stamp_ns: i64) -> Result<()> {
    let fail = |what: &str, before: i64| Err(Error::new(ErrorKind::Input, what).got(stamp_ns).wanted(format!("above {before}")));
    match before {
        Some(before) if stamp_ns == before => fail("the stamp repeats", before),
        Some(before) if stamp_ns < before => fail("the stamp goes back", before),
        _ => Ok(()),
    }
}
