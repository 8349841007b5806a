//! Options of `drivewam study`.

use crate::config_args::ConfigArgs;
use anyhow::{Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;

/// Maximum number of worlds. Seed `n` + this number is the other world whose camera `sight` shows
/// in world `n`; both are below 10000 and so held out of training.
pub(super) const MAX_WORLDS: usize = 5000;
/// Seeds below this one are held out of training.
const HELD_OUT: u64 = 10_000;
/// Default chunks of a drive of `memory` and `table5`: 300 s.
const CHUNKS: usize = 75;
/// Chunks of 4 s in an hour.
pub(super) const HOUR: usize = 900;

/// Options of `drivewam study`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// What to evaluate.
    #[arg(value_enum)]
    pub(super) part: Part,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Number of worlds, from seed 0 on. Default: 200 for sight and guidance, 40 for memory, 100
    /// for routes and monitors, 24 for harder. `hours` has one.
    #[arg(long)]
    pub(super) worlds: Option<usize>,
    /// First world of `routes`, `harder` and `monitors`. All are below 10000, and so held out of
    /// training.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(super) first_world: u64,
    /// Rollouts side by side with which `routes` drives the policy: several numbers, for example
    /// 4,2,1. Default: `lanes.count` of the configuration.
    #[arg(long, value_name = "COUNTS", value_delimiter = ',')]
    pub(super) lanes: Vec<usize>,
    /// Chunks of 4 s in each drive. Default: 75 for memory and table5, 3600 for hours.
    #[arg(long)]
    pub(super) chunks: Option<usize>,
    /// Other engines of the same shapes that `sight` evaluates too, and their name in the table,
    /// for example a network trained without images. Repeatable.
    #[arg(long, alias = "beside", value_parser = named_dir, value_name = "NAME=DIR")]
    pub(super) compare: Vec<(String, PathBuf)>,
    /// Pictures of another camera that `monitors` shows the policy, and their name in the table: a
    /// folder of PNG or JPEG files, in order of name. Repeatable.
    #[arg(long, value_parser = named_dir, value_name = "NAME=DIR")]
    pub(super) pictures: Vec<(String, PathBuf)>,
    /// With `monitors`: let the expert and the policy drive ordinary worlds only, and write the
    /// constants of the manifest, for `export --monitor`: limits that one of 200 chunks exceeds,
    /// and that stop one of 100 drives.
    #[arg(long, value_name = "FILE")]
    pub(super) calibrate: Option<PathBuf>,
    /// Output folder.
    #[arg(long, default_value = "out/study")]
    pub(super) out: PathBuf,
    /// Number of threads; each drives its own worlds.
    #[arg(long, default_value_t = 2)]
    pub(super) threads: usize,
    /// Print the results as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// A part of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Errors with the own camera, a black one and another world's, and of constant velocity and
    /// yaw rate.
    Sight,
    /// Errors without guidance, with the route command, and with the text of a VLM, over all chunks
    /// and where the route turns.
    Guidance,
    /// Errors and retention of each memory policy, over drives of 300 s.
    Memory,
    /// Closed loop: the policy moves the car along routes of 1 km.
    Routes,
    /// Closed loop, as `routes`, at night, in rain, with a camera elsewhere, lost frames, latency,
    /// and steering that lags.
    Harder,
    /// Which chunks the monitors notice while the camera shows something else, and where a car
    /// stops whose camera fails on the way.
    Monitors,
    /// One ride of four hours.
    Hours,
    /// Table 5 of the paper: memory and operations of full, fifo and selective at the
    /// configuration's shapes. Needs no engines.
    Table5,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sight => "sight",
            Self::Guidance => "guidance",
            Self::Memory => "memory",
            Self::Routes => "routes",
            Self::Harder => "harder",
            Self::Monitors => "monitors",
            Self::Hours => "hours",
            Self::Table5 => "table5",
        }
    }
}

/// How much to drive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) worlds: usize,
    /// Chunks per drive.
    pub(super) chunks: usize,
}

impl Args {
    /// The number of worlds and chunks, given or by default.
    ///
    /// # Errors
    /// An option that this part does not have; a number out of range.
    pub(super) fn sizes(&self) -> Result<Sizes> {
        for (option, is_given, parts) in [
            (
                "--worlds",
                self.worlds.is_some(),
                &[Part::Sight, Part::Guidance, Part::Memory, Part::Routes, Part::Harder, Part::Monitors][..],
            ),
            ("--chunks", self.chunks.is_some(), &[Part::Memory, Part::Hours, Part::Table5]),
            ("--compare", !self.compare.is_empty(), &[Part::Sight]),
            ("--first-world", self.first_world > 0, &[Part::Routes, Part::Harder, Part::Monitors]),
            ("--pictures", !self.pictures.is_empty(), &[Part::Monitors]),
            ("--calibrate", self.calibrate.is_some(), &[Part::Monitors]),
            ("--lanes", !self.lanes.is_empty(), &[Part::Routes]),
        ] {
            if is_given && !parts.contains(&self.part) {
                let names: Vec<&str> = parts.iter().map(|p| p.name()).collect();
                bail!("{option}: not an option of this part (got {:?}, wanted {})", self.part.name(), names.join(" or "));
            }
        }
        let worlds = self.worlds.unwrap_or(match self.part {
            Part::Sight | Part::Guidance => 200,
            Part::Memory => 40,
            Part::Routes | Part::Monitors => 100,
            Part::Harder => 24,
            Part::Hours | Part::Table5 => 1,
        });
        let chunks = self.chunks.unwrap_or(if self.part == Part::Hours { 4 * HOUR } else { CHUNKS });
        if !(1..=MAX_WORLDS).contains(&worlds) {
            bail!("--worlds: out of range (got {worlds}, wanted 1 to {MAX_WORLDS}: higher seeds provide another world's camera)");
        }
        if self.first_world.saturating_add(worlds as u64) > HELD_OUT {
            bail!("--first-world: out of range (got {}, wanted at most {HELD_OUT} less --worlds)", self.first_world);
        }
        if !(1..=100_000).contains(&chunks) {
            bail!("--chunks: out of range (got {chunks}, wanted 1 to 100000)");
        }
        Ok(Sizes { worlds, chunks })
    }
}

fn named_dir(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => Ok((name.to_owned(), folder.into())),
        _ => Err("wanted NAME=DIR, for example 'without images=out/blind'".to_owned()),
    }
}
