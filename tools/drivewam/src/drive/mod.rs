//! `drivewam drive`: drives a recording or a world, and writes trajectories, figures and statistics
//! (docs/output.md).

mod args;
mod charts;
mod clip;
mod controls;
mod future;
mod memory_picture;
mod output;
mod overlay;
mod path_chart;
mod pictures;
mod recorded;
mod report;
mod route_trace;
mod row;
mod run;
mod source;
#[cfg(test)]
mod tests;
mod world_source;

pub(crate) use args::Args;

use crate::config_args::{DRIVING, LoadedConfig};
use anyhow::{Context, Result, anyhow};
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_console::{INTERRUPTED, StopFlag, alarm, note, print_line};
use drivewam_core::config::Config;
use drivewam_engine::{EngineBundle, Trust};
use drivewam_recording::{Limits, Recording};
use drivewam_world::Options;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use output::{OutputDir, OutputRequest, Protected, SUMMARY};
use pictures::Pictures;
use recorded::{drive_recording, windows};
use run::{Drive, length_ms};
use serde_json::{Map, Value, json};
use source::{Driver, Source, source_camera, source_mount};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use world_source::WorldSource;

/// About as many bytes are written whatever is driven: charts, summary.
const FIXED_BYTES: f64 = 1e6;
/// About as many bytes are written for each chunk, without images.
const ROW_BYTES: f64 = 16e3;
/// About as many bytes are written for each pixel of an overlay, and for each `future` image.
const OVERLAY_PIXEL_BYTES: f64 = 0.6;
const FUTURE_BYTES: f64 = 3e5;

/// What is driven.
enum Subject {
    Recording(Box<Recording>),
    World(Box<WorldSource>),
}

/// Runs the subcommand.
///
/// # Errors
/// Invalid options, configuration, engines or input; the output cannot be written. No output
/// remains, unless a chunk had been driven before: then what was written does, marked as partial.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.check()?;
    let stop = StopFlag::on_signals().context("cannot install the handlers of signals")?;
    let loaded = if args.is_closed_loop() { args.config.load_or(DRIVING)? } else { args.config.load()? };
    let config = &loaded.config;
    let mut subject = subject(args, config)?;
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::of_config(config)?)?;
    let driver = match &subject {
        Subject::Recording(_) => Driver::Recorded,
        Subject::World(_) if args.is_closed_loop() => Driver::Policy,
        Subject::World(_) => Driver::Expert,
    };
    if !args.quiet && !args.json {
        print_line!("configuration {:?} {}", loaded.path, loaded.sha256);
        print_line!("engines       {:?} {}", bundle.path(), bundle.manifest().name);
        print_line!("driver        {}", driver.describe());
    }
    let camera = match &subject {
        Subject::Recording(recording) => source_camera(recording.camera(), recording.mount()),
        Subject::World(world) => SourceCamera { mount: source_mount(&world.mount()), ..SourceCamera::of_model(&config.model) },
    };
    let need_bytes = need_bytes(args, config, &subject, camera)?;
    let out = OutputDir::begin(&OutputRequest { target: &args.out, force: args.force, protected: &protected(args, &loaded), need_bytes })?;
    if !args.quiet {
        out.remarks().iter().for_each(|remark| note!("drivewam: {remark}"));
    }
    let replaced_chunks = out.former_chunks();
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent:>3} %  {prefix}{msg}  {elapsed} (left {eta})")?);
    if args.quiet || args.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let mut drive = Drive::new(args, out, bar, stop.flag())?;
    let options = RideOptions { realtime: args.realtime, closed_loop: args.is_closed_loop(), decoder: args.future };
    let mut ride = Plan::new(config.clone(), bundle.manifest(), camera, options)?.warm(bundle.clone())?;
    let mut controls = None;
    let driven = match &mut subject {
        Subject::World(world) => {
            let span = world.span_ns();
            drive.bar.set_length(length_ms(span));
            drive.run(world.as_mut(), &mut ride, span.1)
        }
        Subject::Recording(recording) => {
            note_skipped(args, recording);
            drive_recording(args, &mut drive, recording, &mut ride, Pictures::AsTaken).and_then(|()| {
                if args.controls && !drive.is_interrupted() {
                    controls = controls::errors(args, recording, &mut ride, &drive.bar, stop.flag())?;
                }
                Ok(())
            })
        }
    };
    drive.bar.finish_and_clear();
    if driven.is_ok() {
        drive.draw_memory(&mut ride)?;
    }
    let fault = match driven {
        Err(fault) if drive.rows.is_empty() => return Err(fault),
        driven => driven.err(),
    };
    let (input, windows_by_phases) = input(args, &subject, camera, config.model.chunk_ns())?;
    let mut summary = report::summary(&report::Facts {
        interrupted: drive.is_interrupted(),
        error: fault.as_ref().map(|fault| format!("{fault:#}")),
        driver,
        replaced_chunks: replaced_chunks.filter(|_| fault.is_none()),
        input,
        configuration: configuration(&loaded),
        engine: engine(&bundle, &ride),
        frames: drive.frames,
        driven_m: drive.driven_m,
        wall_s: drive.wall.as_secs_f64(),
        realtime: args.realtime,
        rows: &drive.rows,
        arena: ride.arena(),
        controls,
        windows_by_phases,
        lost: drive.lost,
        violations: match &subject {
            Subject::World(world) => world.violations(),
            Subject::Recording(_) => None,
        },
    })?;
    if let Some(trace) = drive.trace.as_ref().filter(|_| args.is_closed_loop()) {
        summary["closed_loop"]["off_road_s"] = trace.off_road_s().into();
    }
    finish(args, drive, &summary, fault)
}

