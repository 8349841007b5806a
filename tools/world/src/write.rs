//! Worlds as input folders: the same files that a recorded drive is read from (`docs/input.md`).
//!
//! One folder per seed, written aside and renamed when it is whole: a cancelled run leaves finished folders and nothing else.

use crate::{AHEAD_TICKS, CAMERA_AHEAD_M, CAMERA_HEIGHT_M, Canvas, Facts, Labels, Light, Options, TICK_S, WORLD_VERSION, World};
use drivewam_core::dims::{Command, Intrinsics};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_guidance::bev::{BevPlot, PathSample};
use drivewam_guidance::model::PATH_SAMPLES;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// The first stamp of a written drive, nanoseconds.
const FIRST_STAMP_NS: i64 = 1_000_000_000;

/// How frames are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameFormat {
    /// One PNG per frame.
    Files,
    /// All frames in one raw file: quick to write and to map.
    Rgb8,
}

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// The world.
    pub world: Options,
    /// Length of a drive, seconds.
    pub seconds: f64,
    /// Frames per second; a divisor of ten.
    pub camera_hz: u32,
    /// Picture, pixels.
    pub width: usize,
    /// Picture, pixels.
    pub height: usize,
    /// Camera.
    pub intrinsics: Intrinsics,
    /// Storage of the frames.
    pub format: FrameFormat,
    /// Whether to write the expert's plan beside each frame (`plans.f32`), as training wants it.
    pub plans: bool,
    /// Whether to write captions and the plot of the past 4 s beside each frame (`captions.jsonl`, `plots.rgb`), as training of the guidance wants them.
    pub captions: bool,
    /// Threads, each with worlds of its own.
    pub threads: usize,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Written {
    /// Whole drives.
    pub drives: u64,
    /// Frames.
    pub frames: u64,
    /// Wall time, seconds.
    pub seconds: f64,
}

#[derive(Serialize)]
struct Header {
    schema: u32,
    camera: CameraHeader,
    frames: FramesHeader,
    source: Source,
}

#[derive(Serialize)]
struct CameraHeader {
    width: usize,
    height: usize,
    fx_px: f64,
    fy_px: f64,
    cx_px: f64,
    cy_px: f64,
    ahead_m: f64,
    height_m: f64,
    pitch_rad: f64,
}

#[derive(Serialize)]
struct FramesHeader {
    format: FrameFormat,
}

#[derive(Serialize)]
struct Source {
    kind: &'static str,
    seed: u64,
    world_version: u32,
    stretches: &'static str,
    disturb: bool,
}

/// Writes the worlds of `seeds` below `out`, one folder each, named by the seed with six digits. Seeds already there are left alone.
///
/// `progress` is called after each drive with the drives done so far; it may run on any of the threads. When `cancel` turns true the drive
/// under way is dropped.
///
/// # Errors
/// `Config` for a camera rate that does not divide ten; `Io` when a file cannot be written.
pub fn write_seeds(
    seeds: Range<u64>,
    options: &WriteOptions,
    out: &Path,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &AtomicBool,
) -> Result<Written> {
    if options.camera_hz == 0 || !10u32.is_multiple_of(options.camera_hz) {
        return Err(Error::new(ErrorKind::Config, "the camera rate does not divide the world's ticks")
            .at("camera_hz")
            .got(options.camera_hz)
            .wanted("1, 2, 5 or 10"));
    }
    fs::create_dir_all(out).map_err(|e| io(e, out))?;
    let start = Instant::now();
    let (next, drives, frames) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let worker = || -> Result<()> {
        while !cancel.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            frames.fetch_add(write_drive(seed, options, out, cancel)?, Ordering::Relaxed);
            progress(drives.fetch_add(1, Ordering::Relaxed) + 1);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for i in 0..options.threads.max(1) {
            let thread = std::thread::Builder::new().name(format!("world-{i}"));
            handles.push(thread.spawn_scoped(scope, worker).map_err(|e| io(e, out))?);
        }
        for handle in handles {
            handle.join().map_err(|_panic| Error::new(ErrorKind::Usage, "a writing thread panicked"))??;
        }
        Ok(())
    })?;
    Ok(Written { drives: drives.into_inner(), frames: frames.into_inner(), seconds: start.elapsed().as_secs_f64() })
}

