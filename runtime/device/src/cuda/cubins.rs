//! A folder of compiled kernels, as its manifest vouches for it: written by `tools/build_kernels`, read in Warm.

use drivewam_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Name of the manifest in its folder.
pub const FILE_NAME: &str = "kernels.yaml";
/// The schema that this version reads and writes.
pub const SCHEMA: u32 = 1;
/// Kernels have about 1 MB; a file that says more is not ours.
const MOST_BYTES: u64 = 64 << 20;

/// Name and text of every file of `kernels`.
pub const SOURCES: [(&str, &str); 12] = [
    ("check.cuh", include_str!("../../kernels/check.cuh")),
    ("choose.cuh", include_str!("../../kernels/choose.cuh")),
    ("decide.cu", include_str!("../../kernels/decide.cu")),
    ("image.cu", include_str!("../../kernels/image.cu")),
    ("kernel.cuh", include_str!("../../kernels/kernel.cuh")),
    ("kv.cuh", include_str!("../../kernels/kv.cuh")),
    ("scatter.cu", include_str!("../../kernels/scatter.cu")),
    ("score.cu", include_str!("../../kernels/score.cu")),
    ("score_block.cuh", include_str!("../../kernels/score_block.cuh")),
    ("score_plain.cuh", include_str!("../../kernels/score_plain.cuh")),
    ("score_tensor.cuh", include_str!("../../kernels/score_tensor.cuh")),
    ("solver.cu", include_str!("../../kernels/solver.cu")),
];

/// SHA-256 over the names and texts of the sources: kernels are asked for parameters that only their own launchers know.
pub fn sources_sha256() -> String {
    let mut all = Vec::new();
    for part in SOURCES.iter().flat_map(|(name, text)| [name, text]) {
        all.extend_from_slice(part.as_bytes());
        all.push(0);
    }
    hex_sha256(&all)
}

/// `kernels.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The compiler and its version.
    pub compiler: String,
    /// Major and minor version of CUDA that the compiler belongs to: machine code needs a driver of its major version, PTX one that is not older.
    pub cuda: [i32; 2],
    /// [`sources_sha256`] of what was compiled.
    pub sources_sha256: String,
    /// One per architecture.
    pub files: Vec<Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name in the folder.
    pub file: String,
    /// `sm_87` for machine code, `compute_120` for PTX.
    pub architecture: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
    /// What each kernel takes of a multiprocessor; empty for PTX.
    pub kernels: Vec<Usage>,
}

/// What one kernel takes of a multiprocessor, as the assembler says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Entry point.
    pub kernel: String,
    /// Of a thread.
    pub registers: u32,
    /// Static shared memory of a block; what a launch asks for comes on top.
    pub shared_bytes: u32,
    /// Local memory of a thread that the source asks for (arrays that are indexed at run time).
    pub stack_bytes: u32,
    /// Registers that did not fit: stores and loads, bytes.
    pub spill_bytes: u32,
}

/// A hash as the manifest writes it.
pub fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Manifest, what)
}

