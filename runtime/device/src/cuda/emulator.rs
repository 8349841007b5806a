//! A driver whose GPU is the CPU: `../../emulator` runs the kernels of `../../kernels`, thread by
//! thread.

#![expect(unsafe_code, reason = "calls C++ that reads and writes this driver's own memory")]

use super::driver::{Driver, Kernel, LaunchGrid, no_graph};
use crate::arena::HostArena;
use crate::copy::StridedCopy;
use crate::gpu::{Address, CapturedGraph, GraphNodeCounts};
use crate::host_memory::HostMemory;
use drivewam_core::arena::{ALIGNMENT, ArenaPlan};
use drivewam_core::{Error, ErrorKind, Result};
use libloading::Library;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Work of a launch, counted in the kernels' 16-byte loads, stores and products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct LaunchCounts {
    /// Bytes of 16-byte loads.
    pub bytes_read: u64,
    /// Bytes of 16-byte stores.
    pub bytes_written: u64,
    /// Floating-point operations of the products of keys and queries.
    pub flops: u64,
}

/// `Memory` of `launch.h`, field by field.
#[repr(C)]
struct Memory {
    base: *const u8,
    bytes: u64,
    region: *const c_char,
}

/// `Launch` of `launch.h`, field by field.
#[repr(C)]
struct Launch {
    blocks: [u32; 2],
    threads: u32,
    shared_bytes: u32,
    seed: u64,
    memory: *const Memory,
    memories: u64,
}

/// `drivewam_emulate` of `kernels.cpp`.
type Emulate = unsafe extern "C" fn(*const c_char, *const c_void, u32, *const Launch, *mut LaunchCounts) -> *const c_char;

unsafe extern "C" {
    fn drivewam_emulate(
        name: *const c_char,
        params: *const c_void,
        params_bytes: u32,
        launch: *const Launch,
        counts: *mut LaunchCounts,
    ) -> *const c_char;
}

/// A launch that a capture recorded.
type RecordedLaunch = (Kernel, LaunchGrid, Vec<u8>);

/// Called after every launch with its kernel and its work.
type Watch = Box<dyn FnMut(Kernel, LaunchCounts) + Send>;

/// The driver. See the module's documentation.
pub struct Emulator {
    memory: Vec<(*mut u8, Layout)>,
    /// The arena, shared with the host, so that host engines can work on it.
    arena: Option<HostArena>,
    /// Memory that kernels may access: every allocation, and every region of the arena by itself,
    /// so that a sanitizer detects an access that strays into the next region.
    accessible: Vec<Memory>,
    /// The names of the regions.
    names: Vec<CString>,
    /// When true, the device is lost.
    kill: Option<Arc<AtomicBool>>,
    seed: u64,
    watch: Option<Watch>,
    /// Launches of the capture under way.
    capture: Option<Vec<RecordedLaunch>>,
    graphs: Vec<Vec<RecordedLaunch>>,
    emulate: Emulate,
    /// The library of `emulate`, if it is not part of this program.
    library: Option<Library>,
}

// SAFETY: this value owns the allocations, and the names that `accessible` points to; they belong
// to no thread.
unsafe impl Send for Emulator {}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator")
            .field("allocations", &self.memory.len())
            .field("seed", &self.seed)
            .field("library", &self.library)
            .finish_non_exhaustive()
    }
}

