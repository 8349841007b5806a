//! `drivewam`: one verb each for what a person does with DriveWAM Edge.

#![forbid(unsafe_code)]

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
    /// Write drawn worlds as input folders, one per seed.
    World(world::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::World(args) => world::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drivewam: {error:#}");
            ExitCode::FAILURE
        }
    }
}
