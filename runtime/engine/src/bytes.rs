//! The content of one file, kept from the moment it was hashed until the last engine that reads it is gone.

use drivewam_core::{Error, ErrorKind, Result};
use std::fmt;

/// Owned bytes at an address that any tensor element may stand at (8-byte aligned), as engines that read weights in place ask for.
pub struct Bytes {
    words: Vec<u64>,
    len: usize,
}

impl Bytes {
    /// `len` zeros.
    ///
    /// # Errors
    /// `Capacity` when the memory is not to be had.
    pub fn zeroed(len: usize) -> Result<Self> {
        let mut words = Vec::new();
        let count = len.div_ceil(size_of::<u64>());
        words
            .try_reserve_exact(count)
            .map_err(|e| Error::new(ErrorKind::Capacity, "no memory for a file's content").got(format!("{len} bytes")).caused_by(e))?;
        words.resize(count, 0);
        Ok(Self { words, len })
    }

    /// A copy of `content`.
    ///
    /// # Errors
    /// `Capacity` when the memory is not to be had.
    pub fn copy_of(content: &[u8]) -> Result<Self> {
        let mut bytes = Self::zeroed(content.len())?;
        bytes.as_mut_slice().copy_from_slice(content);
        Ok(bytes)
    }

    /// The content.
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The content, to be filled.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len)
    }
}
