//! `drivewam drive`: frames in, trajectories, pictures and figures out (docs/output.md).

mod args;
mod charts;
mod clip;
mod future;
mod out;
mod overlay;
mod report;
mod row;
mod run;
mod source;
#[cfg(test)]
mod tests;
mod world_input;

pub(crate) use args::Args;

use crate::shipped::Named;
use anyhow::{Context, Result};
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_engine::{Folder, Trust};
use drivewam_recording::{Limits, Recording};
use drivewam_world::Options;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use out::{Out, SUMMARY};
use run::Drive;
use serde_json::{Map, Value, json};
use source::{Recorded, Source, source_camera};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use world_input::WorldSource;

/// What a shell calls a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Drives.
///
/// # Errors
/// Of the options, the configuration, the engines, the input or the output; then nothing is left of the output.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.check()?;
    let asked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&asked);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be watched for")?;
    let named = args.config.load()?;
    let config = &named.config;
    let recording = if args.is_world() { None } else { Some(Recording::open(&args.input, Limits::of(&config.ingest))?) };
    let folder = Folder::open(config.engine.folder.as_ref(), &Trust::of(&config.vehicle)?, None)?;
    if !args.quiet && !args.json {
        say!("configuration {:?} {}", named.path, named.sha256);
        say!("engines       {:?} {}", folder.path(), folder.manifest().name);
    }
    let out = Out::begin(&args.out, args.force)?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {elapsed} (left {eta})")?);
    if args.quiet || args.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let mut drive = Drive::new(args, out, bar, &asked)?;
    let camera = recording.as_ref().map_or_else(|| SourceCamera::of_model(&config.model), |recording| source_camera(recording.camera()));
    let options = RideOptions { realtime: args.realtime, closed_loop: args.closed_loop, decoder: args.future };
    let mut ride = Plan::new(config.clone(), folder.manifest(), camera, options)?.warm(&folder)?;
    let (violations, input) = match &recording {
        None => {
            let options = Options { kind: args.kind.kind(), disturb: false };
            let mut world = WorldSource::new(&config.model, args.seed, options, args.seconds, args.closed_loop)?;
            let span = world.span_ns();
            drive.bar.set_length(length_ms(span));
            drive.roll(&mut world, &mut ride, span.1)?;
            let input = json!({"format": "world", "name": world.name(), "seed": args.seed, "stretches": options.kind.as_str(),
                "seconds": args.seconds, "closed_loop": args.closed_loop});
            (world.violations(), input)
        }
        Some(recording) => {
            ride_recording(args, &mut drive, recording, &mut ride)?;
            let seconds = recording.frames().last().zip(recording.frames().first()).map_or(0.0, |(b, a)| (b - a) as f64 * 1e-9);
            let input = json!({"format": recording.format(), "name": recording.name(), "seconds": seconds, "phases": args.phases,
                "camera": {"width": camera.width, "height": camera.height, "fov_deg": camera.fov_rad().map(f64::to_degrees)}});
            (None, input)
        }
    };
    drive.bar.finish_and_clear();
    drive.close()?;
    let summary = report::summary(&report::Facts {
        interrupted: drive.is_interrupted(),
        input,
        configuration: configuration(&named),
        engine: engine(&folder, &ride),
        frames: drive.frames,
        driven_m: drive.driven_m,
        wall_s: drive.wall.as_secs_f64(),
        realtime: args.realtime,
        rows: &drive.rows,
        arena: ride.arena(),
        violations,
    })?;
    finish(args, drive, &summary)
}

/// Rides a recording once, or from each phase.
fn ride_recording(args: &Args, drive: &mut Drive<'_>, recording: &Recording, ride: &mut Ride) -> Result<()> {
    let first = recording.first_frame()?;
    if !args.phases {
        let mut source = Recorded::new(recording, first);
        drive.bar.set_length(length_ms(source.span_ns()));
        let last_ns = recording.poses().last_ns().unwrap_or(i64::MAX);
        let beyond = recording.frames().iter().filter(|stamp| **stamp > last_ns).count();
        if beyond > 0 && !args.quiet {
            eprintln!("drivewam: {beyond} frames after the last pose are left out: nothing tells what the car did then");
        }
        return drive.roll(&mut source, ride, last_ns);
    }
    let chunk_ns = ride.config().model.chunk_ns();
    let last_t0_ns = recording.poses().last_ns().unwrap_or(0).saturating_sub(chunk_ns);
    let begins = recording.frames().get(first).copied().unwrap_or(0);
    let starts = recording.frames().iter().enumerate().skip(first);
    for (frame, _) in starts.filter(|(_, stamp)| **stamp < begins + chunk_ns && **stamp <= last_t0_ns) {
        if drive.is_interrupted() {
            break;
        }
        if frame != first {
            ride.restart();
        }
        let mut source = Recorded::new(recording, frame);
        drive.bar.set_length(length_ms(source.span_ns()));
        drive.roll(&mut source, ride, last_t0_ns)?;
    }
    Ok(())
}

/// Writes what remains to be written, puts the folder in its place, and says what the drive came to.
fn finish(args: &Args, drive: Drive<'_>, summary: &Value) -> Result<ExitCode> {
    let interrupted = drive.is_interrupted();
    let name = summary["input"]["name"].as_str().unwrap_or_default();
    let rows = drive.rows.len();
    let title = |what: &str| format!("{what}: {name}, {rows} chunks");
    charts::path(&drive.rows, &title("path"), &drive.out.path("path.png"))?;
    charts::latency(&drive.rows, &title("latency"), &drive.out.path("latency.png"))?;
    let text = serde_json::to_string(summary)?;
    drive.out.write(SUMMARY, &format!("{text}\n"))?;
    drive.out.finish()?;
    if args.json {
        say!("{text}");
    } else if !args.quiet {
        say!("{}", report::table(summary).trim_end());
        say!("written    {:?}", args.out);
    }
    if interrupted {
        eprintln!("drivewam: interrupted: the chunk under way was finished, and {:?} is whole", args.out);
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

fn length_ms((first_ns, last_ns): (i64, i64)) -> u64 {
    u64::try_from((last_ns - first_ns) / 1_000_000).unwrap_or(0).max(1)
}

fn configuration(named: &Named) -> Value {
    let config = &named.config;
    let file = named.path.file_name().map(|n| n.to_string_lossy().into_owned());
    json!({"file": file, "sha256": named.sha256, "model": config.model.name, "target": config.target.name, "vehicle": config.vehicle.name,
        "seed": config.flow.seed})
}

fn engine(folder: &Folder, ride: &Ride) -> Value {
    let graphs: Map<String, Value> = ride.engines().into_iter().map(|(graph, words)| (graph.as_str().to_owned(), json!(words))).collect();
    json!({"manifest_sha256": folder.manifest_sha256(), "name": folder.manifest().name, "target": folder.manifest().target, "graphs": graphs})
}
