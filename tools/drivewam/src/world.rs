//! `drivewam world`: generates worlds as input folders (docs/input.md), one per seed.

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use drivewam::{EngineBundle, Plan, RideOptions, SourceCamera, Trust, load_config};
use drivewam_console::{StopFlag, print_line};
use drivewam_core::config::{Config, Layer};
use drivewam_core::dims::Intrinsics;
use drivewam_simulation::PolicyDriver;
use drivewam_world::{Driver, ExpertDriver, FrameFormat, Kind, Options, PlanLabels, WriteOptions, write_seeds};
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::Range;
use std::path::{Path, PathBuf};

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
    /// Plans that do not know what others will do: lights stay, the lead keeps its speed.
    #[arg(long, requires = "plans")]
    no_foresight: bool,
    /// Plans that stop this much sooner than the expert drives, in metres.
    #[arg(long, requires = "plans", value_name = "METRES", default_value_t = 0.0)]
    extra_margin: f64,
    /// Where the camera looks beside straight ahead, in degrees, left positive: a camera that was
    /// mounted wrongly.
    #[arg(long, value_name = "DEGREES", default_value_t = 0.0, allow_negative_numbers = true)]
    camera_yaw: f64,
    /// Let the policy of this configuration drive, in closed loop; the expert takes over where the
    /// car is lost, has collided or stands for nothing.
    #[arg(long, value_name = "CONFIG")]
    policy: Option<PathBuf>,
    /// Override one key of the policy's configuration, for example --set lanes.count=4. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "policy")]
    set: Vec<String>,
    /// With --policy: the expert drives alone where the seed is a multiple of N.
    #[arg(long, value_name = "N", requires = "policy", default_value_t = 0)]
    expert_every: u64,
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

/// The policy of `--policy`.
struct Policy {
    config: Config,
    bundle: EngineBundle,
    expert_every: u64,
}

impl Policy {
    /// Opens the engines. The rides of a process share the threads of an engine, so there are as
    /// many of them as rides.
    fn open(path: &Path, args: &Args) -> Result<Self> {
        let layers: Vec<Layer> = args.set.iter().map(|text| Layer::setting(text)).collect::<drivewam_core::Result<_>>()?;
        let mut config = load_config(path, &layers)?;
        drivewam_console::warn("drivewam", config.deprecated_keys());
        (config.engine.threads, config.target.threads) = (args.threads.clamp(1, 64), 1);
        let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::of_config(&config)?)?;
        Ok(Self { config, bundle, expert_every: args.expert_every })
    }

    fn driver(&self) -> drivewam_core::Result<Box<dyn Driver>> {
        let camera = SourceCamera::of_model(&self.config.model);
        // The car may be pushed back onto the lane, so a request for minimal risk does not last.
        let plan = Plan::new(self.config.clone(), self.bundle.manifest(), camera, RideOptions::EVALUATION)?;
        Ok(Box::new(PolicyDriver::new(plan.warm(self.bundle.clone())?, self.expert_every)?))
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Invalid options or engines; a ride fails; a folder cannot be written; Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !(16..=4096).contains(&args.width) {
        bail!("--width: out of range (got {}, wanted 16 to 4096)", args.width);
    }
    if !(args.seconds > 0.0 && args.seconds <= 86_400.0) {
        bail!("--seconds: out of range (got {}, wanted above 0, at most 86400)", args.seconds);
    }
    if !(0.0..=10.0).contains(&args.extra_margin) {
        bail!("--extra-margin: out of range (got {}, wanted 0 to 10)", args.extra_margin);
    }
    let policy = args.policy.as_deref().map(|path| Policy::open(path, args)).transpose()?;
    let scale = args.width as f64 / 112.0;
    let options = WriteOptions {
        world: Options {
            kind: args.kind.into(),
            disturb: args.disturb,
            camera_yaw_rad: args.camera_yaw.to_radians(),
            ..Options::default()
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
        plans: args.plans.then_some(PlanLabels { foresight: !args.no_foresight, extra_margin_m: args.extra_margin }),
        captions: args.captions,
        driver: policy.as_ref().map(|policy| policy.bundle.manifest_sha256().to_owned()),
        threads: args.threads.clamp(1, 64),
    };
    let stop = StopFlag::on_signals().context("cannot install the handlers of signals")?;
    let bar = ProgressBar::new(args.seeds.end - args.seeds.start);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} drives {elapsed} (left {eta})")?);
    let make_driver = || policy.as_ref().map_or_else(|| Ok(Box::new(ExpertDriver) as Box<dyn Driver>), Policy::driver);
    let written = write_seeds(args.seeds.clone(), &options, &args.out, &make_driver, &|done| bar.set_position(done), stop.flag())?;
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