impl Emulator {
    /// An emulator that schedules threads in an order drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            memory: Vec::new(),
            arena: None,
            accessible: Vec::new(),
            names: Vec::new(),
            kill: None,
            seed,
            watch: None,
            capture: None,
            graphs: Vec::new(),
            emulate: drivewam_emulate,
            library: None,
        }
    }

    /// An emulator with the kernels of another library, compiled from these sources for a
    /// sanitizer, or from a copy with a seeded bug. A test that opens such a library is responsible
    /// for what its kernels do to memory; the feature is for tests alone.
    ///
    /// # Errors
    /// `Device` when the library cannot be opened.
    pub fn of_library(path: &Path, seed: u64) -> Result<Self> {
        let refused =
            |e: libloading::Error| Error::new(ErrorKind::Device, "cannot open an emulator in this library").at(path.display()).caused_by(e);
        // SAFETY: a library of ours, whose initialisers are those of the C++ runtime.
        let library = unsafe { Library::new(path) }.map_err(refused)?;
        // SAFETY: the type is that of `kernels.cpp`, from which the library was compiled.
        let emulate = *unsafe { library.get::<Emulate>(b"drivewam_emulate\0") }.map_err(refused)?;
        let mut emulator = Self::new(seed);
        (emulator.emulate, emulator.library) = (emulate, Some(library));
        Ok(emulator)
    }

    /// The same, but the device is lost as soon as `kill` is true.
    #[must_use]
    pub fn killable(mut self, kill: Arc<AtomicBool>) -> Self {
        self.kill = Some(kill);
        self
    }

    fn check_alive(&self) -> Result<()> {
        match &self.kill {
            Some(kill) if kill.load(Ordering::Relaxed) => Err(Error::new(ErrorKind::Device, "the device is lost").at("device")),
            _ => Ok(()),
        }
    }

    /// Calls `watch` after every launch.
    #[must_use]
    pub fn watched(mut self, watch: impl FnMut(Kernel, LaunchCounts) + Send + 'static) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// The address as a pointer, after a check that `bytes` from there lie inside one allocation.
    fn pointer(&self, at: Address, bytes: usize) -> Result<*mut u8> {
        let within = |base: *mut u8, len: usize| {
            let into = usize::try_from(at.checked_sub(base.addr() as u64)?).ok()?;
            (into.checked_add(bytes)? <= len).then(|| base.wrapping_add(into))
        };
        let outside =
            || Error::new(ErrorKind::Device, "a copy outside the emulator's memory").at("device").got(format!("{bytes} bytes at {at:#x}"));
        let arena = self.arena.as_ref().and_then(|arena| {
            let (base, len) = arena.whole();
            within(base, len)
        });
        arena.or_else(|| self.memory.iter().find_map(|(base, layout)| within(*base, layout.size()))).ok_or_else(outside)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for (base, layout) in &self.memory {
            // SAFETY: allocated with this layout, and no address outlives the driver
            // (`Driver::allocate`).
            unsafe { dealloc(*base, *layout) };
        }
    }
}

