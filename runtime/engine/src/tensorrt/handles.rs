//! Owners of the library's handles. Each keeps what its handle depends on, so handles are freed in
//! the library's order: execution context, engine, runtime, GPU context. The library, its logger
//! and its error log live as long as the process.

use super::error_log::ErrorLog;
use super::ffi::{Api, Dims, Handle, MAX_RANK, TensorInfo, gather};
use super::header::{self, Header};
use super::library::Library;
use crate::io_check::Reported;
use drivewam_core::dtype::DType;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::cuda::PrimaryContext;
use drivewam_device::gpu::Address;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// A deserialised engine, and its runtime.
pub(super) struct CudaEngine {
    engine: Handle,
    runtime: Handle,
    library: Arc<Library>,
    pub error_log: &'static ErrorLog,
    /// Dropped last: the library's device memory belongs to this context.
    primary: Arc<PrimaryContext>,
}

// SAFETY: the library's handles are bound to no thread. This owner uses them from one thread at a
// time, except for getters, which the library allows from several.
unsafe impl Send for CudaEngine {}
// SAFETY: as above: `&self` calls getters, and makes contexts in Warm.
unsafe impl Sync for CudaEngine {}

/// An input or output of the engine, as the library reports it.
pub(super) struct EngineTensor {
    pub is_input: bool,
    pub on_device: bool,
    pub reported: Reported,
}

/// A name as the library takes it.
pub(super) fn c_name(name: &str) -> Result<CString> {
    CString::new(name).map_err(|e| Error::new(ErrorKind::Usage, "a name that contains a zero byte").got(format!("{name:?}")).caused_by(e))
}

/// A shape as the library takes it.
pub(super) fn dims(shape: &[usize]) -> Result<Dims> {
    let mut dims = Dims::default();
    let too_odd = || Error::new(ErrorKind::Usage, "a shape that the library cannot have").got(format!("{shape:?}"));
    if shape.len() > MAX_RANK {
        return Err(too_odd());
    }
    for (to, &from) in dims.lengths.iter_mut().zip(shape) {
        *to = i64::try_from(from).map_err(|_too_long| too_odd())?;
    }
    dims.rank = shape.len() as i32;
    Ok(dims)
}

/// A shape as the library reports it; a dynamic axis is `None`.
fn shape(dims: &Dims) -> Vec<Option<usize>> {
    let rank = usize::try_from(dims.rank).unwrap_or(0).min(MAX_RANK);
    dims.lengths[..rank].iter().map(|&len| usize::try_from(len).ok()).collect()
}

/// The type with the library's number; `Err` names a number that the contract does not have.
fn dtype(number: i32) -> std::result::Result<DType, String> {
    match number {
        0 => Ok(DType::F32),
        1 => Ok(DType::F16),
        3 => Ok(DType::I32),
        5 => Ok(DType::U8),
        7 => Ok(DType::Bf16),
        8 => Ok(DType::I64),
        other => Err(format!("TensorRT type {other}")),
    }
}

impl CudaEngine {
    /// Deserialises `content`, which must have been checked. `host_code` allows a runtime inside
    /// the engine, as version-compatible engines have. Warm.
    ///
    /// # Errors
    /// `Engine`, with the library's message, when it makes no runtime or refuses the engine;
    /// `Device` when the GPU's context is lost.
    pub fn load(library: Arc<Library>, primary: Arc<PrimaryContext>, content: &[u8], host_code: bool) -> Result<Self> {
        primary.enter()?;
        let error_log = library.error_log;
        error_log.forget();
        // SAFETY: the address and the logger are the library's, and live as long as the process.
        let runtime = unsafe { (library.api.runtime)(library.create_runtime, library.logger, i32::from(host_code)) };
        // From here on `drop` frees the handles.
        let mut plan = Self { engine: null_mut(), runtime, library, error_log, primary };
        if runtime.is_null() {
            return Err(plan.error_log.error("the library makes no runtime"));
        }
        match header::ask(plan.library(), runtime, content) {
            Header::Unknown | Header::Valid => {}
            other => return Err(Error::new(ErrorKind::Engine, "the library refuses the engine by its first bytes").got(other)),
        }
        // SAFETY: the runtime is alive; the library copies what it needs of the content during the
        // call.
        plan.engine = unsafe { (plan.api().engine)(runtime, content.as_ptr().cast(), content.len()) };
        if plan.engine.is_null() {
            return Err(plan.error_log.error("the library refuses the engine"));
        }
        Ok(plan)
    }

