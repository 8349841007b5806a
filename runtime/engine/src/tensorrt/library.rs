//! Opening a library of either family, once in a process: found, asked for its version, and matched with a shim before anything of it runs.

use super::error_log::ErrorLog;
use super::ffi::{self, Api, Handle};
use drivewam_core::manifest::{Dotted, Family, Version};
use drivewam_core::{Error, ErrorKind, Result};
use libloading::Library as Shared;
use std::ffi::{OsString, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The environment variable that says where the library is, where the configuration does not.
const VARIABLE: &str = "DRIVEWAM_TENSORRT";
/// The key of the configuration.
const KEY: &str = "engine.tensorrt.library";

/// An opened library. It stays open until the process ends: its threads and the driver's may outlive every handle.
pub struct Library {
    pub(super) api: &'static Api,
    pub(super) create_runtime: *const c_void,
    /// The one logger that the library is ever given: it keeps the first that it meets.
    pub(super) logger: Handle,
    pub(super) error_log: &'static ErrorLog,
    shared: Shared,
    path: PathBuf,
    family: Family,
    version: Version,
}

// SAFETY: an address of a function and constants; the library's own entry points may be called from any thread.
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
    /// Opens the library at `configured`, else at the environment's `DRIVEWAM_TENSORRT`, else by the family's usual names. Runs nothing of it but its
    /// version functions.
    ///
    /// # Errors
    /// `Engine`, with the path, what was got and what was wanted: nothing is there; it is no such library, or of another family; this program was built
    /// without headers of its major version; it is older than the headers.
    pub fn open(family: Family, configured: Option<&str>) -> Result<Arc<Self>> {
        static OPEN: Mutex<Vec<Arc<Library>>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let (paths, key) = places(family, configured, std::env::var_os(VARIABLE));
        let mut refused = Vec::new();
        for path in &paths {
            if let Some(library) = open.iter().find(|library| library.path == *path && library.family == family) {
                return Ok(Arc::clone(library));
            }
            // SAFETY: runs the initialisers of a library that the user names or the system's loader finds.
            match unsafe { Shared::new(path) } {
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
            // SAFETY: every version of either family declares these functions so.
            let get: unsafe extern "C" fn() -> i32 = unsafe { std::mem::transmute(get) };
            // SAFETY: takes nothing, and gives a number.
            Ok(unsafe { get() }.unsigned_abs())
        };
        let version = Dotted([number("getInferLibMajorVersion")?, number("getInferLibMinorVersion")?, number("getInferLibPatchVersion")?]);
        let create_runtime = symbol(&shared, "createInferRuntime_INTERNAL")?;
        let api = shim(family, version)?;
        let error_log: &'static ErrorLog = Box::leak(Box::default());
        // SAFETY: the error_log lives as long as the process, and so does the logger.
        let logger = unsafe { (api.logger)(error_log.log()) };
        if logger.is_null() {
            return Err(Error::new(ErrorKind::Capacity, "no memory for a logger"));
        }
        Ok(Self { api, create_runtime, logger, error_log, shared, path: path.to_owned(), family, version })
    }

    /// Its family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An entry point that not every library has: a lean runtime has no builder.
    pub(super) fn symbol(&self, name: &str) -> Result<*const c_void> {
        symbol(&self.shared, name).map_err(|e| e.at(format!("{:?}", self.path.display())))
    }

    /// The ONNX parser beside the library.
    pub(super) fn parser(&self) -> Result<(Shared, *const c_void)> {
        let major = self.version.0[0];
        let name = match self.family {
            Family::Tensorrt => format!("libnvonnxparser.so.{major}"),
            Family::TensorrtRtx => format!("libtensorrt_onnxparser_rtx.so.{major}"),
        };
        // Beside the library where that has a folder; else where the system's loader finds it.
        let path = self.path.parent().map(|folder| folder.join(&name)).filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(&name));
        let failed = |e: libloading::Error| {
            Error::new(ErrorKind::Engine, "the library's ONNX parser cannot be opened").at(format!("{:?}", path.display())).caused_by(e)
        };
        // SAFETY: runs the initialisers of the vendor's parser.
        let shared = unsafe { Shared::new(&path) }.map_err(failed)?;
        let create = symbol(&shared, "createNvOnnxParser_INTERNAL")?;
        Ok((shared, create))
    }
}

/// Where the library may be, and who named it.
fn places(family: Family, configured: Option<&str>, variable: Option<OsString>) -> (Vec<PathBuf>, &'static str) {
    match (configured, variable) {
        (Some(path), _) => (vec![path.into()], KEY),
        (None, Some(path)) if !path.is_empty() => (vec![path.into()], VARIABLE),
        (None, _) => {
            let mut majors: Vec<i32> = ffi::tables().filter(|api| family_of(api) == family).map(|api| api.major).collect();
            majors.sort_unstable();
            majors.dedup();
            // Whole libraries before lean ones, newest first.
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
    // SAFETY: only the address is taken.
    let found = unsafe { shared.get::<*const c_void>(name) };
    let found =
        found.map_err(|e| Error::new(ErrorKind::Engine, "not a library of TensorRT: it lacks an entry point").at(name).caused_by(e))?;
    Ok(*found)
}

fn family_of(api: &Api) -> Family {
    if api.is_rtx == 0 { Family::Tensorrt } else { Family::TensorrtRtx }
}

/// Versions of the headers that this program was built with.
pub fn headers() -> Vec<(Family, Version)> {
    ffi::tables().map(|api| (family_of(api), version_of(api))).collect()
}

fn version_of(api: &Api) -> Version {
    Dotted([api.major, api.minor, api.patch].map(i32::unsigned_abs))
}

/// The shim for a library: compiled with headers whose vtables it has, and no newer ones, whose functions it may lack.
fn shim(family: Family, version: Version) -> Result<&'static Api> {
    let is_rtx = version.0[0] < 10;
    if is_rtx != (family == Family::TensorrtRtx) {
        return Err(Error::new(ErrorKind::Engine, "a library of the other family").got(version).wanted(family));
    }
    let built: Vec<_> = ffi::tables().filter(|api| family_of(api) == family).collect();
    let known = built.iter().map(|api| version_of(api).to_string()).collect::<Vec<_>>().join(", ");
    // TensorRT adds to its vtables within a major version; TensorRT-RTX takes away, too.
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
    // The newest headers that the library is not older than.
    alike.into_iter().filter(|api| version_of(api) <= version).max_by_key(|api| version_of(api)).ok_or_else(|| {
        Error::new(ErrorKind::Engine, "the library is older than the headers that this program was built with").got(version).wanted(known)
    })
}
