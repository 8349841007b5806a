//! Opens the shared library, once in a process, with an error message for everything that can be
//! wrong with it.
//!
//! `ort` must not be given a library that does not work: after a failed `init_from` it reads memory
//! that was never written, and it panics where the library has no function table for its version.
//! So this module examines the library first, and gives it to `ort` once.

use crate::library;
use crate::native::{self, ORT_VARIABLE as VARIABLE};
use drivewam_core::{Error, ErrorKind, Result};
use libloading::Library as Shared;
use ort::environment::Environment;
use ort::sys::{ORT_API_VERSION, OrtApiBase};
use std::ffi::{CStr, OsString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The opened library.
#[derive(Debug, Clone)]
pub(super) struct OrtLibrary {
    pub path: PathBuf,
    /// The release that it reports, for example `1.32.0`.
    pub version: String,
    /// Kept until the process ends: the library makes only one.
    pub environment: Environment,
}

/// The library that this process gave to `ort`.
enum Given {
    Nothing,
    Works(OrtLibrary),
    /// `ort` failed, and cannot be tried again.
    Failed(PathBuf),
}

/// Opens the library at `configured`, or else where the environment says ([`VARIABLE`]). Returns
/// the open one if it is the same.
pub(super) fn open(configured: Option<&str>) -> Result<OrtLibrary> {
    static GIVEN: Mutex<Given> = Mutex::new(Given::Nothing);
    let (named, key) = place(configured, std::env::var_os(VARIABLE))?;
    let at = |e: Error| e.at(format!("{:?}", named.display())).at(key);
    let path = native::resolve(&named).map_err(at)?;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    match &*given {
        Given::Works(library) if library.path == path => return Ok(library.clone()),
        Given::Works(OrtLibrary { path: other, .. }) | Given::Failed(other) => {
            return Err(at(Error::new(ErrorKind::Engine, "this process has opened another ONNX Runtime, and cannot open two")
                .got(other.display())
                .wanted(path.display())));
        }
        Given::Nothing => {}
    }
    let (shared, version) = call(|| probe(&path)).flatten().map_err(at)?;
    *given = Given::Failed(path.clone());
    let environment = call(|| {
        let builder = ort::init_from(&path).map_err(|e| e.to_string())?;
        builder.with_name("drivewam").with_telemetry(false).build().map_err(|e| e.to_string())
    });
    drop(shared);
    let environment =
        environment.map_err(at)?.map_err(|words| at(Error::new(ErrorKind::Engine, "ONNX Runtime does not start").caused_by(words)))?;
    let library = OrtLibrary { path, version, environment };
    *given = Given::Works(library.clone());
    Ok(library)
}

/// The path, and the key or variable that gives it.
fn place(configured: Option<&str>, variable: Option<OsString>) -> Result<(PathBuf, &'static str)> {
    match (configured, variable) {
        (Some(path), _) => Ok((PathBuf::from(path), "engine.onnxruntime")),
        (None, Some(path)) if !path.is_empty() => Ok((PathBuf::from(path), VARIABLE)),
        (None, _) => Err(Error::new(ErrorKind::Engine, "ONNX Runtime is asked for, and nothing says where it is")
            .at("engine.kind: ort")
            .wanted(format!("the path of libonnxruntime in `engine.onnxruntime` or in the environment's {VARIABLE}"))),
    }
}

/// Opens the library, and asks it for its version and for the function table that `ort` needs.
fn probe(path: &Path) -> Result<(Shared, String)> {
    let bad = |what: &str| Error::new(ErrorKind::Engine, what);
    // SAFETY: runs the initialisers of the library that the configuration names.
    let shared = unsafe { Shared::new(path) }.map_err(|e| bad("not a library that can be opened").caused_by(words(&e)))?;
    // SAFETY: the name and its type are those of the library's C header.
    let base = unsafe { shared.get::<unsafe extern "system" fn() -> *const OrtApiBase>(b"OrtGetApiBase") }
        .map_err(|e| bad("a library, but not ONNX Runtime").caused_by(words(&e)))?;
    // SAFETY: takes nothing; returns null or a table that lives as long as the library.
    let base = unsafe { base() };
    // SAFETY: null, or a table, by the library's contract.
    let base = unsafe { base.as_ref() }.ok_or_else(|| bad("an ONNX Runtime that does not work").got("no `OrtApiBase`"))?;
    // SAFETY: takes nothing; returns null or a string that lives as long as the library.
    let version = unsafe { (base.GetVersionString)() };
    if version.is_null() {
        return Err(bad("an ONNX Runtime that does not work").got("no version"));
    }
    // SAFETY: not null, so a C string by the library's contract.
    let version = unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned();
    let wanted = format!("1.{ORT_API_VERSION}.0 or newer, below 2");
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next().and_then(std::result::Result::ok), numbers.next().and_then(std::result::Result::ok));
    if major != Some(1) || minor.is_none_or(|minor| minor < ORT_API_VERSION) {
        return Err(bad("ONNX Runtime of the wrong version").got(version).wanted(wanted));
    }
    // SAFETY: takes a number; returns null or a table that lives as long as the library.
    let table = unsafe { (base.GetApi)(ORT_API_VERSION) };
    if table.is_null() {
        return Err(bad("an ONNX Runtime that does not work")
            .got(format!("{version}, without the functions of 1.{ORT_API_VERSION}"))
            .wanted(wanted));
    }
    Ok((shared, version))
}

/// The message of the system's loader, which is the innermost source of an error.
fn words(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), words)
}

/// Calls the library. Allocations count as the library's, and a panic of its wrapper becomes an
/// error.
pub(super) fn call<T>(f: impl FnOnce() -> T) -> Result<T> {
    library::enter(|| catch_unwind(AssertUnwindSafe(f))).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Error::new(ErrorKind::Engine, "the library cannot be used").got(format!("{:?}", words.unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_goes_before_the_environment_and_neither_is_an_error_that_names_both() {
        assert_eq!(place(Some("a/b.so"), Some("c/d.so".into())).unwrap(), (PathBuf::from("a/b.so"), "engine.onnxruntime"));
        assert_eq!(place(None, Some("c/d.so".into())).unwrap(), (PathBuf::from("c/d.so"), VARIABLE));
        for nothing in [None, Some(OsString::new())] {
            let error = place(None, nothing).unwrap_err();
            let text = error.to_string();
            assert!(error.kind() == ErrorKind::Engine && text.contains("engine.onnxruntime") && text.contains(VARIABLE), "{text}");
        }
    }
}
