//! Examines the first bytes of an engine without deserialising it. TensorRT-RTX can do this, even
//! without a driver.

use super::ffi::Handle;
use super::library::Library;
use drivewam_core::Result;
use drivewam_core::manifest::Family;
use std::fmt;

/// The library's reasons, by bit.
const REASONS: [&str; 7] = [
    "another version of the library",
    "not for this compute capability",
    "the driver is older than the one it was built with",
    "the CUDA runtime is older than the one it was built with",
    "the GPU has too little memory for its weights",
    "not an engine of this library",
    "the driver does not respond",
];
/// The bit for bytes that are not an engine.
const MALFORMED: u64 = 1 << 5;

/// The result for an engine's first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// The family cannot examine them.
    Unknown,
    /// The engine runs on this machine, though another build may be faster.
    Valid,
    /// The engine does not run on this machine, for these reasons. Without a driver, the reasons
    /// are empty.
    NotHere(Vec<&'static str>),
    /// Not an engine of this library.
    Malformed,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not examined by this family"),
            Self::Valid => f.write_str("valid on this machine"),
            Self::NotHere(why) if why.is_empty() => {
                f.write_str("well formed; without a driver it is unknown whether it is for this machine")
            }
            Self::NotHere(why) => write!(f, "not for this machine: {}", why.join(", ")),
            Self::Malformed => f.write_str("not an engine of this library"),
        }
    }
}

/// Owns a runtime that is made only for the question.
struct Asked<'a>(&'a Library, Handle);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        // SAFETY: made in `header`; no engine was made of it.
        unsafe { (self.0.api.runtime_free)(self.1) };
    }
}

/// Examines the first bytes of an engine. Works without a driver: TensorRT's runtime, which would
/// abort the process, is not made.
///
/// # Errors
/// `Engine` when the library makes no runtime.
pub fn header(library: &Library, engine: &[u8]) -> Result<Header> {
    if library.family() == Family::Tensorrt {
        return Ok(Header::Unknown);
    }
    // SAFETY: the address and the logger are the library's.
    let runtime = unsafe { (library.api.runtime)(library.create_runtime, library.logger, 0) };
    if runtime.is_null() {
        return Err(library.error_log.error("the library makes no runtime"));
    }
    let asked = Asked(library, runtime);
    Ok(ask(library, asked.1, engine))
}

/// The same with an existing runtime, for the GPU whose context is current.
pub(super) fn ask(library: &Library, runtime: Handle, engine: &[u8]) -> Header {
    let mut diagnostics = 0;
    // SAFETY: the runtime is alive; bytes and result live through the call.
    let validity = unsafe { (library.api.header)(runtime, engine.as_ptr().cast(), engine.len(), &raw mut diagnostics) };
    // Without a driver the library logs errors that are not faults.
    library.error_log.forget();
    match validity {
        0 | 1 => Header::Valid,
        2 if diagnostics & MALFORMED != 0 => Header::Malformed,
        2 => Header::NotHere(REASONS.iter().enumerate().filter(|(bit, _)| diagnostics >> bit & 1 == 1).map(|(_, why)| *why).collect()),
        _ => Header::Unknown,
    }
}
