//! Builds an engine from an ONNX graph with the library's builder. `build_engines` uses it; a
//! vehicle never does.

use super::ffi::{BuildParams, Dims, ProfileRange, gather};
use super::handles::{CudaEngine, c_name, dims};
use super::library::Library;
use drivewam_core::manifest::{Capability, Flags, Profile};
use drivewam_core::tensor::TensorSpec;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::cuda::PrimaryContext;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::null;
use std::sync::{Arc, Mutex, PoisonError};

/// An engine to build.
#[derive(Debug, Clone, Copy)]
pub struct BuildRequest<'a> {
    /// The ONNX file's content. The vendor's parser trusts it, so [`crate::bundle::check_onnx`]
    /// must have passed it.
    pub onnx: &'a [u8],
    /// The ONNX file's path; its weights lie beside it.
    pub path: &'a Path,
    /// The graph's inputs.
    pub inputs: &'a [TensorSpec],
    /// The ranges of N and S to support; empty for a graph without dynamic axes.
    pub profiles: &'a [Profile],
    /// The GPUs to build for; empty: this machine's.
    pub capabilities: &'a [Capability],
    /// Further options.
    pub flags: Flags,
    /// Timings that an earlier build measured on this GPU; may be empty.
    pub timing_cache: &'a [u8],
}

/// A built engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltEngine {
    /// The serialised engine.
    pub engine: Vec<u8>,
    /// Timings of this and earlier builds; empty for a library that measures none.
    pub timing_cache: Vec<u8>,
}

/// Gets the phase, the steps done and the steps in all. Returning `false` ends the build.
pub type BuildProgress<'a> = &'a mut dyn FnMut(&str, i32, i32) -> bool;

/// Builds an engine.
///
/// # Errors
/// `Engine`, with the library's message: it has no builder or parser; the parser refuses the graph;
/// the builder refuses a profile, flag or GPU, or fails.
pub fn build(library: &Library, request: &BuildRequest<'_>, progress: BuildProgress<'_>) -> Result<BuiltEngine> {
    let mut product = BuiltEngine { engine: Vec::new(), timing_cache: Vec::new() };
    call(library, request, Some((&mut product, progress)))?;
    if product.engine.is_empty() {
        return Err(Error::new(ErrorKind::Engine, "the library built an empty engine"));
    }
    Ok(product)
}

/// Parses a graph with the library's parser, and builds nothing.
///
/// # Errors
/// As [`build`].
pub fn parse(library: &Library, request: &BuildRequest<'_>) -> Result<()> {
    call(library, request, None)
}

/// Profile ranges, and the names that they point to.
struct Ranges {
    #[expect(dead_code, reason = "the names that `list` points to")]
    names: Vec<CString>,
    list: Vec<ProfileRange>,
}

fn ranges(request: &BuildRequest<'_>) -> Result<Ranges> {
    let dynamic = request.inputs.iter().filter(|spec| spec.is_dynamic());
    let (mut names, mut list) = (Vec::new(), Vec::new());
    for spec in dynamic {
        let name = c_name(&spec.name)?;
        for (i, profile) in (0..).zip(request.profiles) {
            let of = |which: usize| -> Result<Dims> { dims(&spec.resolve(profile.n[which], profile.s[which])) };
            list.push(ProfileRange { profile: i, tensor: name.as_ptr(), min: of(0)?, opt: of(1)?, max: of(2)? });
        }
        names.push(name);
    }
    Ok(Ranges { names, list })
}

unsafe extern "C" fn tell(user: *mut c_void, phase: *const c_char, step: i32, steps: i32) -> i32 {
    // SAFETY: `user` is the mutex that `call` made; the shim calls only during its own call, from
    // any thread.
    let progress = unsafe { &*user.cast::<Mutex<BuildProgress<'_>>>() };
    // SAFETY: the text lives during the call.
    let phase = unsafe { CStr::from_ptr(phase) };
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    i32::from(progress(&phase.to_string_lossy(), step, steps))
}

/// Builds into `out`; only parses where `out` is `None`.
fn call(library: &Library, request: &BuildRequest<'_>, out: Option<(&mut BuiltEngine, BuildProgress<'_>)>) -> Result<()> {
    let at = |e: Error| e.at(format!("{:?}", request.path.display())).at(library.to_string());
    let builder = library.symbol("createInferBuilder_INTERNAL").map_err(at)?;
    let (_parser, create_parser) = library.parser().map_err(at)?;
    let path = c_name(&request.path.to_string_lossy()).map_err(at)?;
    let ranges = ranges(request).map_err(at)?;
    let capabilities: Vec<i32> = request.capabilities.iter().map(|c| (c.0[0] * 10 + c.0[1]).cast_signed()).collect();
    let flags = request.flags;
    let (mut nothing, mut silence): (BuiltEngine, BuildProgress<'_>) =
        (BuiltEngine { engine: Vec::new(), timing_cache: Vec::new() }, &mut |_: &str, _: i32, _: i32| true);
    let builds = out.is_some();
    let (product, progress): (&mut BuiltEngine, BuildProgress<'_>) = match out {
        Some((product, progress)) => (product, progress),
        None => (&mut nothing, &mut silence),
    };
    let progress = Mutex::new(progress);
    library.error_log.forget();
    let cache = request.timing_cache;
    let build = BuildParams {
        onnx: request.onnx.as_ptr().cast(),
        onnx_bytes: request.onnx.len(),
        onnx_path: path.as_ptr(),
        profiles: request.profiles.len() as i32,
        ranges: ranges.list.as_ptr(),
        range_count: ranges.list.len(),
        compute_capabilities: capabilities.as_ptr(),
        compute_capability_count: capabilities.len(),
        workspace_bytes: usize::try_from(flags.workspace_bytes).unwrap_or(usize::MAX),
        optimization_level: flags.optimization_level.cast_signed(),
        tf32: i32::from(flags.tf32),
        version_compatible: i32::from(flags.version_compatible),
        hardware_compatible: i32::from(flags.hardware_compatible),
        weight_streaming: i32::from(flags.weight_streaming),
        timing_cache: if cache.is_empty() { null() } else { cache.as_ptr().cast() },
        timing_cache_bytes: cache.len(),
        engine: gather(&mut product.engine),
        timing_cache_out: gather(&mut product.timing_cache),
        progress_user: std::ptr::from_ref(&progress).cast_mut().cast(),
        progress: Some(tell),
    };
    let function = if builds { library.api.build } else { library.api.parse };
    // SAFETY: the entry points and the logger are the library's; everything that `build` points to
    // lives through the call.
    match unsafe { function(builder, create_parser, library.logger, &raw const build) } {
        0 => Err(at(library.error_log.error(if builds { "the engine is not built" } else { "the graph is not accepted" }))),
        _ => Ok(()),
    }
}

/// What only a machine with a GPU knows of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// Scratch memory of a pass, bytes.
    pub scratch_bytes: u64,
    /// The library's report of layers and tactics, JSON.
    pub layers: String,
}

/// Deserialises an engine on this machine's GPU and examines it; `host_code` as in its build flags
/// (`version_compatible`).
///
/// # Errors
/// `Engine`.
pub fn facts(library: &Arc<Library>, primary: &Arc<PrimaryContext>, engine: &[u8], host_code: bool) -> Result<EngineFacts> {
    let plan = CudaEngine::load(Arc::clone(library), Arc::clone(primary), engine, host_code)?;
    Ok(EngineFacts { scratch_bytes: plan.scratch_bytes(), layers: plan.information()? })
}