/// Opens the recording, or makes the world.
fn subject(args: &Args, config: &Config) -> Result<Subject> {
    if args.is_world() {
        let options = Options { kind: args.kind().into(), ..Options::default() };
        let world = WorldSource::new(config, args.seed(), options, args.seconds(), args.is_closed_loop())?;
        return Ok(Subject::World(Box::new(world)));
    }
    Ok(Subject::Recording(Box::new(Recording::open(&args.input, Limits::of(config))?)))
}

/// What the output must not touch: the input, the engines and the configuration.
fn protected(args: &Args, loaded: &LoadedConfig) -> Vec<Protected> {
    let engine = &loaded.config.engine;
    let mut all = Protected::folder("the folder of engines", Path::new(&engine.folder));
    let libraries = [&engine.onnxruntime, &engine.tensorrt.library, &engine.tensorrt.kernels];
    all.extend(libraries.into_iter().flatten().map(|path| Protected { what: "a file of the engines", path: path.into() }));
    all.extend(loaded.files.iter().map(|path| Protected { what: "the configuration", path: path.clone() }));
    if !args.is_world() {
        all.extend(Protected::folder("the input", &args.input));
    }
    all
}

/// About how many bytes the output will take.
fn need_bytes(args: &Args, config: &Config, subject: &Subject, camera: SourceCamera) -> Result<u64> {
    let chunk_ns = config.model.chunk_ns();
    let (chunks, pixels) = match subject {
        Subject::Recording(recording) if args.phases => (windows(recording, chunk_ns)? as f64, camera.width * camera.height),
        Subject::Recording(recording) => (span_s(recording) * 1e9 / chunk_ns as f64, camera.width * camera.height),
        // Drawn pictures are flat: their files are small, whatever their size.
        Subject::World(_) => (args.seconds() * 1e9 / chunk_ns as f64, 1 << 17),
    };
    let chunks = args.chunks.filter(|_| !args.phases).map_or(chunks, |most| chunks.min(most as f64)).ceil();
    let overlays = chunks.min(args.overlays as f64) * pixels as f64 * OVERLAY_PIXEL_BYTES;
    let future = if args.future { chunks * FUTURE_BYTES } else { 0.0 };
    Ok((FIXED_BYTES + chunks * ROW_BYTES + overlays + future) as u64)
}

/// From a recording's first to its last frame, seconds.
fn span_s(recording: &Recording) -> f64 {
    recording.frames().last().zip(recording.frames().first()).map_or(0.0, |(b, a)| (b - a) as f64 * 1e-9)
}

fn note_skipped(args: &Args, recording: &Recording) {
    let last_ns = recording.poses().last_ns().unwrap_or(i64::MAX);
    let skipped = recording.frames().iter().filter(|stamp| **stamp > last_ns).count();
    if skipped > 0 && !args.quiet && !args.phases {
        note!("drivewam: skipping {skipped} frames after the last pose: the path driven there is not known");
    }
}

