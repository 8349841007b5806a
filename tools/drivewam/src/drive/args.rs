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
    /// Output folder (docs/output.md). The output of an earlier drive is replaced.
    #[arg(long, value_name = "DIR", default_value = "out/drive")]
    pub(super) out: PathBuf,
    /// Replace the output folder, whatever it contains.
    #[arg(long)]
    pub(super) force: bool,
    /// World: seed. Seeds below 10000 are held out of training.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// World: length of the drive in seconds.
    #[arg(long, default_value_t = 60.0)]
    pub(super) seconds: f64,
    /// World: which kinds of road sections it has.
    #[arg(long, value_enum, default_value_t = WorldKind::Mixed)]
    pub(super) kind: WorldKind,
    /// World: the published trajectory moves the car, not the expert.
    #[arg(long)]
    pub(super) closed_loop: bool,
    /// Recording: start a rollout at every frame of the first 4 s, so that every 4 s window of the
    /// recording is evaluated once.
    #[arg(long)]
    pub(super) phases: bool,
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

    /// Checks ranges, and options that exclude one another.
    ///
    /// # Errors
    /// The first option that is out of range or contradicts another.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.is_world() {
            if !(self.seconds >= 1.0 && self.seconds <= 86_400.0) {
                anyhow::bail!("--seconds: out of range (got {}, wanted 1 to 86400)", self.seconds);
            }
            if self.phases {
                anyhow::bail!("--phases: needs a recording (got --input world, wanted a folder)");
            }
        } else if self.closed_loop {
            anyhow::bail!("--closed-loop: a recording cannot react to the plan (got --input {:?}, wanted world)", self.input);
        }
        if self.phases && self.realtime {
            anyhow::bail!("--phases and --realtime: --phases replays the same seconds several times; give one of the two");
        }
        if self.chunks == Some(0) {
            anyhow::bail!("--chunks: out of range (got 0, wanted at least 1)");
        }
        Ok(())
    }
}
