//! JSON files, the check that stamps increase, and where a row stands.

use drivewam_core::excerpt::one_line;
use drivewam_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The kind of every error of a recording.
pub(crate) const KIND: ErrorKind = ErrorKind::Input;
/// Size limit of a text file: days of poses at 100 Hz.
pub(crate) const MAX_TEXT_BYTES: u64 = 1 << 30;
/// Size limit of a header.
pub(crate) const MAX_HEADER_BYTES: u64 = 1 << 20;

/// An `Input` error at a file.
pub(crate) fn bad(path: &Path, what: impl Into<String>) -> Error {
    Error::new(KIND, what).at(format!("{path:?}"))
}

/// Reads a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = drivewam_files::read(path, MAX_TEXT_BYTES, KIND)?;
    serde_json::from_slice(&bytes).map_err(|e| bad(path, "the JSON does not have the expected form").caused_by(one_line(e)))
}

/// Checks that `stamp_ns` is later than the stamp `before` it.
pub(crate) fn check_increasing(before: Option<i64>, stamp_ns: i64) -> Result<()> {
    let fail = |what: &str, before: i64| Err(Error::new(KIND, what).got(stamp_ns).wanted(format!("above {before}")));
    match before {
        Some(before) if stamp_ns == before => fail("the stamp repeats", before),
        Some(before) if stamp_ns < before => fail("the stamp goes back", before),
        _ => Ok(()),
    }
}

/// The stamps of a file, and where each stands in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct StampColumn {
    pub(crate) path: PathBuf,
    /// Nanoseconds, increasing.
    pub(crate) stamps: Vec<i64>,
    /// The line of each stamp; empty for a list of JSON, whose entries count from 0.
    pub(crate) lines: Vec<u64>,
}

impl StampColumn {
    /// An error at row `index`.
    pub(crate) fn bad(&self, index: usize, what: &str) -> Error {
        let place = match self.lines.get(index) {
            Some(line) => format!("line {line}"),
            None => format!("entry {index}"),
        };
        Error::new(KIND, what).at(place).at(format!("{:?}", self.path))
    }

    /// The file's own name.
    pub(crate) fn file(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}