/// `input` of the summary, and how many windows `--phases` would evaluate of a recording.
fn input(args: &Args, subject: &Subject, camera: SourceCamera, chunk_ns: i64) -> Result<(Value, Option<usize>)> {
    Ok(match subject {
        Subject::World(world) => {
            let kind = drivewam_world::Kind::from(args.kind());
            let input = json!({"format": "world", "name": world.name(), "seed": args.seed(), "kind": kind.as_str(),
                "seconds": args.seconds(), "closed_loop": args.is_closed_loop()});
            (input, None)
        }
        Subject::Recording(recording) => {
            let input = json!({"format": recording.format(), "name": recording.name(), "seconds": span_s(recording),
                "phases": args.phases,
                "camera": {"width": camera.width, "height": camera.height, "fov_deg": camera.fov_rad().map(f64::to_degrees)}});
            (input, Some(windows(recording, chunk_ns)?))
        }
    })
}

/// Writes the charts and the summary, puts the folder in its place, and prints the result. With a
/// fault, the result is partial, and the fault is returned after all of it.
fn finish(args: &Args, drive: Drive<'_>, summary: &Value, fault: Option<anyhow::Error>) -> Result<ExitCode> {
    let interrupted = drive.is_interrupted();
    let rows = drive.rows.len();
    let text = serde_json::to_string(summary)?;
    let placed = place(drive, summary, &text, fault.is_some());
    let path = match (placed, fault) {
        (Ok(path), None) => path,
        (Ok(path), Some(fault)) => {
            print_summary(args, summary, &text, &path);
            return Err(anyhow!("{fault:#}; the chunks before it ({rows}) are in {path:?}, marked as partial"));
        }
        (Err(error), None) => return Err(error),
        // The fault comes first: it is the cause.
        (Err(error), Some(fault)) => return Err(anyhow!("{fault:#}; then: {error:#}")),
    };
    print_summary(args, summary, &text, &path);
    if interrupted {
        note!("drivewam: interrupted: the chunk in progress was finished, and {path:?} is complete up to it");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes what is left to write and puts the folder in its place. Returns where it is.
fn place(drive: Drive<'_>, summary: &Value, text: &str, failed: bool) -> Result<PathBuf> {
    let args = drive.args();
    let name = summary["input"]["name"].as_str().unwrap_or_default();
    let title = |what: &str| format!("{what}: {name}, {} chunks", drive.rows.len());
    let out = drive.output().context("this drive writes no files")?;
    let written = path_chart::draw(&drive.rows, drive.trace.as_ref(), &title("path"), &out.path("path.png"))
        .and_then(|()| charts::latency(&drive.rows, &title("latency"), &out.path("latency.png")))
        .and_then(|()| out.write(SUMMARY, &format!("{text}\n")));
    if drive.rows.is_empty() {
        written?;
    } else {
        written.with_context(|| format!("the trajectories are in {:?}", out.path("")))?;
    }
    let out = drive.into_output().context("this drive writes no files")?;
    if failed {
        return out.finish_failed();
    }
    if let Some(remark) = out.finish()? {
        note!("drivewam: {remark}");
    }
    Ok(args.out.clone())
}

fn print_summary(args: &Args, summary: &Value, text: &str, path: &Path) {
    if args.json {
        print_line!("{text}");
    } else if !args.quiet {
        for line in report::table(summary).trim_end().lines() {
            let is_bad = ["LOST ", "PARTIAL ", "STOPPED "].iter().any(|word| line.starts_with(word));
            if is_bad { print_line!("{}", alarm(line)) } else { print_line!("{line}") }
        }
        print_line!("written    {path:?}");
    }
}

fn configuration(loaded: &LoadedConfig) -> Value {
    let config = &loaded.config;
    let file = loaded.path.file_name().map(|n| n.to_string_lossy().into_owned());
    json!({"file": file, "sha256": loaded.sha256, "model": config.model.name, "target": config.target.name, "vehicle": config.vehicle.name,
        "seed": config.flow.seed})
}

fn engine(bundle: &EngineBundle, ride: &Ride) -> Value {
    let graphs: Map<String, Value> =
        ride.engines().into_iter().map(|(graph, description)| (graph.as_str().to_owned(), json!(description))).collect();
    json!({"manifest_sha256": bundle.manifest_sha256(), "name": bundle.manifest().name, "target": bundle.manifest().target, "graphs": graphs})
}