impl Driver for Emulator {
    fn describe(&self) -> String {
        "emulator of the CUDA kernels on the CPU".to_owned()
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        let refused = || Error::new(ErrorKind::Capacity, "cannot allocate the emulator's memory").at("device").got(bytes);
        let layout = Layout::from_size_align(bytes.max(ALIGNMENT), ALIGNMENT).map_err(|e| refused().caused_by(e))?;
        // SAFETY: the layout's size is at least ALIGNMENT, so not zero.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            return Err(refused());
        }
        self.memory.push((base, layout));
        self.accessible.push(Memory { base, bytes: bytes as u64, region: std::ptr::null() });
        Ok(base.expose_provenance() as Address)
    }

    fn allocate_arena(&mut self, plan: &ArenaPlan) -> Result<Address> {
        let (base, _) = self.arena.insert(HostArena::new(plan.clone())?).whole();
        for row in plan.rows() {
            let name = CString::new(row.name.as_str()).unwrap_or_default();
            let bytes = row.region.bytes() as u64;
            self.accessible.push(Memory { base: base.wrapping_add(row.region.offset()), bytes, region: name.as_ptr() });
            self.names.push(name);
        }
        Ok(base.expose_provenance() as Address)
    }

    fn host_arena(&mut self) -> Option<&mut dyn HostMemory> {
        self.arena.as_mut().map(|arena| arena as &mut dyn HostMemory)
    }

    fn write(&mut self, to: Address, data: &[u8]) -> Result<()> {
        self.check_alive()?;
        if self.capture.is_some() {
            return Err(Error::new(ErrorKind::Device, "a graph cannot hold a copy from the host").at("device"));
        }
        let to = self.pointer(to, data.len())?;
        // SAFETY: `pointer` checked the room in memory that this value owns, so `data` does not
        // overlap.
        unsafe { to.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        Ok(())
    }

    fn read(&mut self, from: Address, out: &mut [u8]) -> Result<()> {
        self.check_alive()?;
        let from = self.pointer(from, out.len())?;
        // SAFETY: `pointer` checked that the bytes lie in memory that this value owns, so `out`
        // does not overlap; the memory began zeroed.
        unsafe { from.copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    fn copy(&mut self, from: Address, to: Address, rows: StridedCopy) -> Result<()> {
        self.check_alive()?;
        if self.capture.is_some() {
            return Err(Error::new(ErrorKind::Device, "the emulator captures launches alone").at("device"));
        }
        for row in 0..rows.count {
            let from = self.pointer(from + (row * rows.from_stride) as u64, rows.len)?;
            let to = self.pointer(to + (row * rows.to_stride) as u64, rows.len)?;
            // SAFETY: `pointer` checked that both lie in memory that this value owns, which began
            // zeroed.
            unsafe { to.copy_from(from, rows.len) };
        }
        Ok(())
    }

    unsafe fn launch(&mut self, kernel: Kernel, grid: LaunchGrid, params: &[u8]) -> Result<()> {
        if let Some(capture) = &mut self.capture {
            capture.push((kernel, grid, params.to_vec()));
            return Ok(());
        }
        self.run(kernel, grid, params)
    }

    fn stream(&mut self) -> Result<*mut c_void> {
        Err(Error::new(ErrorKind::Device, "the emulator of kernels has no stream for the work of a library").at("device"))
    }

    fn begin_capture(&mut self) -> Result<()> {
        if self.capture.replace(Vec::new()).is_some() {
            return Err(Error::new(ErrorKind::Device, "another capture is under way").at("device"));
        }
        Ok(())
    }

    fn end_capture(&mut self) -> Result<CapturedGraph> {
        let none = || Error::new(ErrorKind::Device, "no capture is under way").at("device");
        self.graphs.push(self.capture.take().ok_or_else(none)?);
        Ok(CapturedGraph(self.graphs.len() - 1))
    }

    fn replay(&mut self, graph: CapturedGraph) -> Result<()> {
        let launches = self.graphs.get(graph.0).cloned().ok_or_else(|| no_graph(graph))?;
        launches.iter().try_for_each(|(kernel, grid, params)| self.run(*kernel, *grid, params))
    }

    fn node_counts(&self, graph: CapturedGraph) -> Result<GraphNodeCounts> {
        let launches = self.graphs.get(graph.0).ok_or_else(|| no_graph(graph))?;
        Ok(GraphNodeCounts { kernels: launches.len(), ..GraphNodeCounts::default() })
    }
}

impl Emulator {
    fn run(&mut self, kernel: Kernel, grid: LaunchGrid, params: &[u8]) -> Result<()> {
        self.check_alive()?;
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let launch = Launch {
            blocks: grid.blocks,
            threads: grid.threads,
            shared_bytes: grid.shared_bytes,
            seed: self.seed,
            memory: self.accessible.as_ptr(),
            memories: self.accessible.len() as u64,
        };
        let mut counts = LaunchCounts::default();
        let bytes = u32::try_from(params.len()).unwrap_or(u32::MAX);
        // SAFETY: the caller guarantees the parameters; `launch`, what it points to, and `counts`
        // live through the call; parameters are aligned to 8, and the emulator checks their size.
        let refused = unsafe { (self.emulate)(kernel.name().as_ptr(), params.as_ptr().cast(), bytes, &raw const launch, &raw mut counts) };
        if !refused.is_null() {
            // SAFETY: not null, so a string of the emulator that lives until this thread's next
            // launch.
            let what = unsafe { CStr::from_ptr(refused) }.to_string_lossy().into_owned();
            return Err(Error::new(ErrorKind::Device, what)
                .at(format!("kernel {}", kernel.name().to_string_lossy()))
                .got(format!("{grid:?}")));
        }
        if let Some(watch) = &mut self.watch {
            watch(kernel, counts);
        }
        Ok(())
    }
}
