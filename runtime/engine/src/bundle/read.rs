//! Reads files that are not trusted yet: plain files only, of the length that the manifest says,
//! hashed while they are read.

use super::trust::{FILE_NAME as SIGNATURE_FILE_NAME, Signed, Trust, hex};
use crate::access;
use crate::bytes::Bytes;
use drivewam_core::manifest::{FILE_NAME, FileEntry, Manifest};
use drivewam_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{ErrorKind as IoKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Longest manifest that is read. Ours have about 10 kB.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// Longest signature file that is read, so that the error can say how long it is. A signature has
/// 64 bytes.
const SIGNATURE_LIMIT: u64 = 4096;

/// Bytes that are read and hashed at a time: they stay in the cache, and the cost of the calls does
/// not show.
const PIECE: usize = 1 << 20;

pub(super) fn missing() -> Error {
    Error::new(ErrorKind::Manifest, "a file that the manifest lists is missing")
}

/// A parsed manifest, the hash of its text, and its signer.
pub(super) struct CheckedManifest {
    pub manifest: Manifest,
    pub sha256: String,
    pub signed: Signed,
}

/// The manifest of the bundle in directory `path`, signed and pinned as `trust` requires, without a
/// look at the files that it lists.
///
/// # Errors
/// As [`EngineBundle::open`](super::EngineBundle::open) for a manifest.
pub fn read_manifest(path: &Path, trust: &Trust) -> Result<Manifest> {
    manifest(path, trust).map(|checked| checked.manifest).map_err(|e| e.at(path.display()))
}

/// What makes an engine bundle.
const MADE_BY: &str = "a folder of the exporter, of build_engines or of `make fixtures`; `plan --no-engines` needs none";

/// The manifest of the directory `path`, signed and pinned as `trust` requires. Both are checked
/// before the text is parsed.
pub(super) fn manifest(path: &Path, trust: &Trust) -> Result<CheckedManifest> {
    let at = |e: Error| e.at(FILE_NAME);
    access::private_folder(path, ErrorKind::Manifest)?;
    let Some(text) = small(&path.join(FILE_NAME), MANIFEST_LIMIT).map_err(at)? else {
        return Err(at(Error::new(ErrorKind::Manifest, "not an engine bundle: there is no manifest").wanted(MADE_BY)));
    };
    let signature = small(&path.join(SIGNATURE_FILE_NAME), SIGNATURE_LIMIT).map_err(|e| e.at(SIGNATURE_FILE_NAME))?;
    let signed = trust.check(&text, signature.as_deref())?;
    let sha256 = hex(&Sha256::digest(&text));
    trust.check_pin(&sha256).map_err(at)?;
    let text = std::str::from_utf8(&text).map_err(|e| at(Error::new(ErrorKind::Manifest, "not UTF-8 text").caused_by(e)))?;
    Ok(CheckedManifest { manifest: Manifest::parse(text).map_err(at)?, sha256, signed })
}

/// The content of a file of at most `limit` bytes; `None` where there is no file.
fn small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some((file, len)) = open(path)? else { return Ok(None) };
    let too_long = |len: u64| Error::new(ErrorKind::Manifest, "too long").got(format!("{len} bytes")).wanted(format!("at most {limit}"));
    if len > limit {
        return Err(too_long(len));
    }
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(|e| io("cannot be read", e))?;
    if content.len() as u64 > limit { Err(too_long(content.len() as u64)) } else { Ok(Some(content)) }
}

/// Proves that the file `path` is there, plain, and as long as `entry` says. Reads nothing.
pub(super) fn look(path: &Path, entry: &FileEntry) -> Result<()> {
    sized(path, entry).map(drop)
}

/// The content of the file `path`, which must be what `entry` says. `progress` gets the bytes read
/// so far.
pub(super) fn whole(path: &Path, entry: &FileEntry, progress: &mut dyn FnMut(u64)) -> Result<Bytes> {
    let mut file = sized(path, entry)?;
    let len =
        usize::try_from(entry.bytes).map_err(|_too_large| wrong_length(entry.bytes, entry).wanted("a length that fits an address"))?;
    let mut bytes = Bytes::zeroed(len)?;
    let mut hash = Sha256::new();
    let mut done = 0u64;
    for piece in bytes.as_mut_slice().chunks_mut(PIECE) {
        fill(&mut file, piece, &mut done, entry)?;
        hash.update(&piece);
        progress(done);
    }
    finish(&mut file, hash, entry)?;
    progress(done);
    Ok(bytes)
}

