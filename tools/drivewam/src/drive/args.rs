//! What `drivewam drive` can be told.

use crate::shipped::ConfigArgs;
use clap::{Args as ClapArgs, ValueEnum};
use drivewam_world::Kind;
use std::path::{Path, PathBuf};

/// Options of `drivewam drive`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Input folder (docs/input.md), a PandaSet sequence, or `world`: a world that is drawn as the drive goes.
    #[arg(long, value_name = "DIR|world", default_value = "world")]
    pub(super) input: PathBuf,
    /// Output folder (docs/output.md). A former drive's is replaced.
    #[arg(long, value_name = "DIR", default_value = "out/drive")]
    pub(super) out: PathBuf,
    /// Replace the output folder whatever is in it.
    #[arg(long)]
    pub(super) force: bool,
    /// World: which one. Seeds below 10000 were never trained on.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// World: length of the drive, seconds.
    #[arg(long, default_value_t = 60.0)]
    pub(super) seconds: f64,
    /// World: kind of stretches.
    #[arg(long, value_enum, default_value_t = Stretches::Mixed)]
    pub(super) kind: Stretches,
    /// World: the published trajectory moves the car, in place of the expert.
    #[arg(long)]
    pub(super) closed_loop: bool,
    /// Recording: a rollout of its own from every frame of the first 4 s, so that each window of 4 s is judged once at each frame's phase.
    #[arg(long)]
    pub(super) phases: bool,
    /// Pace by the stamps and judge the deadline; else as fast as it goes, and no deadline is judged.
    #[arg(long)]
    pub(super) realtime: bool,
    /// Stop each rollout after this many chunks.
    #[arg(long, value_name = "N")]
    pub(super) chunks: Option<u64>,
    /// Decode the imagined frames and write them beside what then came: future/*.png.
    #[arg(long)]
    pub(super) future: bool,
    /// Most camera pictures with the trajectory that are written: overlay/*.png.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) overlays: usize,
    /// Print the summary as one JSON object, and nothing else.
    #[arg(long)]
    pub(super) json: bool,
    /// No progress and no table; errors alone.
    #[arg(long)]
    pub(super) quiet: bool,
}

/// Kinds of stretches, as `drivewam world` has them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Stretches {
    Ordinary,
    Memory,
    Mixed,
}

impl Stretches {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Ordinary => Kind::Ordinary,
            Self::Memory => Kind::Memory,
            Self::Mixed => Kind::Mixed,
        }
    }
}

impl Args {
    /// Whether the input is drawn as the drive goes. A folder of that name is `./world`.
    pub(super) fn is_world(&self) -> bool {
        self.input == Path::new("world")
    }

    /// Refuses options that contradict one another.
    ///
    /// # Errors
    /// The first contradiction, or a number out of range.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.is_world() {
            if !(self.seconds >= 1.0 && self.seconds <= 86_400.0) {
                anyhow::bail!("--seconds: out of range (got {}, wanted 1 to 86400)", self.seconds);
            }
            if self.phases {
                anyhow::bail!("--phases: only a recording has phases (got --input world, wanted a folder)");
            }
        } else if self.closed_loop {
            anyhow::bail!("--closed-loop: a recording cannot be moved (got --input {:?}, wanted world)", self.input);
        }
        if self.phases && self.realtime {
            anyhow::bail!("--phases and --realtime: the same seconds cannot pass twice");
        }
        if self.chunks == Some(0) {
            anyhow::bail!("--chunks: out of range (got 0, wanted at least 1)");
        }
        Ok(())
    }
}
