//! `profile_latency`: what a ride costs on the machine that it will run on.

#![forbid(unsafe_code)]

mod args;
mod compare;
mod figures;
mod machine;
mod measure;
mod page;
mod report;
mod table;
mod trace;
mod trtexec;

use anyhow::{Context, Result};
use args::{Args, Span};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let begun = Instant::now();
    match run(&Args::parse(), begun) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("profile_latency: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, begun: Instant) -> Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be watched for")?;
    let command: Vec<String> = std::env::args().collect();
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}  {elapsed}")?);
    if args.json || args.one {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let (other, single) = (args.other(), args.aa.is_none());
    let report = if args.one || (other.is_none() && single) {
        let whole = if let Span::Chunks(count) = args.window { format!(" of {count}") } else { String::new() };
        let measured = measure::measure(args, begun, &stop, |what, chunk| {
            bar.set_message(format!("{what}: chunk {chunk}{}", if what == "window" { &whole } else { "" }));
            bar.tick();
        })?;
        report::report(args, &measured, &command)?
    } else {
        let rounds = args.aa.unwrap_or(args.rounds);
        let [runs, others] = compare::runs(args, other.as_ref(), rounds, &stop, |words| {
            bar.set_message(words);
            bar.tick();
        })?;
        let mut report = compare::middle(&runs).context("no run")?.clone();
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

/// Prints the report and writes the files that were asked for. Of an interrupted window only what says so is written.
fn publish(args: &Args, report: &Value) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    // A reader that went away misses the rest, and nothing else happens.
    let _ = if args.json || args.one { writeln!(stdout, "{report}") } else { write!(stdout, "{}", table::table(report)) };
    let is_whole = report["interrupted"] != true;
    let files: [(_, &dyn Fn() -> String, bool); 4] = [
        (&args.html, &|| page::page(report), true),
        (&args.export_trace, &|| trace::trace(report).to_string(), is_whole),
        (&args.export_times, &|| trtexec::times(report), is_whole),
        (&args.export_profile, &|| trtexec::profile(report), is_whole),
    ];
    for (path, text, is_wanted) in files {
        if let Some(path) = path.as_deref().filter(|_| is_wanted) {
            report::write(path, &text())?;
        }
    }
    Ok(())
}
