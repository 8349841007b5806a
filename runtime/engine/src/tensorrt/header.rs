//! What the first bytes of an engine say, without deserialising it: TensorRT-RTX can tell, also without a driver.

use super::ffi::Handle;
use super::library::Library;
use drivewam_core::Result;
use drivewam_core::manifest::Family;
use std::fmt;

/// Reasons of the library, by bit.
const REASONS: [&str; 7] = [
    "another version of the library",
    "not for this compute capability",
    "the driver is older than the one it was built with",
    "the CUDA runtime is older than the one it was built with",
    "the GPU has too little memory for its weights",
    "not an engine of this library",
    "the driver does not answer",
];
/// The bit of bytes that are no engine.
const MALFORMED: u64 = 1 << 5;

/// What the first bytes of an engine say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// The family cannot tell.
    Unknown,
    /// Good for this machine, perhaps not its fastest.
    Valid,
    /// An engine, and not for this machine. Why; empty where no driver says what machine it is.
    NotHere(Vec<&'static str>),
    /// Not an engine of this library.
    Malformed,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not told by this family"),
            Self::Valid => f.write_str("good for this machine"),
            Self::NotHere(why) if why.is_empty() => f.write_str("well formed; no driver says whether it is for this machine"),
            Self::NotHere(why) => write!(f, "not for this machine: {}", why.join(", ")),
            Self::Malformed => f.write_str("not an engine of this library"),
        }
    }
}

/// Frees a runtime that was made only to ask.
struct Asked<'a>(&'a Library, Handle);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        // SAFETY: made in `header`, and nothing was made of it.
        unsafe { (self.0.api.runtime_free)(self.1) };
    }
}

/// Asks the library about the first bytes of an engine. Safe without a driver: TensorRT's runtime, which would die of that, is not made.
///
/// # Errors
/// `Engine` when the library gives no runtime.
pub fn header(library: &Library, engine: &[u8]) -> Result<Header> {
    if library.family() == Family::Tensorrt {
        return Ok(Header::Unknown);
    }
    // SAFETY: the address and the logger are the library's own.
    let runtime = unsafe { (library.api.runtime)(library.create_runtime, library.logger, 0) };
    if runtime.is_null() {
        return Err(library.error_log.error("the library gives no runtime"));
    }
    let asked = Asked(library, runtime);
    Ok(ask(library, asked.1, engine))
}

/// The same of a runtime that is there, for the GPU whose context is current.
pub(super) fn ask(library: &Library, runtime: Handle, engine: &[u8]) -> Header {
    let mut diagnostics = 0;
    // SAFETY: the runtime is alive; the bytes and the place live through the call.
    let validity = unsafe { (library.api.header)(runtime, engine.as_ptr().cast(), engine.len(), &raw mut diagnostics) };
    // What it says without a driver is no fault of anybody's.
    library.error_log.forget();
    match validity {
        0 | 1 => Header::Valid,
        2 if diagnostics & MALFORMED != 0 => Header::Malformed,
        2 => Header::NotHere(REASONS.iter().enumerate().filter(|(bit, _)| diagnostics >> bit & 1 == 1).map(|(_, why)| *why).collect()),
        _ => Header::Unknown,
    }
}