    fn api(&self) -> &'static Api {
        self.library.api
    }

    /// The library.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The GPU.
    pub fn primary(&self) -> &PrimaryContext {
        &self.primary
    }

    /// Inputs and outputs.
    ///
    /// # Errors
    /// `Engine` when the library does not report them.
    pub fn tensors(&self) -> Result<Vec<EngineTensor>> {
        // SAFETY: the engine is alive.
        let count = unsafe { (self.api().tensor_count)(self.engine) };
        (0..count)
            .map(|i| {
                let mut tensor = TensorInfo { name: null(), is_input: 0, on_device: 0, dtype: -1, dims: Dims::default() };
                // SAFETY: the engine is alive, and the place lives through the call.
                let reported = unsafe { (self.api().tensor)(self.engine, i, &raw mut tensor) };
                if reported == 0 || tensor.name.is_null() {
                    return Err(self.error_log.error("the library does not report a tensor of the engine"));
                }
                // SAFETY: not null; the engine keeps its names.
                let name = unsafe { CStr::from_ptr(tensor.name) }.to_string_lossy().into_owned();
                let reported = Reported { name, dtype: dtype(tensor.dtype), shape: Some(shape(&tensor.dims)) };
                Ok(EngineTensor { is_input: tensor.is_input != 0, on_device: tensor.on_device != 0, reported })
            })
            .collect()
    }

    /// The number of optimization profiles.
    pub fn profiles(&self) -> i32 {
        // SAFETY: the engine is alive.
        unsafe { (self.api().profile_count)(self.engine) }
    }

    /// The smallest, most frequent and largest shape of an input in a profile.
    ///
    /// # Errors
    /// `Engine` when the library does not report it.
    pub fn range(&self, profile: i32, tensor: &str) -> Result<[Vec<Option<usize>>; 3]> {
        let name = c_name(tensor)?;
        let mut out: [Vec<Option<usize>>; 3] = Default::default();
        for (which, shape_out) in (0..).zip(&mut out) {
            let mut dims = Dims::default();
            // SAFETY: the engine is alive; name and place live through the call.
            let reported = unsafe { (self.api().profile_shape)(self.engine, profile, name.as_ptr(), which, &raw mut dims) };
            if reported == 0 {
                return Err(self.error_log.error("the library does not report a profile of the engine").at(format!("{tensor:?}")));
            }
            *shape_out = shape(&dims);
        }
        Ok(out)
    }

    /// Scratch memory of a pass, bytes: the maximum over all profiles.
    pub fn scratch_bytes(&self) -> u64 {
        // SAFETY: the engine is alive, and has this profile.
        let of = |profile| unsafe { (self.api().scratch_bytes)(self.engine, profile) };
        (0..self.profiles()).map(|profile| u64::try_from(of(profile)).unwrap_or(0)).max().unwrap_or(0)
    }

    /// Keeps `bytes` of the weights on the GPU and streams the others from host memory. Call before
    /// the first context.
    ///
    /// # Errors
    /// `Engine` when the engine was not built for weight streaming, or the library refuses the
    /// number.
    pub fn set_weight_budget(&self, bytes: u64) -> Result<()> {
        // SAFETY: the engine is alive.
        let streamable = unsafe { (self.api().streamable_bytes)(self.engine) };
        let refused = |what: &str| self.error_log.error(what).at("engine.tensorrt.weight_budget_bytes").got(bytes);
        if streamable <= 0 {
            return Err(refused("the engine was not built for weight streaming")
                .wanted("no budget, or build_engines --set build.flags.weight_streaming=true"));
        }
        let budget = i64::try_from(bytes).unwrap_or(i64::MAX).min(streamable);
        // SAFETY: the engine is alive and has no context yet.
        match unsafe { (self.api().set_weight_budget)(self.engine, budget) } {
            0 => Err(refused("the library refuses the budget").wanted(format!("at most {streamable}"))),
            _ => Ok(()),
        }
    }

    /// The library's report of layers and tactics, JSON.
    ///
    /// # Errors
    /// `Engine`.
    pub fn information(&self) -> Result<String> {
        let mut json = Vec::new();
        // SAFETY: the engine is alive; the vector lives through the call.
        match unsafe { (self.api().information)(self.engine, gather(&mut json)) } {
            0 => Err(self.error_log.error("the library does not report the engine's layers")),
            _ => Ok(String::from_utf8_lossy(&json).into_owned()),
        }
    }
}