/// A whole plain file, at most `most` bytes of it.
fn whole(path: &Path, most: u64) -> Result<Vec<u8>> {
    let io = |e: std::io::Error| Error::new(ErrorKind::Io, "cannot be read").at(path.display()).caused_by(e);
    let about = std::fs::symlink_metadata(path).map_err(io)?;
    if !about.is_file() || about.len() > most {
        return Err(refused("not a plain file of a sensible length")
            .at(path.display())
            .got(about.len())
            .wanted(format!("at most {most} bytes")));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

impl Manifest {
    /// Reads the manifest of `folder`.
    ///
    /// # Errors
    /// `Io`; `Manifest` for a text that is not one, another schema, or a file name that leads out of the folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        let named = |e: Error| e.at(path.display());
        let text = String::from_utf8(whole(&path, 1 << 20)?).map_err(|e| named(refused("not UTF-8 text").caused_by(e)))?;
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

    /// Proves that the kernels are those that this program launches, and that a driver of CUDA `driver` (major, minor) loads `entry`.
    ///
    /// # Errors
    /// `Manifest`.
    pub fn check(&self, entry: &Entry, driver: [i32; 2]) -> Result<()> {
        let mine = sources_sha256();
        if self.sources_sha256 != mine {
            return Err(refused("kernels of other sources than this program's: run build_kernels again")
                .at("sources_sha256")
                .got(&self.sources_sha256)
                .wanted(mine));
        }
        let is_old = if entry.architecture.starts_with("sm_") { driver[0] < self.cuda[0] } else { driver < self.cuda };
        if is_old {
            let words = |[major, minor]: [i32; 2]| format!("CUDA {major}.{minor}");
            return Err(refused("the driver is older than the compiler of the kernels")
                .at(&entry.file)
                .got(words(driver))
                .wanted(format!("{} or later, or kernels built with an older compiler", words(self.cuda))));
        }
        Ok(())
    }

    /// The code for a device of compute capability `(major, minor)`: machine code of its own, else of an earlier minor, else PTX that is not newer.
    ///
    /// # Errors
    /// `Manifest` when there is none for it.
    pub fn for_device(&self, (major, minor): (u32, u32)) -> Result<&Entry> {
        let number = |entry: &Entry, prefix: &str| -> Option<(u32, u32)> {
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

impl Entry {
    /// The content, which is what the manifest says: the bytes that were hashed are those that are returned.
    ///
    /// # Errors
    /// `Io`; `Manifest` for another length or hash.
    pub fn load(&self, folder: &Path) -> Result<Vec<u8>> {
        let path = folder.join(&self.file);
        let bytes = whole(&path, MOST_BYTES)?;
        let sha256 = hex_sha256(&bytes);
        if bytes.len() as u64 != self.bytes || sha256 != self.sha256 {
            return Err(refused("a file that is not what the manifest vouches for")
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

    fn manifest(architectures: &[&str]) -> Manifest {
        let entry = |architecture: &&str| Entry {
            file: format!("{architecture}.bin"),
            architecture: (*architecture).to_owned(),
            bytes: 3,
            sha256: hex_sha256(b"abc"),
            kernels: Vec::new(),
        };
        Manifest {
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

    /// Breaks if kernels are launched with parameters of another version of their sources, or given to a driver that cannot load them.
    #[test]
    fn kernels_of_other_sources_or_for_a_later_driver_are_refused() {
        let mut all = manifest(&["sm_90", "compute_90"]);
        let refuses = |all: &Manifest, file: usize, driver, word: &str| {
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

    /// Breaks if code is loaded that nobody vouched for.
    #[test]
    fn what_the_manifest_does_not_vouch_for_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = manifest(&["sm_90"]);
        let write =
            |manifest: &Manifest| std::fs::write(folder.path().join(FILE_NAME), serde_saphyr::to_string(manifest).unwrap()).unwrap();
        write(&good);
        assert_eq!(Manifest::read(folder.path()).unwrap(), good);
        let refuses = |word: &str| {
            let error = Manifest::read(folder.path()).and_then(|m| m.files[0].load(folder.path())).unwrap_err().to_string();
            assert!(error.contains(word), "{word} is missing in {error}");
        };
        refuses("cannot be read");
        std::fs::write(folder.path().join("sm_90.bin"), b"abd").unwrap();
        refuses("vouches");
        std::fs::write(folder.path().join("sm_90.bin"), b"abcd").unwrap();
        refuses("4 bytes");
        std::fs::write(folder.path().join("sm_90.bin"), b"abc").unwrap();
        assert_eq!(good.files[0].load(folder.path()).unwrap(), b"abc");
        let mut bad = good.clone();
        bad.files[0].file = "../sm_90.bin".into();
        write(&bad);
        refuses("in this folder");
        bad = Manifest { schema: 2, ..good };
        write(&bad);
        refuses("schema");
        std::fs::write(folder.path().join(FILE_NAME), "schema: 1\nfoo: 2\n").unwrap();
        refuses("manifest of kernels");
    }
}
