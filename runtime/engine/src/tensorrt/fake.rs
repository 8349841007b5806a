//! For tests: defines what the engines of the fake TensorRT (`../../tensorrt/fake`), which needs no
//! GPU, compute.

use drivewam_core::{Error, ErrorKind, Result};
use half::{bf16, f16};
use libloading::Library as Shared;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

/// A tensor of a pass.
#[derive(Debug)]
pub struct PassTensor {
    /// The name.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
    /// Whether the pass reads the tensor. Otherwise it writes it.
    pub is_input: bool,
    /// The elements. Written ones are rounded to the tensor's type.
    pub data: Vec<f32>,
}

/// Computes a pass of the engine with this name. Returns `false` for a pass that fails.
pub type Executor = Box<dyn FnMut(&str, &mut [PassTensor]) -> bool + Send>;

/// The fake library, opened a second time beside the runtime that uses it.
#[derive(Debug)]
pub struct FakeTensorRt(Shared);

#[repr(C)]
struct FakeTensor {
    name: *const c_char,
    is_input: c_int,
    dtype: c_int,
    rank: c_int,
    dims: [i64; 8],
    address: *mut c_void,
}

type Run = unsafe extern "C" fn(user: *mut c_void, engine: *const c_char, tensors: *const FakeTensor, count: c_int) -> c_int;

impl FakeTensorRt {
    /// Opens the fake at `path`, where the runtime opens it too.
    ///
    /// # Errors
    /// `Engine` when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::new(ErrorKind::Engine, "no fake of TensorRT").at(path.display()).caused_by(e);
        // SAFETY: our own library; its initialisers are those of the C++ runtime.
        unsafe { Shared::new(path) }.map(Self).map_err(failed)
    }

    /// Lets `executor` compute all passes from now on. It lives until the process ends.
    ///
    /// # Errors
    /// `Engine` when the library is not the fake.
    pub fn execute(&self, executor: Executor) -> Result<()> {
        type Set = unsafe extern "C" fn(*mut c_void, Run);
        let failed = |e| Error::new(ErrorKind::Engine, "not the fake of TensorRT").caused_by(e);
        // SAFETY: `fake.h` declares this type.
        let set = unsafe { self.0.get::<Set>("fake_tensorrt_set_executor") }.map_err(failed)?;
        let forever: *mut Executor = Box::leak(Box::new(executor));
        // SAFETY: `run` gets the leaked executor, which nothing else uses; the fake calls from one
        // thread at a time.
        unsafe { set(forever.cast(), run) };
        Ok(())
    }

    /// A counter of the fake: objects that are not freed (`fake_tensorrt_alive`), compiled shapes
    /// (`fake_tensorrt_compiled`).
    ///
    /// # Errors
    /// `Engine` when the library is not the fake.
    pub fn count(&self, what: &str) -> Result<i32> {
        let failed = |e| Error::new(ErrorKind::Engine, "not the fake of TensorRT").at(what).caused_by(e);
        // SAFETY: `fake.h` declares both functions with this type.
        let get = unsafe { self.0.get::<unsafe extern "C" fn() -> c_int>(what) }.map_err(failed)?;
        // SAFETY: takes nothing, returns a number.
        Ok(unsafe { get() })
    }
}

unsafe extern "C" fn run(user: *mut c_void, engine: *const c_char, tensors: *const FakeTensor, count: c_int) -> c_int {
    // SAFETY: the executor that `execute` leaked.
    let executor = unsafe { &mut *user.cast::<Executor>() };
    // SAFETY: the name lives during the call.
    let engine = unsafe { CStr::from_ptr(engine) }.to_string_lossy();
    // SAFETY: there are `count` tensors, which live during the call.
    let tensors = unsafe { std::slice::from_raw_parts(tensors, usize::try_from(count).unwrap_or(0)) };
    let mut seen = Vec::new();
    for tensor in tensors {
        let rank = usize::try_from(tensor.rank).unwrap_or(0).min(tensor.dims.len());
        let shape: Vec<usize> = tensor.dims[..rank].iter().map(|&len| usize::try_from(len).unwrap_or(0)).collect();
        // SAFETY: as the engine's name.
        let name = unsafe { CStr::from_ptr(tensor.name) }.to_string_lossy().into_owned();
        let mut data = vec![0.0; shape.iter().product()];
        if tensor.is_input != 0 && !copy(tensor, &mut data, false) {
            return 0;
        }
        seen.push(PassTensor { name, shape, is_input: tensor.is_input != 0, data });
    }
    let done = executor(&engine, &mut seen);
    let written =
        tensors.iter().zip(&mut seen).filter(|(tensor, _)| tensor.is_input == 0).all(|(tensor, seen)| copy(tensor, &mut seen.data, true));
    c_int::from(done && written)
}

/// Copies between a tensor's memory and `data`. Returns `false` for a type that is not a float.
fn copy(tensor: &FakeTensor, data: &mut [f32], writes: bool) -> bool {
    /// The memory as `data.len()` elements.
    fn elements<'a, T>(tensor: &FakeTensor, len: usize) -> &'a mut [T] {
        // SAFETY: the driver library's arena is host memory. `bind` proved that the region holds
        // the shape in this type and that written tensors overlap no others (`io_check::check`),
        // and nothing else uses the arena while the stream works.
        unsafe { std::slice::from_raw_parts_mut(tensor.address.cast::<T>(), len) }
    }
    fn halves<T: Copy>(memory: &mut [T], data: &mut [f32], writes: bool, from: fn(f32) -> T, to: fn(T) -> f32) {
        for (half, x) in memory.iter_mut().zip(data) {
            if writes { *half = from(*x) } else { *x = to(*half) }
        }
    }
    let len = data.len();
    match tensor.dtype {
        0 if writes => elements::<f32>(tensor, len).copy_from_slice(data),
        0 => data.copy_from_slice(elements::<f32>(tensor, len)),
        1 => halves(elements(tensor, len), data, writes, f16::from_f32, f16::to_f32),
        7 => halves(elements(tensor, len), data, writes, bf16::from_f32, bf16::to_f32),
        _ => return false,
    }
    true
}
