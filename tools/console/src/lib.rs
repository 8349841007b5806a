//! What the command-line programs share: standard streams, exit codes, and the signals that end a
//! run.
//!
//! A program parses its command line with [`parse`], prints results with [`print_line!`] and
//! remarks with [`note!`], and ends with [`exit_code`].
//!
//! - A result that cannot be printed (a full disk) makes the exit code 1. The work goes on, and a
//!   reader that has gone (`| head`) is no error.
//! - A remark that cannot be printed is dropped: it never ends the work, where `eprintln!` would
//!   panic.

#![forbid(unsafe_code)]

mod signals;
mod streams;

pub use signals::{INTERRUPTED, StopFlag};
pub use streams::{alarm, exit_code, line, parse, remark, text};

/// Prints warnings to standard error, one in a line, after the program's name.
pub fn warn(program: &str, warnings: impl IntoIterator<Item = impl std::fmt::Display>) {
    warnings.into_iter().for_each(|warning| note!("{program}: warning: {warning}"));
}

/// Prints a line to standard output, as [`line()`] does.
#[macro_export]
macro_rules! print_line {
    ($($text:tt)*) => { $crate::line(::core::format_args!($($text)*)) };
}

/// Prints a line to standard error and ignores write errors.
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => { $crate::remark(::core::format_args!($($text)*)) };
}
