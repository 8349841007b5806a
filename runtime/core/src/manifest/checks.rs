//! The checks of hashes and file names in a manifest.

use crate::error::{Error, ErrorKind, Result};

/// Checks that `hash` is a SHA-256 as manifests write it.
pub(super) fn check_hash(hash: &str) -> Result<()> {
    if hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Manifest, "not a SHA-256").got(format!("{hash:?}")).wanted("64 lower-case hexadecimal digits"))
}

/// Checks that `name` is the name of a file directly inside the folder of its manifest.
pub(super) fn check_file_name(name: &str) -> Result<()> {
    let plain = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if plain {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Manifest, "not a plain file name of this folder")
        .at("files")
        .got(format!("{name:?}"))
        .wanted("letters, digits, '.', '_' and '-'"))
}
