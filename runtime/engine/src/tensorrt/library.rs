//! Opens a library of either family, once in a process: finds it, asks for its version, and selects
//! the shim for it before anything else of it runs.

use super::error_log::ErrorLog;
use super::ffi::{self, Api, Handle};
use crate::native::{self, TENSORRT_VARIABLE as VARIABLE};
use drivewam_core::manifest::{Dotted, Family, Version};
use drivewam_core::{Error, ErrorKind, Result};
use libloading::Library as Shared;
use std::ffi::{OsString, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The configuration key.
const KEY: &str = "engine.tensorrt.library";

/// An opened library. It stays open until the process ends, because its threads and the driver's
/// may outlive every handle.
pub struct Library {
    pub(super) api: &'static Api,
    pub(super) create_runtime: *const c_void,
    /// The only logger that the library gets: it keeps the first one.
    pub(super) logger: Handle,
    pub(super) error_log: &'static ErrorLog,
    shared: Shared,
    path: PathBuf,
    family: Family,
    version: Version,
}

// SAFETY: constants and the address of a function; the library's entry points may be called from
// any thread.
unsafe impl Send for Library {}
// SAFETY: as above; nothing changes after `open`.
unsafe impl Sync for Library {}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self, self.path.display())
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.version)
    }
}

impl Library {
    /// Opens the library at `configured`, or else at the environment's `DRIVEWAM_TENSORRT`, or else
    /// under the family's usual names. Runs only its version functions.
    ///
    /// # Errors
    /// `Engine`, with the path, what was got and what was wanted: there is no file; others may
    /// write it or its folder; it is not such a library, or of the other family; this program was
    /// built without headers of its major version; it is older than the headers.
    pub fn open(family: Family, configured: Option<&str>) -> Result<Arc<Self>> {
        static OPEN: Mutex<Vec<Arc<Library>>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let (paths, key) = places(family, configured, std::env::var_os(VARIABLE));
        let mut refused = Vec::new();
        for path in &paths {
            if let Some(library) = open.iter().find(|library| library.path == *path && library.family == family) {
                return Ok(Arc::clone(library));
            }
            let file = match native::resolve(path) {
                Ok(file) => file,
                Err(e) => {
                    refused.push(e.to_string());
                    continue;
                }
            };
            // SAFETY: runs the initialisers of a library that the user names or the system's loader
            // finds.
            match unsafe { Shared::new(&file) } {
                Ok(shared) => {
                    let library = Arc::new(Self::of(family, path, shared).map_err(|e| e.at(format!("{:?}", path.display())).at(key))?);
                    open.push(Arc::clone(&library));
                    return Ok(library);
                }
                Err(e) => refused.push(std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string)),
            }
        }
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        Err(Error::new(ErrorKind::Engine, format!("no library of {family} can be opened"))
            .at(key)
            .got(names.join(", "))
            .wanted(format!("the library's path in `{KEY}` or in the environment's {VARIABLE}"))
            .caused_by(refused.join("; ")))
    }

    fn of(family: Family, path: &Path, shared: Shared) -> Result<Self> {
        let number = |name: &str| -> Result<u32> {
            let get = symbol(&shared, name)?;
            // SAFETY: every version of both families declares these functions so.
            let get: unsafe extern "C" fn() -> i32 = unsafe { std::mem::transmute(get) };
            // SAFETY: takes nothing, returns a number.
            Ok(unsafe { get() }.unsigned_abs())
        };
        let version = Dotted([number("getInferLibMajorVersion")?, number("getInferLibMinorVersion")?, number("getInferLibPatchVersion")?]);
        let create_runtime = symbol(&shared, "createInferRuntime_INTERNAL")?;
        let api = shim(family, version)?;
        let error_log: &'static ErrorLog = Box::leak(Box::default());
        // SAFETY: the error log lives as long as the process, and so does the logger.
        let logger = unsafe { (api.logger)(error_log.log()) };
        if logger.is_null() {
            return Err(Error::new(ErrorKind::Capacity, "no memory for a logger"));
        }
        Ok(Self { api, create_runtime, logger, error_log, shared, path: path.to_owned(), family, version })
    }

    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The path that it was opened at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The address of an entry point. Not every library has all: a lean runtime has no builder.
    pub(super) fn symbol(&self, name: &str) -> Result<*const c_void> {
        symbol(&self.shared, name).map_err(|e| e.at(format!("{:?}", self.path.display())))
    }

    /// The library's ONNX parser, and the function that makes one.
    pub(super) fn parser(&self) -> Result<(Shared, *const c_void)> {
        let major = self.version.0[0];
        let name = match self.family {
            Family::Tensorrt => format!("libnvonnxparser.so.{major}"),
            Family::TensorrtRtx => format!("libtensorrt_onnxparser_rtx.so.{major}"),
        };
        // In the library's directory, or else where the system's loader finds it.
        let path = self.path.parent().map(|folder| folder.join(&name)).filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(&name));
        let failed = |e: libloading::Error| {
            Error::new(ErrorKind::Engine, "the library's ONNX parser cannot be opened").at(format!("{:?}", path.display())).caused_by(e)
        };
        let file = native::resolve(&path).map_err(|e| e.at(format!("{:?}", path.display())))?;
        // SAFETY: runs the initialisers of the vendor's parser.
        let shared = unsafe { Shared::new(&file) }.map_err(failed)?;
        let create = symbol(&shared, "createNvOnnxParser_INTERNAL")?;
        Ok((shared, create))
    }
}

