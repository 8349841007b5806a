//! `drivewam drive`: drives a recording or a world, and writes trajectories, figures and statistics
//! (docs/output.md).

mod args;
mod charts;
mod clip;
mod future;
mod output_dir;
mod overlay;
mod path_chart;
mod report;
mod route_trace;
mod row;
mod run;
mod source;
#[cfg(test)]
mod tests;
mod world_source;

pub(crate) use args::Args;

use crate::config_args::LoadedConfig;
use anyhow::{Context, Result};
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_engine::{EngineBundle, Trust};
use drivewam_recording::{Limits, Recording};
use drivewam_world::Options;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use output_dir::{OutputDir, SUMMARY};
use run::Drive;
use serde_json::{Map, Value, json};
use source::{Recorded, Source, source_camera};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use world_source::WorldSource;

/// Exit code of a program that Ctrl-C ended, by the convention of shells.
const INTERRUPTED: u8 = 130;

/// Runs the subcommand.
///
/// # Errors
/// Invalid options, configuration, engines or input; the output cannot be written. No output
/// remains.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.check()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("cannot install the handler of Ctrl-C")?;
    let loaded = args.config.load()?;
    let config = &loaded.config;
    let recording = if args.is_world() { None } else { Some(Recording::open(&args.input, Limits::of(config))?) };
    let folder = EngineBundle::open(config.engine.folder.as_ref(), &Trust::of(&config.vehicle)?)?;
    if !args.quiet && !args.json {
        print_line!("configuration {:?} {}", loaded.path, loaded.sha256);
        print_line!("engines       {:?} {}", folder.path(), folder.manifest().name);
    }
    let out = OutputDir::begin(&args.out, args.force)?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {elapsed} (left {eta})")?);
    if args.quiet || args.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let mut drive = Drive::new(args, out, bar, &stop)?;
    let camera = recording.as_ref().map_or_else(|| SourceCamera::of_model(&config.model), |recording| source_camera(recording.camera()));
    let options = RideOptions { realtime: args.realtime, closed_loop: args.closed_loop, decoder: args.future };
    let mut ride = Plan::new(config.clone(), folder.manifest(), camera, options)?.warm(folder.clone())?;
    let (violations, input) = match &recording {
        None => {
            let options = Options { kind: args.kind.into(), disturb: false };
            let mut world = WorldSource::new(&config.model, args.seed, options, args.seconds, args.closed_loop)?;
            let span = world.span_ns();
            drive.bar.set_length(length_ms(span));
            drive.run(&mut world, &mut ride, span.1)?;
            let input = json!({"format": "world", "name": world.name(), "seed": args.seed, "kind": options.kind.as_str(),
                "seconds": args.seconds, "closed_loop": args.closed_loop});
            (world.violations(), input)
        }
        Some(recording) => {
            drive_recording(args, &mut drive, recording, &mut ride)?;
            let seconds = recording.frames().last().zip(recording.frames().first()).map_or(0.0, |(b, a)| (b - a) as f64 * 1e-9);
            let input = json!({"format": recording.format(), "name": recording.name(), "seconds": seconds, "phases": args.phases,
                "camera": {"width": camera.width, "height": camera.height, "fov_deg": camera.fov_rad().map(f64::to_degrees)}});
            (None, input)
        }
    };
    drive.bar.finish_and_clear();
    drive.flush()?;
    let mut summary = report::summary(&report::Facts {
        interrupted: drive.is_interrupted(),
        input,
        configuration: configuration(&loaded),
        engine: engine(&folder, &ride),
        frames: drive.frames,
        driven_m: drive.driven_m,
        wall_s: drive.wall.as_secs_f64(),
        realtime: args.realtime,
        rows: &drive.rows,
        arena: ride.arena(),
        violations,
    })?;
    if let Some(trace) = drive.trace.as_ref().filter(|_| args.closed_loop) {
        summary["closed_loop"]["off_road_s"] = trace.off_road_s().into();
    }
    finish(args, drive, &summary)
}

/// Drives a recording once, or with --phases from every frame of its first chunk.
fn drive_recording(args: &Args, drive: &mut Drive<'_>, recording: &Recording, ride: &mut Ride) -> Result<()> {
    let first = recording.first_frame()?;
    if !args.phases {
        let mut source = Recorded::new(recording, first);
        drive.bar.set_length(length_ms(source.span_ns()));
        let last_ns = recording.poses().last_ns().unwrap_or(i64::MAX);
        let skipped = recording.frames().iter().filter(|stamp| **stamp > last_ns).count();
        if skipped > 0 && !args.quiet {
            eprintln!("drivewam: skipping {skipped} frames after the last pose: the path driven there is not known");
        }
        return drive.run(&mut source, ride, last_ns);
    }
    let chunk_ns = ride.config().model.chunk_ns();
    let last_t0_ns = recording.poses().last_ns().unwrap_or(0).saturating_sub(chunk_ns);
    let start_ns = recording.frames().get(first).copied().unwrap_or(0);
    let starts = recording.frames().iter().enumerate().skip(first);
    for (frame, _) in starts.filter(|(_, stamp)| **stamp < start_ns + chunk_ns && **stamp <= last_t0_ns) {
        if drive.is_interrupted() {
            break;
        }
        if frame != first {
            ride.restart();
        }
        let mut source = Recorded::new(recording, frame);
        drive.bar.set_length(length_ms(source.span_ns()));
        drive.run(&mut source, ride, last_t0_ns)?;
    }
    Ok(())
}

/// Writes the charts and the summary, renames the folder, and prints the result.
fn finish(args: &Args, drive: Drive<'_>, summary: &Value) -> Result<ExitCode> {
    let interrupted = drive.is_interrupted();
    let name = summary["input"]["name"].as_str().unwrap_or_default();
    let rows = drive.rows.len();
    let title = |what: &str| format!("{what}: {name}, {rows} chunks");
    path_chart::draw(&drive.rows, drive.trace.as_ref(), &title("path"), &drive.out.path("path.png"))?;
    charts::latency(&drive.rows, &title("latency"), &drive.out.path("latency.png"))?;
    let text = serde_json::to_string(summary)?;
    drive.out.write(SUMMARY, &format!("{text}\n"))?;
    drive.out.finish()?;
    if args.json {
        print_line!("{text}");
    } else if !args.quiet {
        print_line!("{}", report::table(summary).trim_end());
        print_line!("written    {:?}", args.out);
    }
    if interrupted {
        eprintln!("drivewam: interrupted: the chunk in progress was finished, and {:?} is complete", args.out);
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

fn length_ms((first_ns, last_ns): (i64, i64)) -> u64 {
    u64::try_from((last_ns - first_ns) / 1_000_000).unwrap_or(0).max(1)
}

fn configuration(loaded: &LoadedConfig) -> Value {
    let config = &loaded.config;
    let file = loaded.path.file_name().map(|n| n.to_string_lossy().into_owned());
    json!({"file": file, "sha256": loaded.sha256, "model": config.model.name, "target": config.target.name, "vehicle": config.vehicle.name,
        "seed": config.flow.seed})
}

fn engine(folder: &EngineBundle, ride: &Ride) -> Value {
    let graphs: Map<String, Value> =
        ride.engines().into_iter().map(|(graph, description)| (graph.as_str().to_owned(), json!(description))).collect();
    json!({"manifest_sha256": folder.manifest_sha256(), "name": folder.manifest().name, "target": folder.manifest().target, "graphs": graphs})
}
