//! The files of one drive: the recording format (`docs/input.md`), and the optional files of
//! training.

use crate::canvas::Canvas;
use crate::caption::Facts;
use crate::dimensions::{CAMERA_AHEAD_M, CAMERA_HEIGHT_M};
use crate::driver::Driver;
use crate::labels::Labels;
use crate::options::Options;
use crate::output::{Output, write_error};
use crate::plan::PlanLabels;
use crate::plots::PlotWriter;
use crate::tick::{PLAN_TICKS, TICK_NS, TICK_S};
use crate::world::{WORLD_VERSION, World};
use drivewam_core::dims::{Command, Intrinsics};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_guidance::bev::PathSample;
use drivewam_recording::format::{self, CameraHeader, FrameFormat, FramesHeader, RecordingHeader};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first stamp of a written drive, nanoseconds.
const FIRST_STAMP_NS: i64 = 1_000_000_000;

/// The expert's plans, of [`WriteOptions::plans`].
pub(crate) const PLANS_FILE: &str = "plans.f32";
/// The captions, of [`WriteOptions::captions`].
pub(crate) const CAPTIONS_FILE: &str = "captions.jsonl";

/// What to write of each world.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// The parameters of the world.
    pub world: Options,
    /// Length of a drive, seconds.
    pub seconds: f64,
    /// Frames per second; a divisor of ten.
    pub camera_hz: u32,
    /// Width of the images, pixels.
    pub width: usize,
    /// Height of the images, pixels.
    pub height: usize,
    /// Intrinsics of the camera.
    pub intrinsics: Intrinsics,
    /// Storage of the frames.
    pub format: FrameFormat,
    /// Which of the expert's plans to write beside each frame (`plans.f32`), for training; `None`
    /// for none.
    pub plans: Option<PlanLabels>,
    /// Whether to write captions and the plot of the past 4 s beside each frame (`captions.jsonl`,
    /// `plots.rgb`), for training the VLM.
    pub captions: bool,
    /// Who drives, for the header; `None` for the expert.
    pub driver: Option<String>,
    /// Threads, each with worlds of its own.
    pub threads: usize,
}

impl WriteOptions {
    /// Ticks of a drive.
    pub(crate) fn ticks(&self) -> u64 {
        (self.seconds / TICK_S).round() as u64
    }

    /// Ticks from one frame to the next.
    pub(crate) fn frame_every(&self) -> u64 {
        u64::from(10 / self.camera_hz)
    }
}

/// `source` in the header.
#[derive(Serialize)]
pub(crate) struct Source {
    kind: &'static str,
    seed: u64,
    world_version: u32,
    stretches: &'static str,
    disturb: bool,
    /// Left out where the expert drives.
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    /// Left out where the plans know what others will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    plans: Option<PlanSource>,
}

/// How the plans beside the frames were made.
#[derive(Serialize)]
pub(crate) struct PlanSource {
    foresight: bool,
    extra_margin_m: f64,
}

/// Writes the drive of `seed` into `folder` and returns the number of frames. Stops early when
/// `cancel` turns true; the folder is then incomplete.
///
/// # Errors
/// `Io` if a file cannot be written; errors of `driver`.
pub(crate) fn write_files(seed: u64, options: &WriteOptions, folder: &Path, driver: &mut dyn Driver, cancel: &AtomicBool) -> Result<u64> {
    fs::create_dir_all(folder.join(format::FRAMES_DIR)).map_err(|e| write_error(e, folder))?;
    let mut frames = FrameWriter::create(folder, options.format)?;
    let mut plans = if options.plans.is_some() { Some(Output::create(folder.join(PLANS_FILE))?) } else { None };
    let mut plots = if options.captions { Some(PlotWriter::create(folder, options.height, options.width)?) } else { None };
    let mut world = World::new(seed, options.world);
    let mut canvas = Canvas::new(options.width, options.height, options.intrinsics);
    let mut tables = Tables::new();
    let mut captions = String::new();
    let every = options.frame_every();
    driver.begin(&world)?;
    for tick in 0..=options.ticks() {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        let stamp_ns = FIRST_STAMP_NS + tick as i64 * TICK_NS;
        tables.add(&world, stamp_ns)?;
        if let Some(plots) = &mut plots {
            let ego = world.ego();
            plots.push(PathSample { pose: ego.pose, speed_mps: ego.speed_mps });
        }
        if tick % every == 0 {
            world.render(&mut canvas);
            if let Some((plans, labels)) = plans.as_mut().zip(options.plans) {
                for number in world.label_plan(labels, PLAN_TICKS).iter().flat_map(|p| [p.x_m, p.y_m, p.yaw_rad]) {
                    plans.write(&(number as f32).to_le_bytes())?;
                }
            }
            if let Some(plots) = &mut plots {
                captions.push_str(&caption_lines(&world, stamp_ns));
                plots.write()?;
            }
            frames.write(stamp_ns, &canvas)?;
        }
        world.step(driver.control(&world)?);
    }
    for output in frames.raw.into_iter().chain(plans) {
        output.finish()?;
    }
    if let Some(plots) = plots {
        plots.finish()?;
    }
    for (name, text) in [
        (format::FRAMES.file, frames.table),
        (format::POSES.file, tables.poses),
        (format::EGO.file, tables.ego),
        (format::COMMANDS.file, tables.commands),
        ("labels.csv", tables.labels),
        (CAPTIONS_FILE, captions),
        (format::HEADER_FILE, header(seed, options).to_yaml()?),
    ] {
        if text.is_empty() {
            continue;
        }
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| write_error(e, &path))?;
    }
    Ok(frames.count)
}

