//! How the engines of a folder were built: by which library, for which machines and in which
//! shapes; and the check whether this machine may load them.

use super::checks::check_hash;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A family of engine libraries. A library does not load engines of the other family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// TensorRT, versions 10 and later.
    Tensorrt,
    /// TensorRT-RTX, versions 1.
    TensorrtRtx,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tensorrt => "TensorRT",
            Self::TensorrtRtx => "TensorRT-RTX",
        })
    }
}

/// Numbers with dots between them, written as text: `10.3.0`, `8.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dotted<const N: usize>(pub [u32; N]);

/// The version of a library.
pub type Version = Dotted<3>;

/// A compute capability, for example `8.7`.
pub type Capability = Dotted<2>;

impl<const N: usize> fmt::Display for Dotted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.pad(&parts.join("."))
    }
}

impl<const N: usize> FromStr for Dotted<N> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut numbers = [0; N];
        let mut parts = text.split('.');
        for number in &mut numbers {
            // Accepts only what `Display` writes: no sign, no empty part, no leading space.
            let part = parts.next().filter(|p| p.bytes().all(|b| b.is_ascii_digit()));
            *number = part.and_then(|p| p.parse().ok()).ok_or_else(|| not_dotted(text, N))?;
        }
        if parts.next().is_some() { Err(not_dotted(text, N)) } else { Ok(Self(numbers)) }
    }
}

fn not_dotted(text: &str, parts: usize) -> Error {
    Error::new(ErrorKind::Manifest, "not numbers with dots between them").got(format!("{text:?}")).wanted(format!("{parts} numbers"))
}

impl<const N: usize> Serialize for Dotted<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Dotted<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How the engines of a folder were built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Built {
    /// The family of the library that built them.
    pub family: Family,
    /// The version of that library.
    pub library: Version,
    /// The CUDA version of the driver on the machine that built. Absent when the machine had no
    /// driver: TensorRT-RTX builds without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Dotted<2>>,
    /// The model of the GPU in the machine that built. Absent when `driver` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// The SHA-256 of the manifest that the engines were built from.
    pub source_sha256: String,
    /// The flags of the builder.
    pub flags: Flags,
    /// Where the engines may be loaded.
    pub compatible: Compatible,
}

/// The flags of the builder: `build.flags` of a configuration, recorded in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flags {
    /// How long the builder searches for faster kernels: 0 for the shortest search, 5 for the
    /// longest.
    pub optimization_level: u32,
    /// Whether f32 products may be rounded to 10 bits of mantissa (TF32).
    pub tf32: bool,
    /// Whether the engines also load in later versions of the same major version. TensorRT only.
    pub version_compatible: bool,
    /// Whether the engines load on any GPU of the Ampere generation or later. TensorRT only.
    pub hardware_compatible: bool,
    /// Whether weights may stay in host memory; see `engine.tensorrt.weight_budget_bytes`.
    pub weight_streaming: bool,
    /// The most device memory that a tactic of the builder may take. `0`: all that the GPU has.
    pub workspace_bytes: u64,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            optimization_level: 3,
            tf32: false,
            version_compatible: false,
            hardware_compatible: false,
            weight_streaming: false,
            workspace_bytes: 0,
        }
    }
}

/// Where engines may be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compatible {
    /// The GPUs, by compute capability.
    pub compute_capabilities: Vec<Capability>,
    /// The oldest version of the library, included.
    pub library_from: Version,
    /// The newest version of the library, included.
    pub library_to: Version,
}

/// The part of a graph's entry that describes its engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineEntry {
    /// The SHA-256 of the ONNX file that the engine was built from.
    pub onnx_sha256: String,
    /// The bytes of the weights of that graph, each weight counted once.
    pub weight_bytes: u64,
    /// The lengths of N and S that the engine runs. Empty for a graph without such axes.
    pub profiles: Vec<Profile>,
    /// The device memory that a pass takes as scratch, bytes. Absent when the library could not be
    /// asked, because the builder had no GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_bytes: Option<u64>,
    /// Which attention blocks were fused into one kernel.
    pub fusion: Fusion,
    /// The name of the file with the library's own report of layers and tactics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<String>,
    /// How long the build took, s.
    pub build_seconds: f64,
}

/// An optimization profile: the lengths of N and S that kernels were chosen for, each as
/// `[min, opt, max]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// N, the tokens of a pass.
    pub n: [usize; 3],
    /// S, the memory slots.
    pub s: [usize; 3],
}

impl Profile {
    /// Whether a pass of `n` tokens over `s` slots is in the ranges of this profile.
    pub fn holds(&self, n: usize, s: usize) -> bool {
        (self.n[0]..=self.n[2]).contains(&n) && (self.s[0]..=self.s[2]).contains(&s)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |[least, _, most]: [usize; 3]| if least == most { most.to_string() } else { format!("{least} to {most}") };
        f.pad(&format!("{} over {}", range(self.n), range(self.s)))
    }
}

