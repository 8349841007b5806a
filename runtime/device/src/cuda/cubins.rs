//! A folder of compiled kernels and its manifest, which attests their hashes. `tools/build_kernels`
//! writes it, and Warm reads it.

use drivewam_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// File name of the manifest.
pub const FILE_NAME: &str = "kernels.yaml";
/// Schema of the manifest.
pub const SCHEMA: u32 = 1;
/// Largest file of kernels. Kernels have about 1 MB.
const MAX_BYTES: u64 = 64 << 20;

/// Name and text of every file of `kernels`.
pub const SOURCES: [(&str, &str); 12] = [
    ("check.cuh", include_str!("../../kernels/check.cuh")),
    ("decide.cu", include_str!("../../kernels/decide.cu")),
    ("image.cu", include_str!("../../kernels/image.cu")),
    ("kernel.cuh", include_str!("../../kernels/kernel.cuh")),
    ("kv.cuh", include_str!("../../kernels/kv.cuh")),
    ("scatter.cu", include_str!("../../kernels/scatter.cu")),
    ("score.cu", include_str!("../../kernels/score.cu")),
    ("score_block.cuh", include_str!("../../kernels/score_block.cuh")),
    ("score_plain.cuh", include_str!("../../kernels/score_plain.cuh")),
    ("score_tensor.cuh", include_str!("../../kernels/score_tensor.cuh")),
    ("select.cuh", include_str!("../../kernels/select.cuh")),
    ("solver.cu", include_str!("../../kernels/solver.cu")),
];

/// SHA-256 over the names and texts of the sources: kernels fit only the launchers that were built
/// with the same sources.
pub fn sources_sha256() -> String {
    let mut all = Vec::new();
    for part in SOURCES.iter().flat_map(|(name, text)| [name, text]) {
        all.extend_from_slice(part.as_bytes());
        all.push(0);
    }
    hex_sha256(&all)
}

/// The manifest, `kernels.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelManifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The compiler and its version.
    pub compiler: String,
    /// CUDA version of the compiler: major, minor. Machine code needs a driver of this major
    /// version or later, PTX a driver that is not older.
    pub cuda: [i32; 2],
    /// [`sources_sha256`] of the compiled sources.
    pub sources_sha256: String,
    /// One file per architecture.
    pub files: Vec<KernelFile>,
}

/// A file of compiled kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelFile {
    /// File name in the folder.
    pub file: String,
    /// `sm_87` for machine code, `compute_120` for PTX.
    pub architecture: String,
    /// Length, bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Resources of each kernel; empty for PTX.
    pub kernels: Vec<KernelUsage>,
}

/// Resources of one kernel, as the assembler reports them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelUsage {
    /// Entry point.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block, bytes; a launch adds its dynamic shared memory.
    pub shared_bytes: u32,
    /// Local memory of a thread for arrays that are indexed at run time, bytes.
    pub stack_bytes: u32,
    /// Stores and loads of spilled registers, bytes.
    pub spill_bytes: u32,
}

/// SHA-256 of `bytes`, hexadecimal, as the manifest writes it.
pub fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Manifest, what)
}

impl KernelManifest {
    /// Reads the manifest of `folder`.
    ///
    /// # Errors
    /// `Io` for a file that cannot be read as text; `Manifest` for a text that is no manifest, for
    /// another schema, and for a file name that leads out of the folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        let named = |e: Error| e.at(path.display());
        let text = drivewam_files::read_text(&path, 1 << 20, ErrorKind::Io)?;
        let manifest: Self = serde_saphyr::from_str(&text).map_err(|e| named(refused("not a manifest of kernels").caused_by(e)))?;
        if manifest.schema != SCHEMA {
            return Err(named(refused("another schema").at("schema").got(manifest.schema).wanted(SCHEMA)));
        }
        if let Some(bad) =
            manifest.files.iter().find(|entry| Path::new(&entry.file).components().count() != 1 || entry.file.starts_with('.'))
        {
            return Err(named(refused("not a name of a file in this folder").at("files").got(&bad.file)));
        }
        Ok(manifest)
    }

    /// Checks that the kernels were compiled from this program's sources, and that a driver of CUDA
    /// version `driver` (major, minor) can load `entry`.
    ///
    /// # Errors
    /// `Manifest`.
    pub fn check(&self, entry: &KernelFile, driver: [i32; 2]) -> Result<()> {
        let own = sources_sha256();
        if self.sources_sha256 != own {
            return Err(refused("the kernels were compiled from other sources than this program's: run build_kernels again")
                .at("sources_sha256")
                .got(&self.sources_sha256)
                .wanted(own));
        }
        let is_too_old = if entry.architecture.starts_with("sm_") { driver[0] < self.cuda[0] } else { driver < self.cuda };
        if is_too_old {
            let version = |[major, minor]: [i32; 2]| format!("CUDA {major}.{minor}");
            return Err(refused("the driver is older than the compiler of the kernels")
                .at(&entry.file)
                .got(version(driver))
                .wanted(format!("{} or later, or kernels built with an older compiler", version(self.cuda))));
        }
        Ok(())
    }

    /// The file for a device of compute capability `(major, minor)`: machine code of its own
    /// capability, else of an earlier minor version, else PTX that is not newer.
    ///
    /// # Errors
    /// `Manifest` when no file suits the device.
    pub fn for_device(&self, (major, minor): (u32, u32)) -> Result<&KernelFile> {
        let number = |entry: &KernelFile, prefix: &str| -> Option<(u32, u32)> {
            let number: u32 = entry.architecture.strip_prefix(prefix)?.parse().ok()?;
            Some((number / 10, number % 10))
        };
        let best = |prefix: &str, fits: &dyn Fn((u32, u32)) -> bool| {
            let fitting = self.files.iter().filter_map(|entry| Some((number(entry, prefix)?, entry))).filter(|(has, _)| fits(*has));
            fitting.max_by_key(|(has, _)| *has).map(|(_, entry)| entry)
        };
        let machine = best("sm_", &|has| has.0 == major && has.1 <= minor);
        machine.or_else(|| best("compute_", &|has| has <= (major, minor))).ok_or_else(|| {
            let has: Vec<&str> = self.files.iter().map(|entry| entry.architecture.as_str()).collect();
            refused("no kernels for this device")
                .at("kernels")
                .got(has.join(", "))
                .wanted(format!("sm_{major}{minor}: run build_kernels for it"))
        })
    }
}

