//! What a library says: into `tracing`, and its errors kept for the message of the call that failed.

use super::ffi;
use drivewam_core::{Error, ErrorKind};
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, PoisonError};

/// Errors that are kept until somebody asks; of a flood the first say the most.
const MOST: usize = 8;

/// The errors of one library, from whatever of it is at work.
#[derive(Debug, Default)]
pub(super) struct ErrorLog(Mutex<Vec<String>>);

impl ErrorLog {
    /// Where the library writes, until the process ends.
    pub fn log(&'static self) -> ffi::Log {
        ffi::Log { user: std::ptr::from_ref(self).cast_mut().cast(), write }
    }

    fn keep(&self, severity: i32, text: &str) {
        match severity {
            0 | 1 | ffi::RECORDED => {
                tracing::error!(target: "tensorrt", "{text}");
                let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                // The logger and the recorder say the same thing once each.
                if errors.len() < MOST && errors.iter().all(|known| !known.contains(text)) {
                    errors.push(text.trim().to_owned());
                }
            }
            2 => tracing::warn!(target: "tensorrt", "{text}"),
            3 => tracing::info!(target: "tensorrt", "{text}"),
            _ => tracing::debug!(target: "tensorrt", "{text}"),
        }
    }

    /// Drops the errors so far.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// An error of `what`, with what the library said since it was last asked.
    pub fn error(&self, what: &str) -> Error {
        let errors = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let error = Error::new(ErrorKind::Engine, what);
        if errors.is_empty() { error } else { error.caused_by(errors.join("; ")) }
    }
}

unsafe extern "C" fn write(user: *mut c_void, severity: i32, text: *const c_char) {
    // SAFETY: `user` is the error_log that gave this function out, which lives as long as the process.
    let error_log = unsafe { &*user.cast::<ErrorLog>() };
    // SAFETY: the shim passes on no null; the text lives during the call.
    let text = unsafe { CStr::from_ptr(text) };
    error_log.keep(severity, &text.to_string_lossy());
}
