//! `drivewam check`: makes every check of a recording, decodes every picture, and prints a table.

use crate::config_args::ConfigArgs;
use crate::table::Table;
use anyhow::Result;
use clap::Args as ClapArgs;
use drivewam::SourceCamera;
use drivewam_console::{note, print_line};
use drivewam_core::config::{CameraFit, Config};
use drivewam_core::stamp::exceeds_ms;
use drivewam_recording::{InputCheck, Limits, RecordedCamera, Recording};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Pictures that are named one by one when they cannot be decoded.
const MAX_NAMED: usize = 20;

/// Options of `drivewam check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Input folder (docs/input.md), or a PandaSet sequence.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the checks as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand. Needs a configuration, for limits and the model's frames, and no engines.
/// The exit code is 1 when a check refuses the recording.
///
/// # Errors
/// The configuration cannot be loaded.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?.config;
    let (recording, mut checks) = Recording::check(&args.dir, Limits::of(&config));
    if let Some(recording) = &recording {
        checks.push(field_of_view(recording.camera(), &config));
        checks.extend(frame_grid(recording, &config));
        checks.extend(pictures(recording, args.json)?);
    }
    let refused = checks.iter().filter(|check| check.fault.is_some()).count();
    if args.json {
        let rows: Vec<Value> = checks.iter().map(row).collect();
        let format = recording.as_ref().map(Recording::format);
        print_line!("{}", json!({"schema": 1, "format": format, "refused": refused, "checks": rows}));
    } else {
        let mut table = Table::new(&["check", "file", "result", "figure", "limit"]);
        for check in &checks {
            let result = result(check);
            table.row(vec![check.check.into(), check.file.clone(), result.into(), check.figure.clone(), check.limit.clone()]);
        }
        print_line!("{}", table.markdown().trim_end());
    }
    for fault in checks.iter().filter_map(|check| check.fault.as_ref()) {
        note!("drivewam: {fault}");
    }
    Ok(if refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn result(check: &InputCheck) -> &'static str {
    match (&check.fault, check.is_noted) {
        (Some(_), _) => "REFUSED",
        (None, true) => "noted",
        (None, false) => "ok",
    }
}

fn row(check: &InputCheck) -> Value {
    json!({"check": check.check, "file": check.file, "result": result(check).to_lowercase(), "figure": check.figure, "limit": check.limit,
        "error": check.fault.as_ref().map(ToString::to_string)})
}

/// The field of view beside that of the model's camera: more than `camera.fov_tolerance` apart, it
/// is a degradation of every chunk.
fn field_of_view(camera: RecordedCamera, config: &Config) -> InputCheck {
    let RecordedCamera { width, height, intrinsics, .. } = camera;
    let theirs = SourceCamera::rgb8(width, height, intrinsics).fov_rad();
    let ours = SourceCamera::of_model(&config.model).fov_rad();
    let differs = theirs.iter().zip(ours).map(|(theirs, ours)| (theirs / ours - 1.0).abs()).fold(0.0, f64::max);
    let show = |fov: [f64; 2]| format!("{:.1} x {:.1} degrees", fov[0].to_degrees(), fov[1].to_degrees());
    let limit = match config.camera.fit {
        CameraFit::Resize => format!("{}, {:.0} %", show(ours), 100.0 * config.camera.fov_tolerance),
        CameraFit::Reproject => "any (camera.fit: reproject)".to_owned(),
    };
    let is_noted = config.camera.fit == CameraFit::Resize && differs > config.camera.fov_tolerance;
    InputCheck::note("field of view", "camera", show(theirs), limit, is_noted)
}

/// Which frames a ride uses from the first one on, and how far each is from its place in the grid.
fn frame_grid(recording: &Recording, config: &Config) -> Option<InputCheck> {
    let (period_ns, tolerance_ms) = (config.model.frame_period_ns(), config.ingest.frame_tolerance_ms);
    let frames = recording.frames();
    let (mut anchor_ns, mut taken) = (*frames.get(recording.first_frame().ok()?)?, 0);
    let (mut used, mut missing, mut largest_ns) = (1, 0, 0i64);
    let last_ns = *frames.last()?;
    loop {
        let expected_ns = anchor_ns + (taken + 1) * period_ns;
        let after = frames.partition_point(|stamp| *stamp < expected_ns);
        let near = [after.checked_sub(1).and_then(|before| frames.get(before)), frames.get(after)];
        let nearest = near.into_iter().flatten().copied().min_by_key(|stamp| (stamp - expected_ns).abs()).unwrap_or(last_ns);
        let off_ns = (nearest - expected_ns).abs();
        if off_ns <= i64::from(tolerance_ms) * 1_000_000 {
            (used, taken, largest_ns) = (used + 1, taken + 1, largest_ns.max(off_ns));
            if taken == i64::try_from(config.model.image.frames_per_latent).ok()? {
                (anchor_ns, taken) = (nearest, 0);
            }
        } else if let Some(next) = frames.get(after) {
            (missing, used, anchor_ns, taken) = (missing + 1, used + 1, *next, 0);
        } else {
            break;
        }
    }
    let figure = format!("{used} used, {missing} missing, at most {:.2} ms off", largest_ns as f64 * 1e-6);
    let jitter_ms = config.ingest.max_frame_jitter_ms;
    let limit = format!("every {} ms, {jitter_ms} ms off; {tolerance_ms} ms is missing", period_ns / 1_000_000);
    let is_noted = missing > 0 || exceeds_ms(largest_ns, jitter_ms);
    Some(InputCheck::note("frame grid", "frames", figure, limit, is_noted))
}

/// Decodes every picture.
fn pictures(recording: &Recording, is_quiet: bool) -> Result<Vec<InputCheck>> {
    let count = recording.frames().len();
    let bar = ProgressBar::new(count as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} pictures {elapsed} (left {eta})")?);
    if is_quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let limit = "whole, of the camera's size";
    let (mut rows, mut whole, mut rgb) = (Vec::new(), 0, Vec::new());
    for index in 0..count {
        match recording.decode(index, &mut rgb) {
            Ok(()) => whole += 1,
            Err(error) if rows.len() < MAX_NAMED => {
                rows.push(InputCheck::new("picture", "frames", format!("frame {index}"), limit, Err(error)))
            }
            Err(_) => {}
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    rows.push(InputCheck::note("pictures", "frames", format!("{whole} of {count} decoded"), limit, whole < count));
    Ok(rows)
}