impl KernelFile {
    /// The content, checked against the manifest: the bytes returned are the bytes hashed.
    ///
    /// # Errors
    /// `Io`; `Manifest` for another length or hash.
    pub fn load(&self, folder: &Path) -> Result<Vec<u8>> {
        let path = folder.join(&self.file);
        let bytes = drivewam_files::read(&path, MAX_BYTES, ErrorKind::Io)?;
        let sha256 = hex_sha256(&bytes);
        if bytes.len() as u64 != self.bytes || sha256 != self.sha256 {
            return Err(refused("the file differs from what the manifest attests")
                .at(path.display())
                .got(format!("{} bytes, {sha256}", bytes.len()))
                .wanted(format!("{} bytes, {}", self.bytes, self.sha256)));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(architectures: &[&str]) -> KernelManifest {
        let entry = |architecture: &&str| KernelFile {
            file: format!("{architecture}.bin"),
            architecture: (*architecture).to_owned(),
            bytes: 3,
            sha256: hex_sha256(b"abc"),
            kernels: Vec::new(),
        };
        KernelManifest {
            schema: SCHEMA,
            compiler: "test".into(),
            cuda: [12, 6],
            sources_sha256: String::new(),
            files: architectures.iter().map(entry).collect(),
        }
    }

    /// Breaks if a device is given code that it cannot run, or PTX where machine code would do.
    #[test]
    fn a_device_gets_its_own_code_then_an_earlier_minor_then_ptx() {
        let all = manifest(&["sm_87", "sm_89", "sm_90", "compute_90", "sm_120"]);
        for (capability, wanted) in [
            ((8, 7), Some("sm_87")),
            ((8, 8), Some("sm_87")),
            ((9, 0), Some("sm_90")),
            ((12, 1), Some("sm_120")),
            ((11, 0), Some("compute_90")),
            ((8, 6), None),
            ((7, 5), None),
        ] {
            assert_eq!(all.for_device(capability).ok().map(|e| e.architecture.as_str()), wanted, "{capability:?}");
        }
        let error = all.for_device((7, 5)).unwrap_err().to_string();
        assert!(error.contains("sm_75") && error.contains("sm_87") && error.contains("build_kernels"), "{error}");
    }

    /// Breaks if kernels are launched with parameters of another version of their sources, or given
    /// to a driver that cannot load them.
    #[test]
    fn kernels_of_other_sources_or_for_a_later_driver_are_refused() {
        let mut all = manifest(&["sm_90", "compute_90"]);
        let refuses = |all: &KernelManifest, file: usize, driver, word: &str| {
            let error = all.check(&all.files[file], driver).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refuses(&all, 0, [13, 0], "other sources");
        all.sources_sha256 = sources_sha256();
        for (file, driver, goes) in [(0, [12, 0], true), (0, [11, 8], false), (1, [12, 6], true), (1, [12, 5], false), (1, [13, 0], true)] {
            assert_eq!(all.check(&all.files[file], driver).is_ok(), goes, "{file} {driver:?}");
        }
        refuses(&all, 1, [12, 5], "CUDA 12.6");
    }

    /// Breaks if code is loaded that no manifest attests.
    #[test]
    fn what_the_manifest_does_not_attest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = manifest(&["sm_90"]);
        let write =
            |manifest: &KernelManifest| std::fs::write(folder.path().join(FILE_NAME), serde_saphyr::to_string(manifest).unwrap()).unwrap();
        write(&good);
        assert_eq!(KernelManifest::read(folder.path()).unwrap(), good);
        let refuses = |word: &str| {
            let error = KernelManifest::read(folder.path()).and_then(|m| m.files[0].load(folder.path())).unwrap_err().to_string();
            assert!(error.contains(word), "{word} is missing in {error}");
        };
        refuses("missing");
        // Breaks (and the test never ends) when a pipe is waited for.
        let status = std::process::Command::new("mkfifo").arg(folder.path().join("sm_90.bin")).status().unwrap();
        assert!(status.success());
        refuses("not a plain file");
        std::fs::remove_file(folder.path().join("sm_90.bin")).unwrap();
        std::fs::write(folder.path().join("sm_90.bin"), b"abd").unwrap();
        refuses("attests");
        std::fs::write(folder.path().join("sm_90.bin"), b"abcd").unwrap();
        refuses("4 bytes");
        std::fs::write(folder.path().join("sm_90.bin"), b"abc").unwrap();
        assert_eq!(good.files[0].load(folder.path()).unwrap(), b"abc");
        let mut bad = good.clone();
        bad.files[0].file = "../sm_90.bin".into();
        write(&bad);
        refuses("in this folder");
        bad = KernelManifest { schema: 2, ..good };
        write(&bad);
        refuses("schema");
        std::fs::write(folder.path().join(FILE_NAME), "schema: 1\nfoo: 2\n").unwrap();
        refuses("manifest of kernels");
    }
}