/// The paths to try, and the key or variable that gives them.
fn places(family: Family, configured: Option<&str>, variable: Option<OsString>) -> (Vec<PathBuf>, &'static str) {
    match (configured, variable) {
        (Some(path), _) => (vec![path.into()], KEY),
        (None, Some(path)) if !path.is_empty() => (vec![path.into()], VARIABLE),
        (None, _) => {
            let mut majors: Vec<i32> = ffi::tables().filter(|api| family_of(api) == family).map(|api| api.major).collect();
            majors.sort_unstable();
            majors.dedup();
            // Full libraries before lean ones, newest first.
            let stems = match family {
                Family::Tensorrt => ["libnvinfer", "libnvinfer_lean"].as_slice(),
                Family::TensorrtRtx => &["libtensorrt_rtx"],
            };
            let names = stems.iter().flat_map(|stem| majors.iter().rev().map(move |major| format!("{stem}.so.{major}")));
            (names.map(PathBuf::from).collect(), KEY)
        }
    }
}

fn symbol(shared: &Shared, name: &str) -> Result<*const c_void> {
    // SAFETY: only the address is used.
    let found = unsafe { shared.get::<*const c_void>(name) };
    let found =
        found.map_err(|e| Error::new(ErrorKind::Engine, "not a library of TensorRT: it lacks an entry point").at(name).caused_by(e))?;
    Ok(*found)
}

fn family_of(api: &Api) -> Family {
    if api.is_rtx == 0 { Family::Tensorrt } else { Family::TensorrtRtx }
}

/// The versions of the headers that this program was built with.
pub fn headers() -> Vec<(Family, Version)> {
    ffi::tables().map(|api| (family_of(api), version_of(api))).collect()
}

fn version_of(api: &Api) -> Version {
    Dotted([api.major, api.minor, api.patch].map(i32::unsigned_abs))
}

/// The shim for a library: the one with the newest headers of the same vtables that are not newer
/// than the library, which may lack their functions.
fn shim(family: Family, version: Version) -> Result<&'static Api> {
    let is_rtx = version.0[0] < 10;
    if is_rtx != (family == Family::TensorrtRtx) {
        return Err(Error::new(ErrorKind::Engine, "a library of the other family").got(version).wanted(family));
    }
    let built: Vec<_> = ffi::tables().filter(|api| family_of(api) == family).collect();
    let known = built.iter().map(|api| version_of(api).to_string()).collect::<Vec<_>>().join(", ");
    // Within a major version, TensorRT only adds to its vtables; TensorRT-RTX also removes.
    let parts = if is_rtx { 2 } else { 1 };
    let alike: Vec<_> = built.into_iter().filter(|api| version_of(api).0[..parts] == version.0[..parts]).collect();
    if alike.is_empty() {
        return Err(Error::new(
            ErrorKind::Engine,
            if is_rtx {
                "this program was not built for this version of the library"
            } else {
                "this program was not built for this major version of the library"
            },
        )
        .got(version)
        .wanted(format!("a version of {family} like its headers' ({known}); or build it with this library's headers")));
    }
    // The newest headers that are not newer than the library.
    alike.into_iter().filter(|api| version_of(api) <= version).max_by_key(|api| version_of(api)).ok_or_else(|| {
        Error::new(ErrorKind::Engine, "the library is older than the headers that this program was built with").got(version).wanted(known)
    })
}