impl Drop for CudaEngine {
    fn drop(&mut self) {
        // Entering a lost context fails; the library then frees what it can.
        let _ = self.primary.enter();
        if !self.engine.is_null() {
            // SAFETY: made in `load`; no context of it exists, because each keeps this value.
            unsafe { (self.api().engine_free)(self.engine) };
        }
        if !self.runtime.is_null() {
            // SAFETY: made in `load`; its engine is freed.
            unsafe { (self.api().runtime_free)(self.runtime) };
        }
    }
}

impl fmt::Debug for CudaEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaEngine").field("library", &self.library).finish_non_exhaustive()
    }
}

/// An execution context: one shape of an engine, bound to addresses.
pub(super) struct ExecutionContext {
    context: Handle,
    plan: Arc<CudaEngine>,
}

// SAFETY: as `CudaEngine`; one thread at a time uses a context, and changes need `&mut self`.
unsafe impl Send for ExecutionContext {}

impl ExecutionContext {
    /// A context without scratch memory. Kernels for a shape are compiled eagerly, unless `cache`
    /// has them. Warm.
    ///
    /// # Errors
    /// `Engine` when the library makes none.
    pub fn new(plan: &Arc<CudaEngine>, cache: &[u8]) -> Result<Self> {
        // SAFETY: the engine is alive, and this value keeps it so; the library copies what it needs
        // of the cache.
        let context = unsafe { (plan.api().context)(plan.engine, cache.as_ptr().cast(), cache.len()) };
        if context.is_null() {
            return Err(plan.error_log.error("the library makes no execution context"));
        }
        Ok(Self { context, plan: Arc::clone(plan) })
    }