/// Which attention blocks were fused into one kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// The graph has no attention.
    None,
    /// Unknown: there was no driver, so the inspector could not read the engine.
    Unknown,
    /// This many kernels of fused attention.
    Fused(usize),
    /// Unknown to the inspector, as above. The bytes of the engine name this many kernels of fused
    /// attention.
    Named(usize),
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Unknown => f.pad("unknown"),
            Self::Fused(count) => f.pad(&format!("{count} fused")),
            Self::Named(count) => f.pad(&format!("unknown, {count} named")),
        }
    }
}

/// The machine that is to load engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The family of the opened library.
    pub family: Family,
    /// The version of that library.
    pub library: Version,
    /// The compute capability of the GPU.
    pub capability: Capability,
    /// The model of the GPU.
    pub gpu: String,
}

impl Built {
    /// Checks that `machine` may load the engines.
    ///
    /// # Errors
    /// `Manifest`, with the field, what the machine has and what the engines require.
    pub fn check(&self, machine: &Machine) -> Result<()> {
        let bad = |field: &str, what: &str| Error::new(ErrorKind::Manifest, what).at(format!("built.{field}"));
        let Compatible { compute_capabilities, library_from, library_to } = &self.compatible;
        if machine.family != self.family {
            return Err(bad("family", "built for another family of libraries").got(machine.family).wanted(self.family));
        }
        if machine.library < *library_from || machine.library > *library_to {
            return Err(bad("compatible.library", "built for another version of the library")
                .got(format!("{} {}", machine.family, machine.library))
                .wanted(format!("{library_from} to {library_to}: build the engines on this machine")));
        }
        if !compute_capabilities.contains(&machine.capability) {
            let known: Vec<_> = compute_capabilities.iter().map(ToString::to_string).collect();
            return Err(bad("compatible.compute_capabilities", "built for other GPUs")
                .got(format!("compute capability {}", machine.capability))
                .wanted(format!("one of {}: build the engines for this machine", known.join(", "))));
        }
        // TensorRT times its kernels on one model of GPU. On other models of the same compute
        // capability it warns of errors and deadlocks.
        if self.family == Family::Tensorrt && !self.flags.hardware_compatible && self.gpu.as_ref() != Some(&machine.gpu) {
            return Err(bad("gpu", "built on another model of GPU")
                .got(&machine.gpu)
                .wanted(format!("{}, or engines that are hardware compatible", self.gpu.as_deref().unwrap_or("a GPU"))));
        }
        Ok(())
    }

    /// Checks that the values of the section make sense together.
    pub(super) fn check_words(&self) -> Result<()> {
        let bad = |field: &str, what: &str| Error::new(ErrorKind::Manifest, what).at(format!("built.{field}"));
        let Compatible { compute_capabilities, library_from, library_to } = &self.compatible;
        if compute_capabilities.is_empty() {
            return Err(bad("compatible.compute_capabilities", "empty: no GPU may load the engines"));
        }
        let is_rtx = self.library.0[0] < 10;
        if is_rtx != (self.family == Family::TensorrtRtx) {
            return Err(bad("library", "not a version of the family").got(self.library).wanted(self.family));
        }
        if !(*library_from <= self.library && self.library <= *library_to && library_from.0[0] == library_to.0[0]) {
            return Err(bad("compatible.library", "not versions around the one that built, of one major")
                .got(format!("{library_from} to {library_to}"))
                .wanted(self.library));
        }
        if library_from != library_to && !self.flags.version_compatible {
            return Err(bad("compatible.library", "several versions, and the engines were not built version compatible")
                .got(format!("{library_from} to {library_to}")));
        }
        check_hash(&self.source_sha256).map_err(|e| e.at("built.source_sha256"))
    }
}

impl EngineEntry {
    /// Checks that the values of the entry make sense together. `dynamic`: the graph has dynamic
    /// axes.
    pub(super) fn check_words(&self, dynamic: bool) -> Result<()> {
        check_hash(&self.onnx_sha256).map_err(|e| e.at("onnx_sha256"))?;
        let bad = |what: &str| Error::new(ErrorKind::Manifest, what).at("profiles");
        if self.profiles.is_empty() == dynamic {
            return Err(bad(if dynamic {
                "empty, but the graph has dynamic axes, which need a profile"
            } else {
                "given, but all axes of the graph are fixed"
            }));
        }
        match self.profiles.iter().find(|p| [p.n, p.s].iter().any(|&[min, opt, max]| min == 0 || min > opt || opt > max)) {
            Some(odd) => Err(bad("not least, most often, most").got(format!("{odd:?}"))),
            None => Ok(()),
        }
    }
}
