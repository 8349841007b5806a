//! `build:` what `build_engines` asks of the vendor's builder for a target. A ride does not look at it.

use super::sections::within;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Capability, Flags};
use serde::{Deserialize, Serialize};

/// `build:` how engines are built for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildConfig {
    /// GPUs to build for, `"8.6"`; TensorRT-RTX alone. Default: the GPU of the machine that builds.
    pub compute_capabilities: Vec<Capability>,
    /// What is asked of the builder, as the manifest will say it.
    pub flags: Flags,
    /// Most memory of the host that one component's build may take, bytes; default 0: nine tenths of what is free when it starts.
    pub memory_bytes: u64,
    /// Longest build of one component, seconds. Default four hours.
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