fn io(error: std::io::Error, path: &Path) -> Error {
    Error::new(ErrorKind::Io, "cannot be written").at(format!("{path:?}")).caused_by(error)
}

fn write_drive(seed: u64, options: &WriteOptions, out: &Path, cancel: &AtomicBool) -> Result<u64> {
    let folder = out.join(format!("{seed:06}"));
    if folder.join("input.yaml").exists() {
        return Ok(0);
    }
    let aside = out.join(format!(".{seed:06}.partial"));
    let _ = fs::remove_dir_all(&aside);
    let written = fill(seed, options, &aside, cancel);
    if cancel.load(Ordering::Relaxed) || written.is_err() {
        let _ = fs::remove_dir_all(&aside);
        return written.map(|_| 0);
    }
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&aside, &folder).map_err(|e| io(e, &folder))?;
    written
}

fn fill(seed: u64, options: &WriteOptions, folder: &Path, cancel: &AtomicBool) -> Result<u64> {
    fs::create_dir_all(folder.join("frames")).map_err(|e| io(e, folder))?;
    let mut raw = match options.format {
        FrameFormat::Rgb8 => {
            let path = folder.join("frames.rgb");
            Some(BufWriter::new(File::create(&path).map_err(|e| io(e, &path))?))
        }
        FrameFormat::Files => None,
    };
    let plans = folder.join("plans.f32");
    let mut plans = if options.plans { Some(BufWriter::new(File::create(&plans).map_err(|e| io(e, &plans))?)) } else { None };
    let mut plots = if options.captions { Some(Plots::new(folder, options)?) } else { None };
    let mut world = World::new(seed, options.world);
    let mut canvas = Canvas::new(options.width, options.height, options.intrinsics);
    let (mut frames, mut poses, mut ego) = (
        "stamp_ns,file\n".to_owned(),
        "stamp_ns,x_m,y_m,yaw_rad\n".to_owned(),
        "stamp_ns,speed_mps,acceleration_mps2,curvature_1pm\n".to_owned(),
    );
    let (mut commands, mut labels) = ("stamp_ns,command\n".to_owned(), Labels::CSV_HEADER.to_owned());
    let (mut last_command, mut captions) = (None, String::new());
    let every = u64::from(10 / options.camera_hz);
    let ticks = (options.seconds / TICK_S).round() as u64;
    let mut count = 0;
    for tick in 0..=ticks {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        let stamp = FIRST_STAMP_NS + tick as i64 * 100_000_000;
        let state = world.ego();
        if let Some(plots) = &mut plots {
            plots.remember(PathSample { pose: state.pose, speed_mps: state.speed_mps });
        }
        let written = writeln!(poses, "{stamp},{},{},{}", state.pose.x_m, state.pose.y_m, state.pose.yaw_rad)
            .and_then(|()| writeln!(ego, "{stamp},{},{},{}", state.speed_mps, state.acceleration_mps2, state.curvature_1pm))
            .and_then(|()| labels.write_str(&world.labels().csv(stamp)));
        written.map_err(|e| Error::new(ErrorKind::Io, "a row cannot be formatted").caused_by(e))?;
        let command = world.command();
        if last_command != Some(command) {
            commands.push_str(&format!("{stamp},{}\n", command.as_str()));
            last_command = Some(command);
        }
        if tick % every == 0 {
            world.render(&mut canvas);
            if let Some(file) = &mut plans {
                for number in world.plan(AHEAD_TICKS).iter().flat_map(|p| [p.x_m, p.y_m, p.yaw_rad]) {
                    file.write_all(&(number as f32).to_le_bytes()).map_err(|e| io(e, folder))?;
                }
            }
            if let Some(plots) = &mut plots {
                captions.push_str(&captioned(&world, stamp));
                plots.write()?;
            }
            match &mut raw {
                Some(file) => {
                    frames.push_str(&format!("{stamp},{count}\n"));
                    file.write_all(&canvas.rgb).map_err(|e| io(e, folder))?;
                }
                None => {
                    let name = format!("{count:06}.png");
                    let path = folder.join("frames").join(&name);
                    image::save_buffer(&path, &canvas.rgb, canvas.width as u32, canvas.height as u32, image::ColorType::Rgb8)
                        .map_err(|e| Error::new(ErrorKind::Io, "cannot be written").at(format!("{path:?}")).caused_by(e))?;
                    frames.push_str(&format!("{stamp},{name}\n"));
                }
            }
            count += 1;
        }
        world.step(world.expert());
    }
    for mut file in raw.into_iter().chain(plans).chain(plots.map(|plots| plots.file)) {
        file.flush().map_err(|e| io(e, folder))?;
    }
    let Intrinsics { fx_px, fy_px, cx_px, cy_px } = options.intrinsics;
    let header = Header {
        schema: 1,
        camera: CameraHeader {
            width: options.width,
            height: options.height,
            fx_px,
            fy_px,
            cx_px,
            cy_px,
            ahead_m: CAMERA_AHEAD_M,
            height_m: CAMERA_HEIGHT_M,
            pitch_rad: 0.0,
        },
        frames: FramesHeader { format: options.format },
        source: Source {
            kind: "world",
            seed,
            world_version: WORLD_VERSION,
            stretches: options.world.kind.as_str(),
            disturb: options.world.disturb,
        },
    };
    let header = serde_saphyr::to_string(&header).map_err(|e| Error::new(ErrorKind::Io, "the header cannot be formatted").caused_by(e))?;
    for (name, text) in [
        ("frames.csv", frames),
        ("poses.csv", poses),
        ("ego.csv", ego),
        ("commands.csv", commands),
        ("labels.csv", labels),
        ("captions.jsonl", captions),
        ("input.yaml", header),
    ] {
        if text.is_empty() {
            continue;
        }
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| io(e, &path))?;
    }
    Ok(count)
}

