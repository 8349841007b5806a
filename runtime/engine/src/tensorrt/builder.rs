//! ONNX in, engine out: what `build_engines` asks of the library's builder. A vehicle never comes here.

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

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub struct BuildRequest<'a> {
    /// The graph.
    pub onnx: &'a [u8],
    /// Where it lies: its weights lie beside it.
    pub path: &'a Path,
    /// Its inputs.
    pub inputs: &'a [TensorSpec],
    /// The lengths of N and S that it shall run; empty for a graph without such axes.
    pub profiles: &'a [Profile],
    /// GPUs to build for; empty: the one of this machine.
    pub capabilities: &'a [Capability],
    /// What else is asked of the builder.
    pub flags: Flags,
    /// What an earlier build found out about this GPU; may be empty.
    pub timing_cache: &'a [u8],
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltEngine {
    /// The serialised engine.
    pub engine: Vec<u8>,
    /// What the build found out; empty for a library that times nothing.
    pub timing_cache: Vec<u8>,
}

/// Told the phase, and the steps done and in all; `false` ends the build.
pub type BuildProgress<'a> = &'a mut dyn FnMut(&str, i32, i32) -> bool;

/// Builds an engine.
///
/// # Errors
/// `Engine`, in the library's words: it has no builder or parser, the parser refuses the graph, the builder refuses a profile, flag or GPU, or fails.
pub fn build(library: &Library, request: &BuildRequest<'_>, progress: BuildProgress<'_>) -> Result<BuiltEngine> {
    let mut product = BuiltEngine { engine: Vec::new(), timing_cache: Vec::new() };
    call(library, request, Some((&mut product, progress)))?;
    if product.engine.is_empty() {
        return Err(Error::new(ErrorKind::Engine, "the library built an empty engine"));
    }
    Ok(product)
}

/// Has the library's parser read a graph, and builds nothing.
///
/// # Errors
/// As [`build`].
pub fn parse(library: &Library, request: &BuildRequest<'_>) -> Result<()> {
    call(library, request, None)
}

/// Keeps names and shapes where the library reads them.
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
    // SAFETY: `user` is what `call` made around the closure; the shim calls during its own call alone, from any thread.
    let progress = unsafe { &*user.cast::<Mutex<BuildProgress<'_>>>() };
    // SAFETY: the shim gives a text that lives during the call.
    let phase = unsafe { CStr::from_ptr(phase) };
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    i32::from(progress(&phase.to_string_lossy(), step, steps))
}

/// Builds, or only parses where nothing is to come out.
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
    // SAFETY: the entry points and the logger are the library's; everything that `build` points to lives through the call.
    match unsafe { function(builder, create_parser, library.logger, &raw const build) } {
        0 => Err(at(library.error_log.error(if builds { "the engine is not built" } else { "the graph is not accepted" }))),
        _ => Ok(()),
    }
}

/// What only a machine with a GPU can tell of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// Device memory of a pass.
    pub scratch_bytes: u64,
    /// The library's report of layers and tactics, JSON.
    pub layers: String,
}

/// Deserialises an engine on this machine's GPU and asks about it; `host_code` as its flags say.
///
/// # Errors
/// `Engine`.
pub fn facts(library: &Arc<Library>, primary: &Arc<PrimaryContext>, engine: &[u8], host_code: bool) -> Result<EngineFacts> {
    let plan = CudaEngine::load(Arc::clone(library), Arc::clone(primary), engine, host_code)?;
    Ok(EngineFacts { scratch_bytes: plan.scratch_bytes(), layers: plan.information()? })
}
