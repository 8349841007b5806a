//! The library's messages: they go to `tracing`, and errors are kept for the message of the failing
//! call.

use super::ffi;
use drivewam_core::{Error, ErrorKind};
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, PoisonError};

/// Most errors that are kept. Of many, the first are the most useful.
const MOST: usize = 8;

/// The errors of one library, from all of its objects.
#[derive(Debug, Default)]
pub(super) struct ErrorLog(Mutex<Vec<String>>);

impl ErrorLog {
    /// The sink for the library's messages, until the process ends.
    pub fn log(&'static self) -> ffi::Log {
        ffi::Log { user: std::ptr::from_ref(self).cast_mut().cast(), write }
    }

    fn keep(&self, severity: i32, text: &str) {
        match severity {
            0 | 1 | ffi::RECORDED => {
                tracing::error!(target: "tensorrt", "{text}");
                let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                // Logger and error recorder report the same error once each.
                if errors.len() < MOST && errors.iter().all(|known| !known.contains(text)) {
                    errors.push(text.trim().to_owned());
                }
            }
            2 => tracing::warn!(target: "tensorrt", "{text}"),
            3 => tracing::info!(target: "tensorrt", "{text}"),
            _ => tracing::debug!(target: "tensorrt", "{text}"),
        }
    }

    /// Drops the errors that were kept.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The error `what`, caused by the errors that were kept. Drops them.
    pub fn error(&self, what: &str) -> Error {
        let errors = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let error = Error::new(ErrorKind::Engine, what);
        if errors.is_empty() { error } else { error.caused_by(errors.join("; ")) }
    }
}

unsafe extern "C" fn write(user: *mut c_void, severity: i32, text: *const c_char) {
    // SAFETY: `user` is the log that passed this function, and lives as long as the process.
    let error_log = unsafe { &*user.cast::<ErrorLog>() };
    // SAFETY: the shim passes no null; the text lives during the call.
    let text = unsafe { CStr::from_ptr(text) };
    error_log.keep(severity, &text.to_string_lossy());
}
