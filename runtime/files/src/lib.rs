//! Reads files that others wrote: recordings, configurations, manifests, reports.
//!
//! [`look`] says what lies at a path, [`open`] opens a plain file, [`read`] and [`read_text`] read
//! one whole, up to a limit. A pipe, a socket, a device or a folder in the place of a file is
//! refused at once: opening a pipe would wait for its other end, and reading a device may never
//! end. Links are followed. What is absent is called missing, and nothing else is.

#![forbid(unsafe_code)]

use drivewam_core::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use std::fs::{File, FileType, Metadata};
use std::io::{ErrorKind as IoKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Examines what lies at `path`; follows links.
///
/// # Errors
/// Of `kind`, naming the path: nothing is there, or the system does not say what is.
pub fn look(path: &Path, kind: ErrorKind) -> Result<Metadata> {
    std::fs::metadata(path).map_err(|e| failed(path, kind, e))
}

/// Whether something lies at `path`; follows links.
///
/// # Errors
/// Of `kind`, naming the path: the system does not say whether.
pub fn exists(path: &Path, kind: ErrorKind) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        // A folder on the way that is a file has nothing below it.
        Err(e) if matches!(e.kind(), IoKind::NotFound | IoKind::NotADirectory) => Ok(false),
        Err(e) => Err(failed(path, kind, e)),
    }
}

/// Proves that a plain file lies at `path`; follows links. Opens nothing.
///
/// # Errors
/// As [`look`], and for anything but a plain file.
pub fn expect_plain(path: &Path, kind: ErrorKind) -> Result<Metadata> {
    let found = look(path, kind)?;
    plain(path, kind, &found)?;
    Ok(found)
}

/// Opens the plain file `path` for reading, without waiting.
///
/// # Errors
/// Of `kind`, naming the path: the file is missing, may not be read, or is no plain file.
pub fn open(path: &Path, kind: ErrorKind) -> Result<File> {
    // Looked at first, because opening a device can have an effect; and once more when it is open,
    // because another file may have taken its place. The flag keeps a pipe from waiting then.
    expect_plain(path, kind)?;
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|e| failed(path, kind, e))?;
    plain(path, kind, &file.metadata().map_err(|e| failed(path, kind, e))?)?;
    Ok(file)
}

/// Reads the whole file.
///
/// # Errors
/// As [`open`], and for a file of more than `max_bytes`.
pub fn read(path: &Path, max_bytes: u64, kind: ErrorKind) -> Result<Vec<u8>> {
    let file = open(path, kind)?;
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| failed(path, kind, e))?;
    if bytes.len() as u64 > max_bytes {
        return Err(refused(path, kind, "the file is too large")
            .got(format!("more than {max_bytes} bytes"))
            .wanted(format!("at most {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// Reads the whole file as UTF-8.
///
/// # Errors
/// As [`read`], and for bytes that are no UTF-8.
pub fn read_text(path: &Path, max_bytes: u64, kind: ErrorKind) -> Result<String> {
    String::from_utf8(read(path, max_bytes, kind)?).map_err(|e| refused(path, kind, "not UTF-8 text").caused_by(e.utf8_error()))
}

fn refused(path: &Path, kind: ErrorKind, what: &str) -> Error {
    Error::new(kind, what).at(format!("{path:?}"))
}

fn failed(path: &Path, kind: ErrorKind, error: std::io::Error) -> Error {
    match error.kind() {
        IoKind::NotFound | IoKind::NotADirectory => refused(path, kind, "the file is missing"),
        IoKind::PermissionDenied => refused(path, kind, "not permitted to read the file").caused_by(error),
        _ => refused(path, kind, "cannot read the file").caused_by(error),
    }
}

fn plain(path: &Path, kind: ErrorKind, found: &Metadata) -> Result<()> {
    match name(found.file_type()) {
        None => Ok(()),
        Some(got) => Err(refused(path, kind, "not a plain file").got(got).wanted("a plain file")),
    }
}

/// The name of what is no plain file.
fn name(found: FileType) -> Option<&'static str> {
    let names = [
        (found.is_file(), None),
        (found.is_dir(), Some("a folder")),
        (found.is_fifo(), Some("a pipe")),
        (found.is_socket(), Some("a socket")),
    ];
    names.into_iter().find(|(is, _)| *is).map_or(Some("a device"), |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Breaks when a pipe is opened (the test then never ends), when a folder or a device is read,
    /// or when the message does not say which of them it was.
    #[test]
    fn what_is_no_plain_file_is_refused_at_once_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, link) = (dir.path().join("pipe"), dir.path().join("link"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, words) in [
            (pipe.as_path(), "a pipe"),
            (&link, "a pipe"),
            (&socket, "a socket"),
            (dir.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
            (&dir.path().join("none"), "missing"),
        ] {
            let error = read(path, 100, ErrorKind::Input).unwrap_err();
            let said = error.to_string();
            assert!(error.kind() == ErrorKind::Input && said.contains(words) && said.contains(&format!("{path:?}")), "{words}: {said}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_as_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5, ErrorKind::Io).unwrap(), "12345");
        let said = read(&path, 4, ErrorKind::Io).unwrap_err().to_string();
        assert!(said.contains("too large") && said.contains("at most 4 bytes"), "{said}");
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path, 5, ErrorKind::Io).unwrap_err().to_string().contains("not UTF-8"));
        assert!(exists(&path, ErrorKind::Io).unwrap() && !exists(&path.join("below"), ErrorKind::Io).unwrap());
    }

    /// Breaks when a file that may not be read is called missing.
    #[test]
    fn not_permitted_is_not_called_missing() {
        let said = failed(Path::new("a"), ErrorKind::Input, IoKind::PermissionDenied.into()).to_string();
        assert!(said.contains("not permitted") && !said.contains("missing"), "{said}");
    }
}
