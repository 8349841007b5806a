//! Files of a recording: bounded reading, tables of stamped rows, JSON.

use drivewam_core::stamp::check_stamp;
use drivewam_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest text file that is read: days of poses at 100 Hz.
pub(super) const MAX_TEXT_BYTES: u64 = 1 << 30;
/// Longest header.
pub(super) const MAX_HEADER_BYTES: u64 = 1 << 20;

/// An `Input` error about a file.
pub(super) fn bad(path: &Path, what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Input, what).at(format!("{path:?}"))
}

/// The whole file, unless it is longer than `max_bytes`.
pub(super) fn read_bounded(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let fail = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => bad(path, "the file is missing"),
        _ => bad(path, "the file cannot be read").caused_by(e),
    };
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max_bytes {
        return Err(bad(path, "the file is too long").got(format!("more than {max_bytes} bytes")).wanted(format!("at most {max_bytes}")));
    }
    Ok(bytes)
}

/// A JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bounded(path, MAX_TEXT_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|e| bad(path, "not the JSON that was expected").caused_by(e))
}

/// Proves that `stamp_ns` is later than the one before.
pub(super) fn check_rising(before: Option<i64>, stamp_ns: i64) -> Result<()> {
    match before {
        Some(before) if stamp_ns == before => {
            Err(Error::new(ErrorKind::Input, "a stamp twice").got(stamp_ns).wanted(format!("above {before}")))
        }
        Some(before) if stamp_ns < before => {
            Err(Error::new(ErrorKind::Input, "a stamp that goes back").got(stamp_ns).wanted(format!("above {before}")))
        }
        _ => Ok(()),
    }
}

/// One row of a table.
pub(super) struct CsvRow<'a> {
    record: &'a csv::StringRecord,
    header: &'a csv::StringRecord,
}

impl CsvRow<'_> {
    /// The text of `column`.
    pub(super) fn text(&self, column: &str) -> Result<&str> {
        let index = self.header.iter().position(|name| name == column);
        index
            .and_then(|i| self.record.get(i))
            .ok_or_else(|| Error::new(ErrorKind::Input, "no such column").at(format!("column {column:?}")))
    }

    /// The finite number of `column`.
    pub(super) fn number(&self, column: &str) -> Result<f64> {
        let text = self.text(column)?;
        text.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| {
            Error::new(ErrorKind::Input, "not a finite number")
                .at(format!("column {column:?}"))
                .got(format!("{text:?}"))
                .wanted("a finite number")
        })
    }

    /// The whole number of `column`.
    pub(super) fn whole<T: std::str::FromStr>(&self, column: &str) -> Result<T> {
        let text = self.text(column)?;
        text.parse::<T>().map_err(|_not_one| {
            Error::new(ErrorKind::Input, "not a whole number")
                .at(format!("column {column:?}"))
                .got(format!("{text:?}"))
                .wanted("a whole number")
        })
    }
}

/// Reads a CSV whose first line names exactly `stamp_ns` and `columns`, in any order, with stamps that rise.
pub(super) fn read_table<T>(path: &Path, columns: &[&str], mut parse: impl FnMut(&CsvRow<'_>) -> Result<T>) -> Result<Vec<(i64, T)>> {
    let bytes = read_bounded(path, MAX_TEXT_BYTES)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    let header = reader.headers().map_err(|e| csv_error(path, &e))?.clone();
    let wanted: Vec<&str> = std::iter::once("stamp_ns").chain(columns.iter().copied()).collect();
    let exact = wanted.iter().all(|name| header.iter().any(|h| h == *name)) && header.len() == wanted.len();
    if !exact {
        let missing: Vec<&str> = wanted.iter().copied().filter(|name| header.iter().all(|h| h != *name)).collect();
        let what =
            if missing.is_empty() { "a column too many".to_owned() } else { format!("the column {} is missing", missing.join(", ")) };
        let got = header.iter().collect::<Vec<_>>().join(",");
        return Err(Error::new(ErrorKind::Input, what)
            .at("line 1")
            .at(format!("{path:?}"))
            .got(format!("{got:?}"))
            .wanted(format!("{:?}", wanted.join(","))));
    }
    let mut rows: Vec<(i64, T)> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| csv_error(path, &e))?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = CsvRow { record: &record, header: &header };
        let place = |e: Error| e.at(format!("line {line}")).at(format!("{path:?}"));
        let stamp_ns = row.whole::<i64>("stamp_ns").and_then(|ns| check_stamp(ns).map(|()| ns)).map_err(place)?;
        check_rising(rows.last().map(|r| r.0), stamp_ns).map_err(place)?;
        rows.push((stamp_ns, parse(&row).map_err(place)?));
    }
    Ok(rows)
}

fn csv_error(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            return Error::new(ErrorKind::Input, "a line with another number of columns")
                .at(format!("line {line}"))
                .at(format!("{path:?}"))
                .got(len)
                .wanted(expected_len);
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text",
        _ => "not a table",
    };
    Error::new(ErrorKind::Input, what).at(format!("line {line}")).at(format!("{path:?}")).got(error)
}
