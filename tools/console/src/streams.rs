//! Standard output and standard error, and the exit code that follows from them.

use clap::Parser;
use clap::builder::styling::AnsiColor;
use std::fmt::{Arguments, Display};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

/// The first error of standard output.
static LOST: OnceLock<String> = OnceLock::new();

/// Remembers why a result could not be printed. A reader that has gone is no error.
fn keep(printed: io::Result<()>, lost: &OnceLock<String>) {
    if let Err(error) = printed
        && error.kind() != ErrorKind::BrokenPipe
    {
        lost.get_or_init(|| error.to_string());
    }
}

/// Prints `text` and a line break to standard output. [`exit_code`] reports an error.
pub fn line(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    keep(writeln!(out, "{text}").and_then(|()| out.flush()), &LOST);
}

/// Prints `text` as it is to standard output. [`exit_code`] reports an error.
pub fn text(text: &str) {
    let mut out = io::stdout().lock();
    keep(out.write_all(text.as_bytes()).and_then(|()| out.flush()), &LOST);
}

/// `text`, in red where standard output is a terminal and `NO_COLOR` is not set.
pub fn alarm(text: &str) -> String {
    let is_plain = !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if is_plain {
        return text.to_owned();
    }
    let red = AnsiColor::Red.on_default().bold();
    format!("{red}{text}{red:#}")
}

/// Prints `text` and a line break to standard error, and ignores errors.
pub fn remark(text: Arguments<'_>) {
    // There is nowhere else to say it, and it must not end the work.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The command line of a program. `Err` is the exit code of a program that has nothing to do: it
/// was asked for `--help` or `--version`, or the command line is wrong.
///
/// # Errors
/// See above; what there is to say has been printed.
pub fn parse<A: Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|message| {
        let printed = message.print().and_then(|()| io::stdout().flush());
        if message.use_stderr() {
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
        keep(printed, &LOST);
        exit_code("help", Ok::<_, String>(ExitCode::SUCCESS))
    })
}

/// The exit code of a program named `program`. Prints the error of `done` to standard error; code 1
/// also when a result could not be printed.
pub fn exit_code<E: Display>(program: &str, done: Result<ExitCode, E>) -> ExitCode {
    let code = done.unwrap_or_else(|error| {
        remark(format_args!("{program}: {error:#}"));
        ExitCode::FAILURE
    });
    match LOST.get() {
        Some(error) => {
            remark(format_args!("{program}: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        None => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when `| head` fails, or when a full disk passes.
    #[test]
    fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is_one() {
        let lost = OnceLock::new();
        keep(Err(ErrorKind::BrokenPipe.into()), &lost);
        assert_eq!(lost.get(), None);
        keep(Err(ErrorKind::StorageFull.into()), &lost);
        keep(Err(ErrorKind::PermissionDenied.into()), &lost);
        assert_eq!(lost.get().unwrap(), &io::Error::from(ErrorKind::StorageFull).to_string(), "the first error is the cause");
    }
}
