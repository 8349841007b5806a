//! The program without the feature `tensorrt`: it says what it would build.

use crate::component::{Done, Machine, Request, Word};
use anyhow::{Result, bail};
use drivewam_core::config::Config;
use drivewam_core::manifest::Family;

pub(crate) fn library(_: Family, _: &Config) -> Result<Machine> {
    bail!(
        "this program was built without TensorRT: cargo run --release -p drivewam-build-engines --features tensorrt; --dry-run needs none"
    )
}

pub(crate) fn build(_: &Request, _: &[u8], _: &mut dyn FnMut(Word) -> bool) -> Result<Done> {
    bail!("this program was built without TensorRT")
}
