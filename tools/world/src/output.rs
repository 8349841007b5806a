//! Binary output files, and errors of writing.

use drivewam_core::{Error, ErrorKind, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A binary file that is written through a buffer.
pub(crate) struct Output {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Output {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let file = BufWriter::new(File::create(&path).map_err(|e| write_error(e, &path))?);
        Ok(Self { file, path })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| write_error(e, &self.path))
    }

    /// Flushes the buffer.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|e| write_error(e, &self.path))
    }
}

/// An `Io` error at a file or folder.
pub(crate) fn write_error(error: std::io::Error, path: &Path) -> Error {
    Error::new(ErrorKind::Io, "cannot write").at(format!("{path:?}")).caused_by(error)
}