/// `input.yaml` of the drive of `seed`.
pub(crate) fn header(seed: u64, options: &WriteOptions) -> RecordingHeader<Source> {
    let Intrinsics { fx_px, fy_px, cx_px, cy_px } = options.intrinsics;
    RecordingHeader {
        schema: format::SCHEMA,
        camera: CameraHeader {
            width: options.width,
            height: options.height,
            fx_px,
            fy_px,
            cx_px,
            cy_px,
            ahead_m: Some(CAMERA_AHEAD_M),
            height_m: Some(CAMERA_HEIGHT_M + options.world.camera_offset_m[1]),
            pitch_rad: Some(0.0),
            yaw_rad: Some(options.world.camera_yaw_rad),
            roll_rad: Some(0.0),
            distortion: None,
        },
        frames: FramesHeader { format: options.format },
        source: Source {
            kind: "world",
            seed,
            world_version: WORLD_VERSION,
            stretches: options.world.kind.as_str(),
            disturb: options.world.disturb,
            driver: options.driver.clone(),
            plans: options
                .plans
                .filter(|plans| !plans.foresight || plans.extra_margin_m != 0.0)
                .map(|PlanLabels { foresight, extra_margin_m }| PlanSource { foresight, extra_margin_m }),
        },
    }
}

/// The CSV files with a row for each tick, except the frames.
struct Tables {
    poses: String,
    ego: String,
    commands: String,
    labels: String,
    last_command: Option<Command>,
}

impl Tables {
    fn new() -> Self {
        Self {
            poses: format::POSES.header_line(),
            ego: format::EGO.header_line(),
            commands: format::COMMANDS.header_line(),
            labels: Labels::CSV_HEADER.to_owned(),
            last_command: None,
        }
    }

    fn add(&mut self, world: &World, stamp_ns: i64) -> Result<()> {
        let ego = world.ego();
        writeln!(self.poses, "{stamp_ns},{},{},{}", ego.pose.x_m, ego.pose.y_m, ego.pose.yaw_rad)
            .and_then(|()| writeln!(self.ego, "{stamp_ns},{},{},{}", ego.speed_mps, ego.acceleration_mps2, ego.curvature_1pm))
            .map_err(|e| Error::new(ErrorKind::Io, "cannot format a row").caused_by(e))?;
        self.labels.push_str(&world.labels().csv(stamp_ns));
        let command = world.command();
        if self.last_command != Some(command) {
            self.commands.push_str(&format!("{stamp_ns},{}\n", command.as_str()));
            self.last_command = Some(command);
        }
        Ok(())
    }
}

/// Two lines: the caption for the command in force, and for the command `unknown`. Captions consist
/// of letters, spaces, commas and full stops, so nothing needs escaping.
fn caption_lines(world: &World, stamp_ns: i64) -> String {
    let line = |facts: Facts| {
        let (command, text) = (facts.command.as_str(), facts.caption());
        format!("{{\"stamp_ns\": {stamp_ns}, \"command\": \"{command}\", \"caption\": \"{text}\"}}\n")
    };
    let facts = world.facts(world.command());
    line(facts) + &line(Facts { command: Command::Unknown, ..facts })
}

/// The images, and the text of `frames.csv`.
struct FrameWriter {
    folder: PathBuf,
    /// The raw file of [`FrameFormat::Rgb8`]; `None` for one file per frame.
    raw: Option<Output>,
    table: String,
    count: u64,
}

impl FrameWriter {
    fn create(folder: &Path, format: FrameFormat) -> Result<Self> {
        let raw = match format {
            FrameFormat::Rgb8 => Some(Output::create(folder.join(format::RAW_FRAMES_FILE))?),
            FrameFormat::Files => None,
        };
        Ok(Self { folder: folder.join(format::FRAMES_DIR), raw, table: format::FRAMES.header_line(), count: 0 })
    }

    fn write(&mut self, stamp_ns: i64, canvas: &Canvas) -> Result<()> {
        let count = self.count;
        if let Some(raw) = &mut self.raw {
            raw.write(&canvas.rgb)?;
            self.table.push_str(&format!("{stamp_ns},{count}\n"));
        } else {
            let name = format!("{count:06}.png");
            let path = self.folder.join(&name);
            image::save_buffer(&path, &canvas.rgb, canvas.width as u32, canvas.height as u32, image::ColorType::Rgb8)
                .map_err(|e| Error::new(ErrorKind::Io, "cannot write").at(format!("{path:?}")).caused_by(e))?;
            self.table.push_str(&format!("{stamp_ns},{name}\n"));
        }
        self.count += 1;
        Ok(())
    }
}
