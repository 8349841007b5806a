//! Options of `drivewam drive`.

use crate::config_args::ConfigArgs;
use crate::world::WorldKind;
use clap::Args as ClapArgs;
use std::path::{Path, PathBuf};

/// Options of `drivewam drive`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Input folder (docs/input.md), a PandaSet sequence, or `world`: a world simulated during the
    /// drive.
    #[arg(long, value_name = "DIR|world", default_value = "world")]
    pub(super) input: PathBuf,
    /// Output folder (docs/output.md). The output of an earlier drive is replaced when this one is
    /// over; the output never is, contains or lies in the input, the engines or the configuration.
    #[arg(long, value_name = "DIR", default_value = "out/drive")]
    pub(super) out: PathBuf,
    /// Replace the output folder, whatever it contains.
    #[arg(long)]
    pub(super) force: bool,
    /// World: seed, 0 by default. Seeds below 10000 are held out of training.
    #[arg(long)]
    seed: Option<u64>,
    /// World: length of the drive in seconds, 60 by default.
    #[arg(long)]
    seconds: Option<f64>,
    /// World: which kinds of road sections it has, mixed by default.
    #[arg(long, value_enum)]
    kind: Option<WorldKind>,
    /// World: the expert drives; the policy is only asked, and its errors are measured.
    #[arg(long)]
    pub(super) expert: bool,
    /// World: the published trajectory moves the car. This is the default.
    #[arg(long, hide = true, conflicts_with = "expert")]
    pub(super) closed_loop: bool,
    /// Recording: start a rollout at every frame of the first 4 s, so that every 4 s window of the
    /// recording is evaluated once.
    #[arg(long)]
    pub(super) phases: bool,
    /// Recording: drive it again with grey, mirrored and black pictures, and print the errors
    /// beside those with the true ones.
    #[arg(long)]
    pub(super) controls: bool,
    /// Replay at the speed of the stamps and enforce the deadline. Default: as fast as possible,
    /// without a deadline.
    #[arg(long)]
    pub(super) realtime: bool,
    /// Stop each rollout after this many chunks.
    #[arg(long, value_name = "N")]
    pub(super) chunks: Option<u64>,
    /// Decode the imagined frames and write them above the frames that came: future/*.png.
    #[arg(long)]
    pub(super) future: bool,
    /// Write at most this many camera images with the trajectory: overlay/*.png.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) overlays: usize,
    /// Print only the summary, as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    /// Print only errors: no progress bar, no tables.
    #[arg(long)]
    pub(super) quiet: bool,
}

impl Args {
    /// Whether the input is a simulated world. A folder of that name is `./world`.
    pub(super) fn is_world(&self) -> bool {
        self.input == Path::new("world")
    }

    /// Whether the published trajectory moves the car.
    pub(super) fn is_closed_loop(&self) -> bool {
        self.is_world() && !self.expert
    }

    /// World: its seed.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// World: length of the drive, seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(60.0)
    }

    /// World: which kinds of road sections it has.
    pub(super) fn kind(&self) -> WorldKind {
        self.kind.unwrap_or(WorldKind::Mixed)
    }

    /// Checks ranges, and options that exclude one another.
    ///
    /// # Errors
    /// The first option that is out of range or contradicts another.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.is_world() {
            let seconds = self.seconds();
            if !(1.0..=86_400.0).contains(&seconds) {
                anyhow::bail!("--seconds: out of range (got {seconds}, wanted 1 to 86400)");
            }
            for (option, is_given) in [("--phases", self.phases), ("--controls", self.controls)] {
                if is_given {
                    anyhow::bail!("{option}: needs a recording (got --input world, wanted a folder)");
                }
            }
        } else {
            if self.closed_loop {
                anyhow::bail!("--closed-loop: a recording cannot react to the plan (got --input {:?}, wanted world)", self.input);
            }
            for (option, is_given) in [
                ("--expert", self.expert),
                ("--seed", self.seed.is_some()),
                ("--seconds", self.seconds.is_some()),
                ("--kind", self.kind.is_some()),
            ] {
                if is_given {
                    anyhow::bail!("{option}: a recording is what it is (got --input {:?}, wanted world)", self.input);
                }
            }
        }
        for (option, is_given) in [("--phases", self.phases), ("--controls", self.controls)] {
            if is_given && self.realtime {
                anyhow::bail!("{option} and --realtime: {option} replays the same seconds several times; give one of the two");
            }
        }
        if self.chunks == Some(0) {
            anyhow::bail!("--chunks: out of range (got 0, wanted at least 1)");
        }
        Ok(())
    }
}
