//! `build:` what `build_engines` asks of the vendor's builder. A ride does not use this section.

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Capability, Flags};
use crate::ranges::within;
use serde::{Deserialize, Serialize};

/// `build:` how engines are built for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildConfig {
    /// The GPUs to build for, as compute capabilities such as `"8.6"`: at most 99, a dot, and one
    /// digit. TensorRT-RTX only. When it is left out or empty: the GPU of the machine that builds.
    pub compute_capabilities: Vec<Capability>,
    /// The flags of the builder, as the manifest records them.
    pub flags: Flags,
    /// The most host memory that the build of one graph may take. `0`: nine tenths of the memory
    /// that is free when the build starts.
    pub memory_bytes: u64,
    /// The longest time that the build of one graph may take. The default is four hours.
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
