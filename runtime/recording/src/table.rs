//! CSV tables of stamped rows. An error names file, line and column, and repeats at most a line.

use crate::files::{KIND, MAX_TEXT_BYTES, StampColumn, check_increasing};
use crate::format::{CsvTable, STAMP_COLUMN};
use drivewam_core::excerpt::{one_line, quoted};
use drivewam_core::stamp::check_stamp;
use drivewam_core::{Error, Result};
use std::path::Path;

/// Longest line of a table, bytes: a file name of the longest kind, quoted, and a stamp.
const MAX_LINE_BYTES: usize = 8192;

/// The rows of a table, in the order of their stamps.
pub(crate) struct Table<T> {
    pub(crate) column: StampColumn,
    pub(crate) rows: Vec<T>,
}

/// One row of a table.
pub(crate) struct CsvRow<'a> {
    record: &'a csv::StringRecord,
    header: &'a csv::StringRecord,
}

impl CsvRow<'_> {
    /// The text of `column`.
    pub(crate) fn text(&self, column: &str) -> Result<&str> {
        let index = self.header.iter().position(|name| name == column);
        index.and_then(|i| self.record.get(i)).ok_or_else(|| Error::new(KIND, "the column is missing").at(format!("column {column:?}")))
    }

    /// The finite number of `column`.
    pub(crate) fn number(&self, column: &str) -> Result<f64> {
        self.parse(column, "not a finite number", "a finite number", |n: &f64| n.is_finite())
    }

    /// The integer of `column`.
    pub(crate) fn integer<T: std::str::FromStr>(&self, column: &str) -> Result<T> {
        self.parse(column, "not an integer", "an integer", |_| true)
    }

    fn parse<T: std::str::FromStr>(&self, column: &str, what: &str, wanted: &str, is_valid: impl Fn(&T) -> bool) -> Result<T> {
        let text = self.text(column)?;
        text.parse::<T>()
            .ok()
            .filter(is_valid)
            .ok_or_else(|| Error::new(KIND, what).at(format!("column {column:?}")).got(quoted(text)).wanted(wanted))
    }
}

/// Reads a table of the folder `dir`. Its first line names exactly the stamp and the table's
/// columns, in any order; stamps increase.
///
/// # Errors
/// `Input`: a line that is too long or whose quotes do not close, a missing or extra column, a
/// stamp out of range or not increasing, or an error of `parse`.
pub(crate) fn read_table<T>(dir: &Path, table: &CsvTable, parse: impl FnMut(&CsvRow<'_>) -> Result<T>) -> Result<Table<T>> {
    let path = dir.join(table.file);
    let bytes = drivewam_files::read(&path, MAX_TEXT_BYTES, KIND)?;
    parse_table(&path, &bytes, table, parse)
}

/// Parses the content `bytes` of the file `path` as [`read_table`] does.
pub(crate) fn parse_table<T>(
    path: &Path,
    bytes: &[u8],
    table: &CsvTable,
    mut parse: impl FnMut(&CsvRow<'_>) -> Result<T>,
) -> Result<Table<T>> {
    check_lines(path, bytes)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(|e| csv_error(path, &e))?.clone();
    check_columns(path, table, &header)?;
    let mut found = Table { column: StampColumn { path: path.to_owned(), ..StampColumn::default() }, rows: Vec::new() };
    for record in reader.records() {
        let record = record.map_err(|e| csv_error(path, &e))?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = CsvRow { record: &record, header: &header };
        let place = |e: Error| e.at(format!("line {line}")).at(format!("{path:?}"));
        let stamp_ns = row.integer::<i64>(STAMP_COLUMN).and_then(|ns| check_stamp(ns).map(|()| ns)).map_err(place)?;
        check_increasing(found.column.stamps.last().copied(), stamp_ns).map_err(place)?;
        found.rows.push(parse(&row).map_err(place)?);
        found.column.stamps.push(stamp_ns);
        found.column.lines.push(line);
    }
    Ok(found)
}

/// Checks that no line is too long, and that none opens a quote that it does not close: the parser
/// would take the lines after it into the row, to the end of the file.
fn check_lines(path: &Path, bytes: &[u8]) -> Result<()> {
    for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let fail = |what: &str| Error::new(KIND, what).at(format!("line {}", i + 1)).at(format!("{path:?}"));
        if line.len() > MAX_LINE_BYTES {
            return Err(fail("the line is too long")
                .got(format!("{} bytes", line.len()))
                .wanted(format!("at most {MAX_LINE_BYTES} bytes")));
        }
        if line.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            return Err(fail("a quote is not closed on its line").got(quoted(&String::from_utf8_lossy(line))));
        }
    }
    Ok(())
}

fn check_columns(path: &Path, table: &CsvTable, header: &csv::StringRecord) -> Result<()> {
    let wanted: Vec<&str> = std::iter::once(STAMP_COLUMN).chain(table.columns.iter().copied()).collect();
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| header.iter().all(|h| h != *name)).collect();
    let what = match missing.as_slice() {
        [] if header.len() == wanted.len() => return Ok(()),
        [] => "the table has extra columns".to_owned(),
        _ => format!("the column {} is missing", missing.join(", ")),
    };
    let got = header.iter().collect::<Vec<_>>().join(",");
    Err(Error::new(KIND, what).at("line 1").at(format!("{path:?}")).got(quoted(&got)).wanted(format!("{:?}", wanted.join(","))))
}

fn csv_error(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    let fail = |what: &str| Error::new(KIND, what).at(format!("line {line}")).at(format!("{path:?}"));
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            fail("the line has a different number of columns").got(len).wanted(expected_len)
        }
        csv::ErrorKind::Utf8 { .. } => fail("not UTF-8 text").got(one_line(error)),
        _ => fail("not a CSV table").got(one_line(error)),
    }
}
