//! `build:` what `build_engines` asks of the vendor's builder for a target. A ride does not look at it.

use super::sections::within;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Capability, Flags};
use serde::{Deserialize, Serialize};

/// `build:` how engines are built for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// GPUs to build for, `"8.6"`; TensorRT-RTX alone. Default: the GPU of the machine that builds.
    pub compute_capabilities: Vec<Capability>,
    /// How long the builder looks for faster kernels, 0 to 5. Default 3.
    pub optimization_level: u32,
    /// f32 products may be rounded to 10 bits of mantissa. Default false.
    pub tf32: bool,
    /// The engines load in later versions of the same major. Default false.
    pub version_compatible: bool,
    /// The engines load on any GPU of Ampere or later; TensorRT alone. Default false.
    pub hardware_compatible: bool,
    /// Weights may stay in host memory, see `engine.tensorrt.weight_budget_bytes`. Default false.
    pub weight_streaming: bool,
    /// Most device memory that a tactic may take, bytes; default 0: what the GPU has.
    pub workspace_bytes: u64,
    /// Most memory of the host that one component's build may take, bytes; default 0: nine tenths of what is free when it starts.
    pub memory_bytes: u64,
    /// Longest build of one component, seconds. Default four hours.
    pub time_limit_s: u64,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            compute_capabilities: Vec::new(),
            optimization_level: 3,
            tf32: false,
            version_compatible: false,
            hardware_compatible: false,
            weight_streaming: false,
            workspace_bytes: 0,
            memory_bytes: 0,
            time_limit_s: 4 * 3600,
        }
    }
}

impl Build {
    /// What the manifest says of it.
    pub fn flags(&self) -> Flags {
        Flags {
            optimization_level: self.optimization_level,
            tf32: self.tf32,
            version_compatible: self.version_compatible,
            hardware_compatible: self.hardware_compatible,
            weight_streaming: self.weight_streaming,
            workspace_bytes: self.workspace_bytes,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        within("build.optimization_level", self.optimization_level as usize, 0, 5)?;
        within("build.time_limit_s", usize::try_from(self.time_limit_s).unwrap_or(usize::MAX), 1, 1_000_000)?;
        match self.compute_capabilities.iter().find(|c| c.0[0] > 99 || c.0[1] > 9) {
            Some(odd) => Err(Error::new(ErrorKind::Config, "not a compute capability").at("build.compute_capabilities").got(odd)),
            None => Ok(()),
        }
    }
}
