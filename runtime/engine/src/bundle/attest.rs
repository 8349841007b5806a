//! The manifest's entry of one file, made or checked without opening a whole bundle.

use super::read;
use super::trust::{Trust, hex};
use drivewam_core::Result;
use drivewam_core::manifest::{FileEntry, FileRole, Manifest};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The manifest's entry of a file with this content: hash, length and role.
pub fn attest(content: &[u8], role: FileRole) -> FileEntry {
    FileEntry { sha256: hex(&Sha256::digest(content)), bytes: content.len() as u64, role }
}

/// Proves that the file at `path` has the length and hash of `entry`, in constant memory.
///
/// # Errors
/// As [`EngineBundle::open`](super::EngineBundle::open) and its loads say of a file.
pub fn check_file(path: &Path, entry: &FileEntry) -> Result<()> {
    read::hash_only(path, entry, &mut |_| {}).map_err(|e| e.at(format!("{:?}", path.display())))
}

/// The manifest of the bundle in directory `path`. No other file is opened, and no signature is
/// required.
///
/// # Errors
/// As [`EngineBundle::open`](super::EngineBundle::open) says of a manifest.
pub fn manifest_of(path: &Path) -> Result<Manifest> {
    read::manifest(path, &Trust::default()).map(|checked| checked.manifest)
}
