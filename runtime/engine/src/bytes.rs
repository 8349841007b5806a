//! The content of a file in memory.

use crate::meter::LoadMeter;
use drivewam_core::{Error, ErrorKind, Result};
use std::fmt;
use std::sync::Arc;

/// Owned bytes at an 8-byte aligned address, as engines that read weights in place require.
pub struct Bytes {
    words: Vec<u64>,
    len: usize,
    meter: Option<Arc<LoadMeter>>,
}

impl Bytes {
    /// `len` zeros.
    ///
    /// # Errors
    /// `Capacity` when the memory cannot be allocated.
    pub fn zeroed(len: usize) -> Result<Self> {
        let mut words = Vec::new();
        let count = len.div_ceil(size_of::<u64>());
        words
            .try_reserve_exact(count)
            .map_err(|e| Error::new(ErrorKind::Capacity, "no memory for a file's content").got(format!("{len} bytes")).caused_by(e))?;
        words.resize(count, 0);
        Ok(Self { words, len, meter: None })
    }

    /// A copy of `content`.
    ///
    /// # Errors
    /// `Capacity` when the memory cannot be allocated.
    pub fn copy_of(content: &[u8]) -> Result<Self> {
        let mut bytes = Self::zeroed(content.len())?;
        bytes.as_mut_slice().copy_from_slice(content);
        Ok(bytes)
    }

    /// The same bytes, counted by `meter` until they are dropped.
    pub(crate) fn metered(mut self, meter: &Arc<LoadMeter>) -> Self {
        meter.add_live(self.len as u64);
        self.meter = Some(Arc::clone(meter));
        self
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

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Some(meter) = &self.meter {
            meter.sub_live(self.len as u64);
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len)
    }
}
