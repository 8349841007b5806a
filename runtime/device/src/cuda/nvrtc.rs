//! The vendor's run-time compiler, opened when asked: turns the kernels into machine code for one architecture, on a machine without a GPU.
//!
//! For `tools/build_kernels`; the ride loads what it made. Sources and headers are inside this crate, so that a tool compiles what it was built with.

#![expect(unsafe_code, reason = "calls a C library that is opened at run time")]

use super::cubins::SOURCES;
use drivewam_core::{Error, ErrorKind, Result};
use libloading::{Library, Symbol};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;

/// What is compiled: all kernels, as one unit.
const UNIT: &CStr =
    c"#include \"decide.cu\"\n#include \"image.cu\"\n#include \"scatter.cu\"\n#include \"score.cu\"\n#include \"solver.cu\"\n";

/// A program of the compiler.
type Program = *mut c_void;

/// The compiler.
#[derive(Debug)]
pub struct Nvrtc {
    library: Library,
    /// What the compiler looks for by name, and finds once it is open.
    _builtins: Vec<Library>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Machine code (`sm_*`) or PTX (`compute_*`).
    pub code: Vec<u8>,
    /// What the compiler and the assembler said, among it each kernel's registers and spills.
    pub log: String,
}

fn fault(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Engine, what).at("nvrtc")
}

impl Nvrtc {
    /// Opens `libnvrtc` of CUDA 12 or later.
    ///
    /// # Errors
    /// `Engine` when it is not there, is not the compiler, or is older.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        let beside = folder.filter(|entry| entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so"));
        // SAFETY: the vendor's library, from the folder of the one that was asked for.
        let builtins = beside.filter_map(|entry| unsafe { Library::new(entry.path()) }.ok()).collect();
        // SAFETY: the vendor's library; its initialisers are those of a C library.
        let library = unsafe { Library::new(path) }.map_err(|e| fault("cannot be opened").at(path.display()).caused_by(e))?;
        let nvrtc = Self { library, _builtins: builtins };
        let (major, minor) = nvrtc.version()?;
        if major < 12 {
            return Err(fault("is too old").at(path.display()).got(format!("{major}.{minor}")).wanted("12.0 or later"));
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
        // SAFETY: both places live through the call.
        self.check(unsafe { version(&raw mut major, &raw mut minor) })?;
        Ok((major, minor))
    }

    /// The architectures that it makes machine code for, as `sm_` numbers.
    ///
    /// # Errors
    /// `Engine`.
    pub fn architectures(&self) -> Result<Vec<i32>> {
        let mut count = 0;
        let number: Symbol<'_, unsafe extern "C" fn(*mut c_int) -> c_int> = self.symbol(b"nvrtcGetNumSupportedArchs\0")?;
        // SAFETY: the place lives through the call.
        self.check(unsafe { number(&raw mut count) })?;
        let mut all = vec![0; usize::try_from(count).unwrap_or(0)];
        let list: Symbol<'_, unsafe extern "C" fn(*mut c_int) -> c_int> = self.symbol(b"nvrtcGetSupportedArchs\0")?;
        // SAFETY: `all` has as many places as the library just said that it fills.
        self.check(unsafe { list(all.as_mut_ptr()) })?;
        Ok(all)
    }

