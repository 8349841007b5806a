//! What stands for `build.rs` without the feature `tensorrt`: the program can only plan.

use crate::messages::{BuildMachine, BuildRequest, BuiltEngine, WorkerMessage};
use anyhow::{Result, bail};
use drivewam_core::config::Config;
use drivewam_core::manifest::Family;

pub(crate) fn machine(_: Family, _: &Config) -> Result<BuildMachine> {
    bail!(
        "this program was built without TensorRT: cargo run --release -p drivewam-build-engines --features tensorrt; --dry-run needs none"
    )
}

pub(crate) fn build(_: &BuildRequest, _: &[u8], _: &mut dyn FnMut(WorkerMessage) -> bool) -> Result<BuiltEngine> {
    bail!("this program was built without TensorRT")
}
