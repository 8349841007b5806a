//! `profile_latency`: measures latency, memory and energy of a ride on the machine that will run
//! it.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod compare;
mod figures;
mod machine;
mod measure;
mod output;
mod page;
mod report;
mod table;
mod trace;
mod trtexec;

use anyhow::{Context, Result};
use args::{Args, Span};
use drivewam_console::{INTERRUPTED, StopFlag};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    let args: Args = match drivewam_console::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    drivewam_console::exit_code("profile_latency", run(&args, started))
}

fn run(args: &Args, started: Instant) -> Result<ExitCode> {
    let signals = StopFlag::on_signals().context("cannot install the handlers of signals")?;
    let stop = signals.flag();
    output::check(args)?;
    if !args.one {
        drivewam_console::warn("profile_latency", args.configuration()?.deprecated_keys());
    }
    let command: Vec<String> = std::env::args().collect();
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}  {elapsed}")?);
    if args.json || args.one {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let (other, single) = (args.other(), args.aa.is_none());
    let report = if args.one || (other.is_none() && single) {
        let total = if let Span::Chunks(count) = args.window { format!(" of {count}") } else { String::new() };
        let measured = measure::measure(args, started, stop, |phase, chunk| {
            bar.set_message(format!("{phase}: chunk {chunk}{}", if phase == "window" { &total } else { "" }));
            bar.tick();
        })?;
        let Some(measured) = measured else { return Ok(interrupted_early("before a chunk was measured")) };
        report::report(args, &measured, &command)?
    } else {
        let rounds = args.aa.unwrap_or(args.rounds);
        let runs = compare::runs(args, other.as_ref(), rounds, stop, |message| {
            bar.set_message(message);
            bar.tick();
        })?;
        let Some([runs, others]) = runs else { return Ok(interrupted_early("before the comparison was complete")) };
        let mut report = compare::median_run(&runs).context("the comparison has no run")?.clone();
        report["command"] = command.into();
        report["aa"] = compare::noise(&runs);
        if other.is_some() {
            report["versus"] = compare::versus(&runs, &others);
        }
        report
    };
    bar.finish_and_clear();
    publish(args, &report)?;
    Ok(if report["interrupted"] == true { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// Says that there is no report.
fn interrupted_early(when: &str) -> ExitCode {
    drivewam_console::note!("profile_latency: interrupted {when}: there is no report, and no file was written");
    ExitCode::from(INTERRUPTED)
}

/// Prints the report and writes the requested files. After an interruption it writes only files
/// that mark it.
fn publish(args: &Args, report: &Value) -> Result<()> {
    if args.json || args.one {
        drivewam_console::print_line!("{report}");
    } else {
        drivewam_console::text(&table::table(report));
    }
    let is_whole = report["interrupted"] != true;
    let files: [(_, &dyn Fn() -> String, bool); 4] = [
        (&args.html, &|| page::page(report), true),
        (&args.export_trace, &|| trace::trace(report).to_string(), is_whole),
        (&args.export_times, &|| trtexec::times(report), is_whole),
        (&args.export_profile, &|| trtexec::profile(report), is_whole),
    ];
    for (path, text, is_wanted) in files {
        if let Some(path) = path.as_deref().filter(|_| is_wanted) {
            output::write(path, &text())?;
        }
    }
    Ok(())
}
