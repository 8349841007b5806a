//! `build:` options of `build_engines` for a target. A ride does not use them.

use super::sections::within;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Capability, Flags};
use serde::{Deserialize, Serialize};

/// `build:` how engines are built for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildConfig {
    /// Compute capabilities of the GPUs to build for, for example `"8.6"`; TensorRT-RTX only.
    /// Default: the building machine's GPU.
    pub compute_capabilities: Vec<Capability>,
    /// Options of the builder, which the manifest records.
    pub flags: Flags,
    /// Most host memory of the build of one graph, bytes. Default 0: nine tenths of the free memory
    /// at its start.
    pub memory_bytes: u64,
    /// Longest build of one graph, seconds. Default four hours.
    pub time_limit_s: u64,
}

impl Default for BuildConfig {
    fn default() -> Self {
        Self { compute_capabilities: Vec::new(), flags: Flags::default(), memory_bytes: 0, time_limit_s: 4 * 3600 }
    }
}

impl BuildConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("build.flags.optimization_level", self.flags.optimization_level as usize, 0, 5)?;
        within("build.time_limit_s", usize::try_from(self.time_limit_s).unwrap_or(usize::MAX), 1, 1_000_000)?;
        match self.compute_capabilities.iter().find(|c| c.0[0] > 99 || c.0[1] > 9) {
            Some(odd) => Err(Error::new(ErrorKind::Config, "not a compute capability").at("build.compute_capabilities").got(odd)),
            None => Ok(()),
        }
    }
}
