//! Reading files that nobody has vouched for yet: only plain ones, only as long as the manifest says, hashed on the way.

use super::{SIGNATURE_FILE_NAME, Signed, Trust};
use crate::bytes::Bytes;
use drivewam_core::manifest::{FILE_NAME, FileEntry, Manifest};
use drivewam_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::path::Path;

/// A manifest longer than this is no manifest. Ours have about 10 kB.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// A signature has 64 bytes; what is a little longer is told to be none.
const SIGNATURE_LIMIT: u64 = 4096;

/// Read and hashed at once; small enough to stay in a cache, large enough that calls do not count.
const PIECE: usize = 1 << 20;

pub(super) fn missing() -> Error {
    Error::new(ErrorKind::Manifest, "a file that the manifest vouches for is missing")
}

/// A hash as the manifest writes it.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A manifest, and what is known of its text.
pub(super) struct Checked {
    pub manifest: Manifest,
    /// Of the text.
    pub sha256: String,
    pub signed: Signed,
}

/// The parsed manifest of the folder `path`, signed as `trust` wants it. The text is not looked into before its signature was.
pub(super) fn manifest(path: &Path, trust: &Trust) -> Result<Checked> {
    let at = |e: Error| e.at(FILE_NAME);
    private(path)?;
    let Some(text) = small(&path.join(FILE_NAME), MANIFEST_LIMIT).map_err(at)? else {
        return Err(at(Error::new(ErrorKind::Manifest, "not a folder of engines: it has no manifest")));
    };
    let signature = small(&path.join(SIGNATURE_FILE_NAME), SIGNATURE_LIMIT).map_err(|e| e.at(SIGNATURE_FILE_NAME))?;
    let signed = trust.check(&text, signature.as_deref())?;
    let sha256 = hex(&Sha256::digest(&text));
    let text = std::str::from_utf8(&text).map_err(|e| at(Error::new(ErrorKind::Manifest, "not UTF-8 text").caused_by(e)))?;
    Ok(Checked { manifest: Manifest::parse(text).map_err(at)?, sha256, signed })
}

/// The whole of a file that must be short; `None` where there is nothing.
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

/// The content of the file `path`, which must be what `entry` says. `progress` is told the bytes read so far.
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

/// As [`whole`], but keeps nothing.
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

/// Holds content in memory against `entry`.
pub(super) fn check(content: &[u8], entry: &FileEntry) -> Result<()> {
    if content.len() as u64 != entry.bytes {
        return Err(wrong_length(content.len() as u64, entry));
    }
    compare(Sha256::digest(content).as_slice(), entry)
}

/// An open plain file and its length; `None` where there is nothing.
///
/// A link, folder, pipe or device is refused before it is opened (opening a pipe would wait for ever), and again afterwards: what was opened must be
/// what was looked at.
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
    let file = File::open(path).map_err(|e| io("cannot be opened", e))?;
    let opened = file.metadata().map_err(|e| io("cannot be looked at", e))?;
    if !same_file(&looked_at, &opened) {
        return Err(Error::new(ErrorKind::Io, "was replaced while it was being opened"));
    }
    if others_write(&opened) {
        return Err(Error::new(ErrorKind::Manifest, "others may write it").wanted("a file that its owner and group alone may write"));
    }
    Ok(Some((file, opened.len())))
}

/// Proves that nobody but its owner and group puts files into the folder, if there is one: what is missing is told later.
fn private(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(folder) if folder.is_dir() && others_write(&folder) && !is_sticky(&folder) => {
            Err(Error::new(ErrorKind::Manifest, "others may write into the folder")
                .wanted("a folder that its owner and group alone may write into"))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn others_write(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.mode() & 0o002 != 0
}

#[cfg(unix)]
fn is_sticky(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.mode() & 0o1000 != 0
}

#[cfg(not(unix))]
fn others_write(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(not(unix))]
fn is_sticky(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    a.dev() == b.dev() && a.ino() == b.ino()
}

#[cfg(not(unix))]
fn same_file(_: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    b.file_type().is_file()
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
    Err(Error::new(ErrorKind::Manifest, "not the content that the manifest vouches for")
        .got(format!("SHA-256 {got}"))
        .wanted(format!("SHA-256 {}", entry.sha256)))
}

fn wrong_length(got: u64, entry: &FileEntry) -> Error {
    Error::new(ErrorKind::Manifest, "not as long as the manifest says").got(format!("{got} bytes")).wanted(format!("{} bytes", entry.bytes))
}

fn io(what: &str, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, what).caused_by(e)
}
