//! Counts the file contents that a bundle has read and that are still in host memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a bundle has read so far, and how much of it is in memory. Readable from any thread.
#[derive(Debug, Default)]
pub struct LoadMeter {
    read: AtomicU64,
    live: AtomicU64,
    peak: AtomicU64,
}

impl LoadMeter {
    /// Bytes of file content that were read and hashed, files that were only hashed included.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of file content that are in memory now, whether the bundle or an engine holds them.
    pub fn live_bytes(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// The largest value of [`LoadMeter::live_bytes`] so far.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_live(&self, bytes: u64) {
        let live = self.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(live, Ordering::Relaxed);
    }

    pub(crate) fn sub_live(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Ordering::Relaxed);
    }
}
