//! `drivewam`: one verb each for what a person does with DriveWAM Edge.

#![forbid(unsafe_code)]

/// Prints a line. A reader that went away (`| head`) misses the rest, and nothing else happens: the work goes on and the exit code is its own.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod bench;
mod drive;
mod inspect;
mod plan;
mod sheet;
mod shipped;
mod study;
mod table;
mod world;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// DriveWAM Edge: a video-diffusion driving policy in fixed memory.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Drive an input folder, or a world drawn on the way, and write trajectories, pictures and figures.
    Drive(drive::Args),
    /// Print the plan of the one memory allocation, or say why it does not fit; with --target, also what a board has to hold and the least time of every pass.
    Plan(plan::Args),
    /// Print the manifest of a folder of engines and check the hash of every file.
    Inspect(inspect::Args),
    /// Drive as many chunks as standard input asks for, line by line, and print what each took.
    Bench(bench::Args),
    /// Measure what a policy is worth: its sight, its memory, the closed loop, hours.
    Study(study::Args),
    /// Write drawn worlds as input folders, one per seed.
    World(world::Args),
}

fn main() -> ExitCode {
    // What an engine library says on its own: RUST_LOG=tensorrt=info shows all of it. Its errors are in the message of what failed.
    #[cfg(feature = "tensorrt")]
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_unset| "warn,tensorrt=warn".into()))
        .without_time()
        .init();
    let done = match Cli::parse().verb {
        Verb::Drive(args) => drive::run(&args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Study(args) => study::run(&args),
        Verb::World(args) => world::run(&args).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("drivewam: {error:#}");
            ExitCode::FAILURE
        }
    }
}
