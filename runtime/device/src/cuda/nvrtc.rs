//! The vendor's run-time compiler (NVRTC), opened at run time: compiles the kernels for one
//! architecture, also on a machine without a GPU.
//!
//! `tools/build_kernels` uses it, and the ride loads its output. This crate contains the sources
//! and headers, so a tool compiles the kernels that it was built with.

#![expect(unsafe_code, reason = "calls a C library that is opened at run time")]

use super::cubins::SOURCES;
use drivewam_core::{Error, ErrorKind, Result};
use libloading::{Library, Symbol};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;

/// The translation unit: all kernels.
const UNIT: &CStr =
    c"#include \"decide.cu\"\n#include \"image.cu\"\n#include \"scatter.cu\"\n#include \"score.cu\"\n#include \"solver.cu\"\n";

/// A handle of a program of the compiler.
type Program = *mut c_void;

/// The compiler.
#[derive(Debug)]
pub struct Nvrtc {
    library: Library,
    /// A library that the compiler looks up by name and finds once it is open.
    _builtins: Vec<Library>,
}

/// The output of a compilation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledKernels {
    /// Machine code (`sm_*`) or PTX (`compute_*`).
    pub code: Vec<u8>,
    /// The log of compiler and assembler, with the registers and spills of each kernel.
    pub log: String,
}

fn fault(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Engine, what).at("nvrtc")
}