    /// Compiles all kernels for `architecture` (`sm_87`, or `compute_120` for PTX), with `max_registers` for a thread if so many are asked for.
    ///
    /// # Errors
    /// `Engine`, with the compiler's words.
    pub fn compile(&self, architecture: &str, max_registers: Option<u32>) -> Result<Compiled> {
        let text = |s: &str| CString::new(s).map_err(|e| fault("a zero in a text").caused_by(e));
        let names = SOURCES.iter().map(|(name, _)| text(name)).collect::<Result<Vec<_>>>()?;
        let bodies = SOURCES.iter().map(|(_, body)| text(body)).collect::<Result<Vec<_>>>()?;
        let pointers = |texts: &[CString]| texts.iter().map(|t| t.as_ptr()).collect::<Vec<_>>();
        let (name_list, body_list) = (pointers(&names), pointers(&bodies));
        type Create =
            unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int;
        let create: Symbol<'_, Create> = self.symbol(b"nvrtcCreateProgram\0")?;
        let mut program = Owned { program: null_mut(), nvrtc: self };
        // A few files.
        let count = SOURCES.len() as c_int;
        // SAFETY: all texts live through the call, which copies them; the lists have `count` entries.
        self.check(unsafe {
            create(&raw mut program.program, UNIT.as_ptr(), c"kernels.cu".as_ptr(), count, body_list.as_ptr(), name_list.as_ptr())
        })?;
        let options = [&*format!("--gpu-architecture={architecture}"), "--std=c++17", "--ptxas-options=-v"];
        let limit = max_registers.map(|n| format!("--maxrregcount={n}"));
        let options = options.into_iter().chain(limit.as_deref()).map(text).collect::<Result<Vec<_>>>()?;
        let option_list = pointers(&options);
        let compile: Symbol<'_, unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int> =
            self.symbol(b"nvrtcCompileProgram\0")?;
        // SAFETY: the program was made above; the list has as many entries as it says.
        let done = self.check(unsafe { compile(program.program, options.len() as c_int, option_list.as_ptr()) });
        let log = self.bytes(program.program, b"nvrtcGetProgramLogSize\0", b"nvrtcGetProgramLog\0")?;
        let log = String::from_utf8_lossy(log.strip_suffix(&[0]).unwrap_or(&log)).into_owned();
        done.map_err(|e| e.at(architecture).got(log.trim().to_owned()))?;
        let code = if architecture.starts_with("compute_") {
            self.bytes(program.program, b"nvrtcGetPTXSize\0", b"nvrtcGetPTX\0")?
        } else {
            self.bytes(program.program, b"nvrtcGetCUBINSize\0", b"nvrtcGetCUBIN\0")?
        };
        Ok(Compiled { code, log })
    }

    /// What a pair of functions says of a program: its size, then its bytes.
    fn bytes(&self, program: Program, size: &[u8], get: &[u8]) -> Result<Vec<u8>> {
        let size: Symbol<'_, unsafe extern "C" fn(Program, *mut usize) -> c_int> = self.symbol(size)?;
        let get: Symbol<'_, unsafe extern "C" fn(Program, *mut c_char) -> c_int> = self.symbol(get)?;
        let mut len = 0;
        // SAFETY: the program is alive, and the place lives through the call.
        self.check(unsafe { size(program, &raw mut len) })?;
        let mut out = vec![0u8; len];
        // SAFETY: the program is alive, and `out` has the room that the library just asked for.
        self.check(unsafe { get(program, out.as_mut_ptr().cast()) })?;
        Ok(out)
    }

    fn symbol<T>(&self, name: &[u8]) -> Result<Symbol<'_, T>> {
        // SAFETY: the callers name functions of the vendor's header with the header's types.
        unsafe { self.library.get(name) }.map_err(|e| fault("is not the compiler, or too old: a function is missing").caused_by(e))
    }

    fn check(&self, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        let word: Symbol<'_, unsafe extern "C" fn(c_int) -> *const c_char> = self.symbol(b"nvrtcGetErrorString\0")?;
        // SAFETY: any number may be asked for.
        let word = unsafe { word(code) };
        if word.is_null() {
            return Err(fault("failed").got(code));
        }
        // SAFETY: not null, and then a constant string of the library.
        Err(fault("failed").got(unsafe { CStr::from_ptr(word) }.to_string_lossy()))
    }
}

/// A program, until it goes.
struct Owned<'a> {
    program: Program,
    nvrtc: &'a Nvrtc,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        let destroy: Result<Symbol<'_, unsafe extern "C" fn(*mut Program) -> c_int>> = self.nvrtc.symbol(b"nvrtcDestroyProgram\0");
        if let (Ok(destroy), false) = (destroy, self.program.is_null()) {
            // SAFETY: made by this library, and nobody uses it after this. What it answers changes nothing: the tool is about to end.
            unsafe { destroy(&raw mut self.program) };
        }
    }
}