/// `plots.rgb`: a plot of the frame's size beside each frame.
struct Plots {
    plot: BevPlot,
    file: BufWriter<File>,
    path: PathBuf,
    /// The newest ticks in the world's plane, oldest first.
    past: Vec<PathSample>,
    /// The same in the frame of the newest.
    seen: Vec<PathSample>,
}

impl Plots {
    fn new(folder: &Path, options: &WriteOptions) -> Result<Self> {
        let path = folder.join("plots.rgb");
        let file = BufWriter::new(File::create(&path).map_err(|e| io(e, &path))?);
        Ok(Self { plot: BevPlot::new(options.height, options.width)?, file, path, past: Vec::new(), seen: Vec::new() })
    }

    fn remember(&mut self, newest: PathSample) {
        if self.past.len() == PATH_SAMPLES {
            self.past.remove(0);
        }
        self.past.push(newest);
    }

    fn write(&mut self) -> Result<()> {
        let Some(newest) = self.past.last().map(|sample| sample.pose) else { return Ok(()) };
        self.seen.clear();
        self.seen.extend(self.past.iter().map(|sample| PathSample { pose: sample.pose.relative_to(&newest), ..*sample }));
        self.file.write_all(self.plot.draw(&self.seen)).map_err(|e| io(e, &self.path))
    }
}

/// Two lines: the caption under the command in force, and under none. Captions are letters, spaces, commas and full stops: nothing to escape.
fn captioned(world: &World, stamp_ns: i64) -> String {
    let line = |facts: Facts| {
        let (word, text) = (facts.command.as_str(), facts.caption());
        format!("{{\"stamp_ns\": {stamp_ns}, \"command\": \"{word}\", \"caption\": \"{text}\"}}\n")
    };
    let facts = world.facts(world.command());
    line(facts) + &line(Facts { command: Command::Unknown, ..facts })
}

impl Labels {
    const CSV_HEADER: &'static str = "stamp_ns,limit_mps,sign_visible,light,lead_gap_m,pedestrian,memory_needed\n";

    fn csv(&self, stamp_ns: i64) -> String {
        let light = match self.light {
            None => "none",
            Some(Light::Green) => "green",
            Some(Light::Amber) => "amber",
            Some(Light::Red) => "red",
        };
        let gap = self.lead_gap_m.map_or_else(String::new, |gap| format!("{gap:.2}"));
        format!(
            "{stamp_ns},{},{},{light},{gap},{},{}\n",
            self.limit_mps,
            u8::from(self.sign_visible),
            u8::from(self.pedestrian),
            u8::from(self.memory_needed)
        )
    }
}