impl Nvrtc {
    /// Opens `libnvrtc` of CUDA 12 or later.
    ///
    /// # Errors
    /// `Engine` when the file is missing, is not the compiler, or is older.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        let beside = folder.filter(|entry| entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so"));
        // SAFETY: the vendor's library, from the folder of the requested one.
        let builtins = beside.filter_map(|entry| unsafe { Library::new(entry.path()) }.ok()).collect();
        // SAFETY: the vendor's library; its initialisers are those of a C library.
        let library = unsafe { Library::new(path) }.map_err(|e| fault("cannot open the compiler").at(path.display()).caused_by(e))?;
        let nvrtc = Self { library, _builtins: builtins };
        let (major, minor) = nvrtc.version()?;
        if major < 12 {
            return Err(fault("the compiler is too old").at(path.display()).got(format!("{major}.{minor}")).wanted("12.0 or later"));
        }
        Ok(nvrtc)
    }

    /// Major and minor version.
    ///
    /// # Errors
    /// `Engine`.
    pub fn version(&self) -> Result<(i32, i32)> {
        let (mut major, mut minor) = (0, 0);
        let version: Symbol<'_, unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int> = self.symbol(b"nvrtcVersion\0")?;
        // SAFETY: both variables live through the call.
        self.check(unsafe { version(&raw mut major, &raw mut minor) })?;
        Ok((major, minor))
    }

    /// The architectures that it generates machine code for, as `sm_` numbers.
    ///
    /// # Errors
    /// `Engine`.
    pub fn architectures(&self) -> Result<Vec<i32>> {
        let mut count = 0;
        let number: Symbol<'_, unsafe extern "C" fn(*mut c_int) -> c_int> = self.symbol(b"nvrtcGetNumSupportedArchs\0")?;
        // SAFETY: the variable lives through the call.
        self.check(unsafe { number(&raw mut count) })?;
        let mut all = vec![0; usize::try_from(count).unwrap_or(0)];
        let list: Symbol<'_, unsafe extern "C" fn(*mut c_int) -> c_int> = self.symbol(b"nvrtcGetSupportedArchs\0")?;
        // SAFETY: `all` has as many elements as the library writes, by the call above.
        self.check(unsafe { list(all.as_mut_ptr()) })?;
        Ok(all)
    }

    /// Compiles all kernels for `architecture` (`sm_87`, or `compute_120` for PTX), with at most
    /// `max_registers` registers for a thread where given.
    ///
    /// # Errors
    /// `Engine`, with the compiler's log.
    pub fn compile(&self, architecture: &str, max_registers: Option<u32>) -> Result<CompiledKernels> {
        let text = |s: &str| CString::new(s).map_err(|e| fault("a text contains a zero byte").caused_by(e));
        let names = SOURCES.iter().map(|(name, _)| text(name)).collect::<Result<Vec<_>>>()?;
        let bodies = SOURCES.iter().map(|(_, body)| text(body)).collect::<Result<Vec<_>>>()?;
        let pointers = |texts: &[CString]| texts.iter().map(|t| t.as_ptr()).collect::<Vec<_>>();
        let (name_list, body_list) = (pointers(&names), pointers(&bodies));
        type Create =
            unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int;
        let create: Symbol<'_, Create> = self.symbol(b"nvrtcCreateProgram\0")?;
        let mut program = Owned { program: null_mut(), nvrtc: self };
        // SOURCES has a few entries.
        let count = SOURCES.len() as c_int;
        // SAFETY: all texts live through the call, which copies them; the lists have `count`
        // entries.
        self.check(unsafe {
            create(&raw mut program.program, UNIT.as_ptr(), c"kernels.cu".as_ptr(), count, body_list.as_ptr(), name_list.as_ptr())
        })?;
        let options = [&*format!("--gpu-architecture={architecture}"), "--std=c++17", "--ptxas-options=-v"];
        let limit = max_registers.map(|n| format!("--maxrregcount={n}"));
        let options = options.into_iter().chain(limit.as_deref()).map(text).collect::<Result<Vec<_>>>()?;
        let option_list = pointers(&options);
        let compile: Symbol<'_, unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int> =
            self.symbol(b"nvrtcCompileProgram\0")?;
        // SAFETY: the program was created above; the list has `options.len()` entries.
        let done = self.check(unsafe { compile(program.program, options.len() as c_int, option_list.as_ptr()) });
        let log = self.bytes(program.program, b"nvrtcGetProgramLogSize\0", b"nvrtcGetProgramLog\0")?;
        let log = String::from_utf8_lossy(log.strip_suffix(&[0]).unwrap_or(&log)).into_owned();
        done.map_err(|e| e.at(architecture).got(log.trim().to_owned()))?;
        let code = if architecture.starts_with("compute_") {
            self.bytes(program.program, b"nvrtcGetPTXSize\0", b"nvrtcGetPTX\0")?
        } else {
            self.bytes(program.program, b"nvrtcGetCUBINSize\0", b"nvrtcGetCUBIN\0")?
        };
        Ok(CompiledKernels { code, log })
    }

    /// Reads bytes of a program by a pair of functions: one for the size, one for the content.
    fn bytes(&self, program: Program, size: &[u8], get: &[u8]) -> Result<Vec<u8>> {
        let size: Symbol<'_, unsafe extern "C" fn(Program, *mut usize) -> c_int> = self.symbol(size)?;
        let get: Symbol<'_, unsafe extern "C" fn(Program, *mut c_char) -> c_int> = self.symbol(get)?;
        let mut len = 0;
        // SAFETY: the program is alive, and the variable lives through the call.
        self.check(unsafe { size(program, &raw mut len) })?;
        let mut out = vec![0u8; len];
        // SAFETY: the program is alive, and `out` has the size that the library just returned.
        self.check(unsafe { get(program, out.as_mut_ptr().cast()) })?;
        Ok(out)
    }

    fn symbol<T>(&self, name: &[u8]) -> Result<Symbol<'_, T>> {
        // SAFETY: callers name functions of the vendor's header with the header's types.
        unsafe { self.library.get(name) }.map_err(|e| fault("not the compiler, or too old: a function is missing").caused_by(e))
    }

    fn check(&self, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        let text: Symbol<'_, unsafe extern "C" fn(c_int) -> *const c_char> = self.symbol(b"nvrtcGetErrorString\0")?;
        // SAFETY: any code is allowed.
        let text = unsafe { text(code) };
        if text.is_null() {
            return Err(fault("the compiler failed").got(code));
        }
        // SAFETY: not null, so a constant string of the library.
        Err(fault("the compiler failed").got(unsafe { CStr::from_ptr(text) }.to_string_lossy()))
    }
}

/// A program that is destroyed when dropped.
struct Owned<'a> {
    program: Program,
    nvrtc: &'a Nvrtc,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        let destroy: Result<Symbol<'_, unsafe extern "C" fn(*mut Program) -> c_int>> = self.nvrtc.symbol(b"nvrtcDestroyProgram\0");
        if let (Ok(destroy), false) = (destroy, self.program.is_null()) {
            // SAFETY: created by this library, and nothing uses it afterwards. The result is
            // ignored: the program is gone either way.
            unsafe { destroy(&raw mut self.program) };
        }
    }
}
