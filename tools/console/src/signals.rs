//! The signals that end a run: Ctrl-C (SIGINT), SIGTERM and SIGHUP set a flag, which the work looks
//! at between two chunks, files or drives.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code after such a signal, by the convention of shells for Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// A flag that a signal sets. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that Ctrl-C, SIGTERM and SIGHUP set from now on, in place of ending the process.
    ///
    /// SIGHUP stays ignored where the caller ignores it (`nohup`).
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn on_signals() -> io::Result<Self> {
        let flag = Self::default();
        let hangup = if is_ignored(SIGHUP) { None } else { Some(SIGHUP) };
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            signal_hook::flag::register(signal, Arc::clone(&flag.0))?;
        }
        Ok(flag)
    }

    /// Whether one of the signals came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for code that knows no signals.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }
}

/// Whether the caller of this process ignores `signal`. Only Linux tells; elsewhere it is taken as
/// not ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