/// As [`whole`], but keeps no content.
pub(super) fn hash_only(path: &Path, entry: &FileEntry, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let mut file = sized(path, entry)?;
    let mut piece = vec![0; PIECE];
    let mut hash = Sha256::new();
    let mut done = 0u64;
    while done < entry.bytes {
        let len = usize::try_from(entry.bytes - done).map_or(PIECE, |left| left.min(PIECE));
        fill(&mut file, &mut piece[..len], &mut done, entry)?;
        hash.update(&piece[..len]);
        progress(done);
    }
    finish(&mut file, hash, entry)?;
    progress(done);
    Ok(())
}

/// Proves that a content in memory is what `entry` says.
pub(super) fn check(content: &[u8], entry: &FileEntry) -> Result<()> {
    if content.len() as u64 != entry.bytes {
        return Err(wrong_length(content.len() as u64, entry));
    }
    compare(Sha256::digest(content).as_slice(), entry)
}

/// Opens a plain file. Returns it with its length; `None` where there is no file.
///
/// A link, directory, pipe or device is refused before it is opened. The opened file must be the
/// one that was looked at.
fn open(path: &Path) -> Result<Option<(File, u64)>> {
    let looked_at = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == IoKind::NotFound => return Ok(None),
        Err(e) => return Err(io("cannot be looked at", e)),
    };
    let kind = looked_at.file_type();
    if !kind.is_file() {
        let got = match () {
            () if kind.is_symlink() => "a symbolic link",
            () if kind.is_dir() => "a folder",
            () => "a pipe, socket or device",
        };
        return Err(Error::new(ErrorKind::Manifest, "not a plain file").got(got).wanted("a plain file"));
    }
    let file = drivewam_files::open(path, ErrorKind::Io)?;
    let opened = file.metadata().map_err(|e| io("cannot be looked at", e))?;
    if !same_file(&looked_at, &opened) {
        return Err(Error::new(ErrorKind::Io, "was replaced while it was being opened"));
    }
    access::private_file(&opened, ErrorKind::Manifest)?;
    Ok(Some((file, opened.len())))
}

fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn sized(path: &Path, entry: &FileEntry) -> Result<File> {
    match open(path)? {
        None => Err(missing()),
        Some((file, len)) if len == entry.bytes => Ok(file),
        Some((_, len)) => Err(wrong_length(len, entry)),
    }
}

fn fill(file: &mut File, piece: &mut [u8], done: &mut u64, entry: &FileEntry) -> Result<()> {
    match file.read_exact(piece) {
        Ok(()) => {
            *done += piece.len() as u64;
            Ok(())
        }
        Err(e) if e.kind() == IoKind::UnexpectedEof => Err(wrong_length(*done, entry).at("it shrank while it was being read")),
        Err(e) => Err(io("cannot be read", e)),
    }
}

fn finish(file: &mut File, hash: Sha256, entry: &FileEntry) -> Result<()> {
    match file.read(&mut [0]) {
        Ok(0) => compare(hash.finalize().as_slice(), entry),
        Ok(_) => Err(wrong_length(entry.bytes.saturating_add(1), entry).at("it grew while it was being read")),
        Err(e) => Err(io("cannot be read", e)),
    }
}

fn compare(digest: &[u8], entry: &FileEntry) -> Result<()> {
    let got = hex(digest);
    if got == entry.sha256 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Manifest, "the file's content is not the one that the manifest attests")
        .got(format!("SHA-256 {got}"))
        .wanted(format!("SHA-256 {}", entry.sha256)))
}

fn wrong_length(got: u64, entry: &FileEntry) -> Error {
    Error::new(ErrorKind::Manifest, "not as long as the manifest says").got(format!("{got} bytes")).wanted(format!("{} bytes", entry.bytes))
}

fn io(what: &str, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, what).caused_by(e)
}
