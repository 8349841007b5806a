//! `drivewam world`: generates worlds as input folders (docs/input.md), one per seed.

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use drivewam_console::{StopFlag, print_line};
use drivewam_core::dims::Intrinsics;
use drivewam_world::{FrameFormat, Kind, Options, WriteOptions, write_seeds};
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::Range;
use std::path::PathBuf;

/// Options of `drivewam world`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Seeds A..B, without B. Each seed is one world.
    #[arg(long, value_parser = seeds, value_name = "A..B")]
    seeds: Range<u64>,
    /// Folder to write into. Seeds that it already contains are skipped.
    #[arg(long)]
    out: PathBuf,
    /// Length of each drive in seconds.
    #[arg(long, default_value_t = 40.0)]
    seconds: f64,
    /// Frames per second: 1, 2, 5 or 10.
    #[arg(long, default_value_t = 10)]
    camera_hz: u32,
    /// Which kinds of road sections the worlds have.
    #[arg(long, value_enum, default_value_t = WorldKind::Mixed)]
    kind: WorldKind,
    /// Push the car off its path now and then, so that the expert shows how to recover.
    #[arg(long)]
    disturb: bool,
    /// Write the expert's plan for each frame, for training (docs/training.md).
    #[arg(long)]
    plans: bool,
    /// Write two sentences and a bird's-eye plot of the past for each frame, for training of the
    /// guidance (docs/training.md).
    #[arg(long)]
    captions: bool,
    /// How frames are stored.
    #[arg(long, value_enum, default_value_t = Frames::Png)]
    frames: Frames,
    /// Image width in pixels. Height and focal length scale with it, from the camera of the small
    /// policy.
    #[arg(long, default_value_t = 112)]
    width: usize,
    /// Number of threads; each generates its own worlds.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Which kinds of road sections a world has.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WorldKind {
    Ordinary,
    Memory,
    Mixed,
}

impl From<WorldKind> for Kind {
    fn from(kind: WorldKind) -> Self {
        match kind {
            WorldKind::Ordinary => Self::Ordinary,
            WorldKind::Memory => Self::Memory,
            WorldKind::Mixed => Self::Mixed,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Frames {
    /// One PNG file per frame.
    Png,
    /// One raw file for all frames: fast to write and to map.
    Rgb8,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("wanted A..B, for example 0..100")?;
    let number = |part: &str| part.parse::<u64>().map_err(|e| format!("{part:?}: {e}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err(format!("no seed in {text}: wanted A below B")) } else { Ok(range) }
}

/// Runs the subcommand.
///
/// # Errors
/// Invalid options; a folder cannot be written; Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !(16..=4096).contains(&args.width) {
        bail!("--width: out of range (got {}, wanted 16 to 4096)", args.width);
    }
    if !(args.seconds > 0.0 && args.seconds <= 86_400.0) {
        bail!("--seconds: out of range (got {}, wanted above 0, at most 86400)", args.seconds);
    }
    let scale = args.width as f64 / 112.0;
    let options = WriteOptions {
        world: Options { kind: args.kind.into(), disturb: args.disturb },
        seconds: args.seconds,
        camera_hz: args.camera_hz,
        width: args.width,
        height: args.width * 4 / 7,
        intrinsics: Intrinsics { fx_px: 56.0 * scale, fy_px: 56.0 * scale, cx_px: 56.0 * scale, cy_px: 32.0 * scale },
        format: match args.frames {
            Frames::Png => FrameFormat::Files,
            Frames::Rgb8 => FrameFormat::Rgb8,
        },
        plans: args.plans,
        captions: args.captions,
        threads: args.threads.clamp(1, 64),
    };
    let stop = StopFlag::on_signals().context("cannot install the handlers of signals")?;
    let bar = ProgressBar::new(args.seeds.end - args.seeds.start);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} drives {elapsed} (left {eta})")?);
    let written = write_seeds(args.seeds.clone(), &options, &args.out, &|done| bar.set_position(done), stop.flag())?;
    bar.finish_and_clear();
    let rate = written.frames as f64 / written.seconds.max(1e-9);
    if args.json {
        print_line!(
            "{}",
            serde_json::json!({"drives": written.drives, "frames": written.frames, "seconds": written.seconds, "frames_per_second": rate})
        );
    } else {
        print_line!(
            "{} drives, {} frames in {:.1} s ({rate:.0} frames/s) in {:?}",
            written.drives,
            written.frames,
            written.seconds,
            args.out
        );
    }
    if stop.is_set() {
        bail!("interrupted: complete drives were kept, those in progress removed");
    }
    Ok(())
}
