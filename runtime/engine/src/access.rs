//! Who else may write what the runtime loads: the rule for files of a bundle and for libraries.

use drivewam_core::{Error, ErrorKind, Result};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The mode bit that lets everybody write.
const OTHERS_WRITE: u32 = 0o002;
/// The mode bit of a folder in which one may remove only one's own files.
const STICKY: u32 = 0o1000;

/// Proves that only owner and group may write the file.
pub(crate) fn private_file(file: &Metadata, kind: ErrorKind) -> Result<()> {
    if file.mode() & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(Error::new(kind, "others may write it").wanted("a file that its owner and group alone may write"))
}

/// Proves that only owner and group can put files into the directory. A missing directory passes:
/// what is missing in it is reported later.
pub(crate) fn private_folder(path: &Path, kind: ErrorKind) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(folder) if folder.is_dir() && folder.mode() & OTHERS_WRITE != 0 && folder.mode() & STICKY == 0 => {
            Err(Error::new(kind, "others may write into the folder").wanted("a folder that its owner and group alone may write into"))
        }
        _ => Ok(()),
    }
}
