//! The types of `../../tensorrt/shim.h`, field by field.

use std::ffi::{c_char, c_void};

/// The largest rank of a tensor.
pub(super) const MAX_RANK: usize = 8;
/// The severity of messages to the library's error recorder.
pub(super) const RECORDED: i32 = 5;

pub(super) type Handle = *mut c_void;
pub(super) type Write = unsafe extern "C" fn(user: *mut c_void, severity: i32, text: *const c_char);
pub(super) type Give = unsafe extern "C" fn(user: *mut c_void, data: *const c_void, bytes: usize);
pub(super) type ProgressCallback = unsafe extern "C" fn(user: *mut c_void, phase: *const c_char, step: i32, steps: i32) -> i32;

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Log {
    pub user: *mut c_void,
    pub write: Write,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Sink {
    pub user: *mut c_void,
    pub write: Give,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Dims {
    pub rank: i32,
    pub lengths: [i64; MAX_RANK],
}

#[repr(C)]
pub(super) struct TensorInfo {
    pub name: *const c_char,
    pub is_input: i32,
    pub on_device: i32,
    pub dtype: i32,
    pub dims: Dims,
}

#[repr(C)]
pub(super) struct ProfileRange {
    pub profile: i32,
    pub tensor: *const c_char,
    pub min: Dims,
    pub opt: Dims,
    pub max: Dims,
}

#[repr(C)]
pub(super) struct BuildParams {
    pub onnx: *const c_void,
    pub onnx_bytes: usize,
    pub onnx_path: *const c_char,
    pub profiles: i32,
    pub ranges: *const ProfileRange,
    pub range_count: usize,
    pub compute_capabilities: *const i32,
    pub compute_capability_count: usize,
    pub workspace_bytes: usize,
    pub optimization_level: i32,
    pub tf32: i32,
    pub version_compatible: i32,
    pub hardware_compatible: i32,
    pub weight_streaming: i32,
    pub timing_cache: *const c_void,
    pub timing_cache_bytes: usize,
    pub engine: Sink,
    pub timing_cache_out: Sink,
    pub progress_user: *mut c_void,
    pub progress: Option<ProgressCallback>,
}

type BuildCall =
    unsafe extern "C" fn(builder_create: *const c_void, parser_create: *const c_void, logger: Handle, what: *const BuildParams) -> i32;

#[repr(C)]
pub(super) struct Api {
    pub is_rtx: i32,
    pub major: i32,
    pub minor: i32,
    pub patch: i32,
    pub logger: unsafe extern "C" fn(log: Log) -> Handle,
    pub runtime: unsafe extern "C" fn(create: *const c_void, logger: Handle, host_code: i32) -> Handle,
    pub runtime_free: unsafe extern "C" fn(runtime: Handle),
    pub header: unsafe extern "C" fn(runtime: Handle, plan: *const c_void, bytes: usize, diagnostics: *mut u64) -> i32,
    pub engine: unsafe extern "C" fn(runtime: Handle, plan: *const c_void, bytes: usize) -> Handle,
    pub engine_free: unsafe extern "C" fn(engine: Handle),
    pub tensor_count: unsafe extern "C" fn(engine: Handle) -> i32,
    pub tensor: unsafe extern "C" fn(engine: Handle, index: i32, out: *mut TensorInfo) -> i32,
    pub profile_count: unsafe extern "C" fn(engine: Handle) -> i32,
    pub profile_shape: unsafe extern "C" fn(engine: Handle, profile: i32, tensor: *const c_char, which: i32, out: *mut Dims) -> i32,
    pub scratch_bytes: unsafe extern "C" fn(engine: Handle, profile: i32) -> i64,
    pub streamable_bytes: unsafe extern "C" fn(engine: Handle) -> i64,
    pub set_weight_budget: unsafe extern "C" fn(engine: Handle, bytes: i64) -> i32,
    pub information: unsafe extern "C" fn(engine: Handle, json: Sink) -> i32,
    pub context: unsafe extern "C" fn(engine: Handle, cache: *const c_void, cache_bytes: usize) -> Handle,
    pub context_free: unsafe extern "C" fn(context: Handle),
    pub set_profile: unsafe extern "C" fn(context: Handle, profile: i32, stream: *mut c_void) -> i32,
    pub set_shape: unsafe extern "C" fn(context: Handle, tensor: *const c_char, dims: *const Dims) -> i32,
    pub shape: unsafe extern "C" fn(context: Handle, tensor: *const c_char, out: *mut Dims) -> i32,
    pub set_address: unsafe extern "C" fn(context: Handle, tensor: *const c_char, is_input: i32, address: *mut c_void) -> i32,
    pub missing: unsafe extern "C" fn(context: Handle) -> *const c_char,
    pub scratch_of_shapes: unsafe extern "C" fn(context: Handle) -> i64,
    pub set_scratch: unsafe extern "C" fn(context: Handle, address: *mut c_void, bytes: i64),
    pub enqueue: unsafe extern "C" fn(context: Handle, stream: *mut c_void) -> i32,
    pub is_capturable: unsafe extern "C" fn(context: Handle, stream: *mut c_void) -> i32,
    pub save_cache: unsafe extern "C" fn(context: Handle, cache: Sink) -> i32,
    pub parse: BuildCall,
    pub build: BuildCall,
}

/// A function table of one compilation of the shim.
struct Table(*const Api);

// SAFETY: the tables are constants: numbers and functions.
unsafe impl Sync for Table {}

include!(concat!(env!("OUT_DIR"), "/shims.rs"));

/// All function tables, one for each set of headers.
pub(super) fn tables() -> impl Iterator<Item = &'static Api> {
    // SAFETY: each is the address of a constant of this type, declared in `shim.h`.
    TABLES.iter().map(|table| unsafe { &*table.0 })
}

/// A sink that appends to `into`, which must outlive the call.
pub(super) fn gather(into: &mut Vec<u8>) -> Sink {
    unsafe extern "C" fn give(user: *mut c_void, data: *const c_void, bytes: usize) {
        // SAFETY: `user` is the vector that `gather` borrowed; the shim calls only during its own
        // call.
        let into = unsafe { &mut *user.cast::<Vec<u8>>() };
        if bytes > 0 {
            // SAFETY: there are `bytes` bytes, which live during the call.
            into.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast(), bytes) });
        }
    }
    Sink { user: std::ptr::from_mut(into).cast(), write: give }
}
