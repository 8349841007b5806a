//! Reading files that nobody has vouched for yet: only plain ones, only as long as the manifest says, hashed on the way.

use crate::bytes::Bytes;
use drivewam_core::manifest::{FILE_NAME, FileEntry, Manifest};
use drivewam_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::path::Path;

/// A manifest longer than this is no manifest. Ours have about 10 kB.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// Read and hashed at once; small enough to stay in a cache, large enough that calls do not count.
const PIECE: usize = 1 << 20;

pub(super) fn missing() -> Error {
    Error::new(ErrorKind::Manifest, "a file that the manifest vouches for is missing")
}

/// A hash as the manifest writes it.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parsed manifest of the folder `path`, and the SHA-256 of its text.
pub(super) fn manifest(path: &Path) -> Result<(Manifest, String)> {
    let at = |e: Error| e.at(FILE_NAME);
    let Some((mut file, len)) = open(&path.join(FILE_NAME)).map_err(at)? else {
        return Err(at(Error::new(ErrorKind::Manifest, "not a folder of engines: it has no manifest")));
    };
    if len > MANIFEST_LIMIT {
        return Err(at(Error::new(ErrorKind::Manifest, "too long")
            .got(format!("{len} bytes"))
            .wanted(format!("at most {MANIFEST_LIMIT}"))));
    }
    let mut text = String::new();
    match file.by_ref().take(MANIFEST_LIMIT).read_to_string(&mut text) {
        Ok(_) => Ok((Manifest::parse(&text).map_err(at)?, hex(&Sha256::digest(text.as_bytes())))),
        Err(e) if e.kind() == IoKind::InvalidData => Err(at(Error::new(ErrorKind::Manifest, "not UTF-8 text"))),
        Err(e) => Err(at(io("cannot be read", e))),
    }
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
    Ok(Some((file, opened.len())))
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
