//! The `drivewam` command line.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod check;
mod config_args;
mod drive;
mod figure;
mod horizons;
mod inspect;
mod memory_figure;
mod plan;
mod study;
mod table;
mod world;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// DriveWAM Edge: a video-diffusion driving policy in fixed memory.
#[derive(Debug, Parser)]
#[command(name = "drivewam", version = concat!(env!("CARGO_PKG_VERSION"), " (DriveWAM Edge)"), propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drive a recording or a simulated world; write trajectories, images and statistics.
    Drive(drive::Args),
    /// Check a recording: every file, every stamp, every picture; print what was found as a table.
    Check(check::Args),
    /// Print the memory plan, or why it does not fit. With --target: memory and lower bounds of
    /// latency on a board.
    Plan(plan::Args),
    /// Print the manifest of an engine folder and verify the hash of every file.
    Inspect(inspect::Args),
    /// Run as many chunks as each line of standard input asks for, and print their times as JSON.
    /// A protocol between programs (`make bench`), so `--help` does not list it.
    #[command(hide = true)]
    Bench(bench::Args),
    /// Evaluate a policy on held-out worlds: camera, guidance, memory, closed loop, long rides.
    Study(study::Args),
    /// Generate worlds as input folders, one per seed.
    World(world::Args),
}

fn main() -> ExitCode {
    // RUST_LOG=tensorrt=info shows everything that an engine library logs. Its errors are part of
    // the message of the call that failed.
    #[cfg(feature = "tensorrt")]
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_unset| "warn,tensorrt=warn".into()))
        .without_time()
        // Its own complaint about a full standard error would panic.
        .log_internal_errors(false)
        .init();
    let cli: Cli = match drivewam_console::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let done = match cli.command {
        Command::Drive(args) => drive::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Study(args) => study::run(&args),
        Command::World(args) => world::run(&args).map(|()| ExitCode::SUCCESS),
    };
    drivewam_console::exit_code("drivewam", done)
}
