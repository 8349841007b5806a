//! `drivewam world`: seeds in, input folders out (`docs/input.md`).

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use drivewam_core::dims::Intrinsics;
use drivewam_world::{FrameFormat, Kind, Options, WriteOptions, write_seeds};
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Options of `drivewam world`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Seeds A..B, B not included; each names one world.
    #[arg(long, value_parser = seeds, value_name = "A..B")]
    seeds: Range<u64>,
    /// Folder to write into; seeds already there are left alone.
    #[arg(long)]
    out: PathBuf,
    /// Length of each drive, seconds.
    #[arg(long, default_value_t = 40.0)]
    seconds: f64,
    /// Frames per second: 1, 2, 5 or 10.
    #[arg(long, default_value_t = 10)]
    camera_hz: u32,
    /// Kind of stretches.
    #[arg(long, value_enum, default_value_t = Stretches::Mixed)]
    kind: Stretches,
    /// Let the car drift off now and then, so that the expert shows how to recover.
    #[arg(long)]
    disturb: bool,
    /// Write the expert's plan beside each frame, as training wants it (docs/training.md).
    #[arg(long)]
    plans: bool,
    /// Write two sentences and a plot of the past on each frame, as training of the guidance wants them (docs/training.md).
    #[arg(long)]
    captions: bool,
    /// Storage of the frames.
    #[arg(long, value_enum, default_value_t = Frames::Png)]
    frames: Frames,
    /// Picture width, pixels; height and focal length keep the proportions of the small policy's camera.
    #[arg(long, default_value_t = 112)]
    width: usize,
    /// Threads, each with worlds of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Stretches {
    Ordinary,
    Memory,
    Mixed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Frames {
    /// One PNG per frame.
    Png,
    /// One raw file: quick to write and to map.
    Rgb8,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("wanted A..B, for example 0..100")?;
    let number = |part: &str| part.parse::<u64>().map_err(|e| format!("{part:?}: {e}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err(format!("no seed lies in {text}")) } else { Ok(range) }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if !(16..=4096).contains(&args.width) {
        bail!("--width: out of range (got {}, wanted 16 to 4096)", args.width);
    }
    if !(args.seconds > 0.0 && args.seconds <= 86_400.0) {
        bail!("--seconds: out of range (got {}, wanted above 0, at most 86400)", args.seconds);
    }
    let scale = args.width as f64 / 112.0;
    let options = WriteOptions {
        world: Options {
            kind: match args.kind {
                Stretches::Ordinary => Kind::Ordinary,
                Stretches::Memory => Kind::Memory,
                Stretches::Mixed => Kind::Mixed,
            },
            disturb: args.disturb,
        },
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
    let cancel = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&cancel);
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be watched for")?;
    let bar = ProgressBar::new(args.seeds.end - args.seeds.start);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} drives {elapsed} (left {eta})")?);
    let written = write_seeds(args.seeds.clone(), &options, &args.out, &|done| bar.set_position(done), &cancel)?;
    bar.finish_and_clear();
    let rate = written.frames as f64 / written.seconds.max(1e-9);
    if args.json {
        say!(
            "{}",
            serde_json::json!({"drives": written.drives, "frames": written.frames, "seconds": written.seconds, "frames_per_second": rate})
        );
    } else {
        say!("{} drives, {} frames in {:.1} s ({rate:.0} frames/s) in {:?}", written.drives, written.frames, written.seconds, args.out);
    }
    if cancel.load(Ordering::Relaxed) {
        bail!("interrupted: whole drives were kept, the ones under way dropped");
    }
    Ok(())
}