    fn api(&self) -> &'static Api {
        self.plan.api()
    }

    /// Selects a profile, in stream order. Warm.
    pub fn set_profile(&mut self, profile: i32, stream: *mut c_void) -> Result<()> {
        // SAFETY: the context is alive, and the stream is the device's.
        match unsafe { (self.api().set_profile)(self.context, profile, stream) } {
            0 => Err(self.plan.error_log.error("the library refuses the optimization profile").got(profile)),
            _ => Ok(()),
        }
    }

    /// Sets the shape of an input. Warm.
    pub fn set_shape(&mut self, tensor: &str, shape: &[usize]) -> Result<()> {
        let (name, dims) = (c_name(tensor)?, dims(shape)?);
        // SAFETY: the context is alive; name and shape live through the call.
        match unsafe { (self.api().set_shape)(self.context, name.as_ptr(), &raw const dims) } {
            0 => Err(self.plan.error_log.error("the library refuses a shape").at(format!("{tensor:?}")).got(format!("{shape:?}"))),
            _ => Ok(()),
        }
    }

    /// The shape of a tensor, once the shapes of all inputs are set.
    pub fn shape(&self, tensor: &str) -> Result<Vec<Option<usize>>> {
        let (name, mut dims) = (c_name(tensor)?, Dims::default());
        // SAFETY: the context is alive; name and place live through the call.
        match unsafe { (self.api().shape)(self.context, name.as_ptr(), &raw mut dims) } {
            0 => Err(self.plan.error_log.error("the library does not report a shape").at(format!("{tensor:?}"))),
            _ => Ok(shape(&dims)),
        }
    }

    /// Sets the address of a tensor. Warm.
    pub fn set_address(&mut self, tensor: &str, is_input: bool, address: Address) -> Result<()> {
        let name = c_name(tensor)?;
        let address = std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0));
        // SAFETY: the context is alive; the library does not use the address before `enqueue`.
        match unsafe { (self.api().set_address)(self.context, name.as_ptr(), i32::from(is_input), address) } {
            0 => Err(self.plan.error_log.error("the library refuses an address").at(format!("{tensor:?}"))),
            _ => Ok(()),
        }
    }

    /// Proves that the shapes of all inputs are set and fit one another. Warm.
    pub fn check_shapes(&mut self) -> Result<()> {
        // SAFETY: the context is alive.
        let missing: *const c_char = unsafe { (self.api().missing)(self.context) };
        if missing.is_null() {
            return Ok(());
        }
        // SAFETY: not null, so a name of the engine or a constant of the shim.
        let name = unsafe { CStr::from_ptr(missing) }.to_string_lossy().into_owned();
        Err(self.plan.error_log.error("the library needs more than the shapes of the inputs").at(name))
    }

    /// Scratch memory of a pass in these shapes, bytes. Warm.
    pub fn scratch_bytes(&mut self) -> u64 {
        // SAFETY: the context is alive, and its shapes are set.
        u64::try_from(unsafe { (self.api().scratch_of_shapes)(self.context) }).unwrap_or(u64::MAX)
    }

    /// Sets the scratch memory. Warm.
    pub fn set_scratch(&mut self, address: Address, bytes: u64) {
        let address = std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0));
        // SAFETY: the context is alive; the library does not use the memory before `enqueue`.
        unsafe { (self.api().set_scratch)(self.context, address, i64::try_from(bytes).unwrap_or(i64::MAX)) };
    }

    /// Enqueues a pass on the stream.
    ///
    /// # Safety
    /// Every address that was set belongs to the device of this stream, has the bytes of its
    /// tensor, and stays valid until the pass is done.
    pub unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<()> {
        // SAFETY: the context is alive; addresses and stream are the caller's responsibility.
        match unsafe { (self.api().enqueue)(self.context, stream) } {
            0 => Err(self.plan.error_log.error("the pass failed to start")),
            _ => Ok(()),
        }
    }

    /// Whether a pass can be captured now, with nothing left to compile.
    pub fn is_capturable(&self, stream: *mut c_void) -> bool {
        // SAFETY: the context is alive, and the stream is the device's.
        unsafe { (self.api().is_capturable)(self.context, stream) != 0 }
    }

    /// The kernels that were compiled so far; empty for a library that compiles none. Warm.
    pub fn cache(&self) -> Result<Vec<u8>> {
        let mut cache = Vec::new();
        // SAFETY: the context is alive; the vector lives through the call.
        match unsafe { (self.api().save_cache)(self.context, gather(&mut cache)) } {
            0 => Err(self.plan.error_log.error("the library does not report its compiled kernels")),
            _ => Ok(cache),
        }
    }
}

impl Drop for ExecutionContext {
    fn drop(&mut self) {
        // A pass may still run. If waiting fails, the GPU is lost and nothing runs on it.
        let _ = self.plan.primary.synchronize();
        // SAFETY: made in `new`, freed once; no pass of it runs.
        unsafe { (self.api().context_free)(self.context) };
    }
}

impl fmt::Debug for ExecutionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutionContext").finish_non_exhaustive()
    }
}
